//! Factors of inverses of symmetric positive matrices.

use faer::linalg::solvers::Llt;
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Mat, MatRef, Par, Side};

use crate::engine::error::{EngineError, Result};

/// Upper `U` with `A⁻¹ = Uᵀ U`, `[size, size]` row by row, of a symmetric positive definite `a: [size, size]`.
///
/// With `J` the reversal of order, `J A J = L Lᵀ` gives `A = R Rᵀ` for the upper `R = J L J`, so `U = R⁻¹ = J L⁻¹ J`: one factor
/// and one triangular inverse, in f64, where the textbook's way (factor, inverse, factor again) takes three steps.
///
/// # Errors
///
/// A matrix that is not positive definite, or holds what is no number.
///
/// # Cost
///
/// `2/3 size³` flops and `24 size²` bytes.
pub fn upper_of_inverse(a: &[f64], size: usize) -> Result<Vec<f32>> {
    if a.len() != size * size || a.iter().any(|x| !x.is_finite()) {
        return Err(EngineError::Internal(format!("no factor of {} numbers as [{size}, {size}]", a.len())));
    }
    let a = MatRef::from_row_major_slice(a, size, size);
    let reversed = a.reverse_rows_and_cols();
    let factor = Llt::new(reversed, Side::Lower)
        .map_err(|_| EngineError::Internal(format!("a [{size}, {size}] matrix is not positive definite")))?;
    let mut inverse = Mat::<f64>::zeros(size, size);
    invert_lower_triangular(inverse.as_mut(), factor.L(), Par::rayon(0));
    let mut upper = vec![0f32; size * size];
    for (i, row) in upper.chunks_mut(size.max(1)).enumerate() {
        for (j, cell) in row.iter_mut().enumerate().skip(i) {
            *cell = inverse[(size - 1 - i, size - 1 - j)] as f32;
        }
    }
    Ok(upper)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn its_square_is_the_inverse(size in 1usize..12, draws in prop::collection::vec(-1f64..1.0, 12 * 12)) {
            // B Bᵀ + I is positive whatever B is
            let cell = |i: usize, j: usize| {
                (0..size).map(|k| draws[i * size + k] * draws[j * size + k]).sum::<f64>() + f64::from(u8::from(i == j))
            };
            let a: Vec<f64> = (0..size * size).map(|at| cell(at / size, at % size)).collect();
            let u = upper_of_inverse(&a, size).unwrap();
            for i in 0..size {
                for j in 0..size {
                    // (A Uᵀ U)_ij, which is the identity's
                    let product: f64 = (0..size)
                        .map(|k| a[i * size + k] * (0..size).map(|l| f64::from(u[l * size + k]) * f64::from(u[l * size + j])).sum::<f64>())
                        .sum();
                    let want = f64::from(u8::from(i == j));
                    prop_assert!((product - want).abs() < 1e-4, "({i}, {j}): {product}"); // U is kept as f32
                    prop_assert!(j >= i || u[i * size + j] == 0.0);
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_is_an_error() {
        assert!(upper_of_inverse(&[1.0, 2.0, 2.0, 1.0], 2).is_err());
        assert!(upper_of_inverse(&[f64::NAN], 1).is_err());
        assert!(upper_of_inverse(&[1.0, 0.0], 2).is_err());
    }
}
