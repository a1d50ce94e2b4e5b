//! Systems with symmetric positive matrices.

use faer::linalg::solvers::{Llt, Solve};
use faer::{MatRef, Side};

use crate::engine::error::{EngineError, Result};

/// `A = L Lᵀ` of a symmetric positive definite matrix, in f64.
#[derive(Debug)]
pub struct Cholesky {
    factor: Llt<f64>,
    size: usize,
}

impl Cholesky {
    /// Factors `a: [size, size]`; the lower half is read. Costs `size³/3` flops.
    ///
    /// # Errors
    ///
    /// A matrix that is not positive definite, or holds what is no number.
    pub fn new(a: &[f64], size: usize) -> Result<Self> {
        if a.len() != size * size || a.iter().any(|x| !x.is_finite()) {
            return Err(EngineError::Internal(format!("no factor of {} numbers as [{size}, {size}]", a.len())));
        }
        let factor = Llt::new(MatRef::from_row_major_slice(a, size, size), Side::Lower)
            .map_err(|_| EngineError::Internal(format!("a [{size}, {size}] matrix is not positive definite")))?;
        Ok(Self { factor, size })
    }

    /// `(A⁻¹ B)ᵀ`, row by row, for `b: [size, n]`.
    ///
    /// # Errors
    ///
    /// A length that does not fit.
    pub fn solve_rows(&self, b: &[f64]) -> Result<Vec<f32>> {
        let size = self.size;
        if size == 0 || !b.len().is_multiple_of(size) {
            return Err(EngineError::Internal(format!("{} numbers are no columns of {size}", b.len())));
        }
        let solved = self.factor.solve(MatRef::from_row_major_slice(b, size, b.len() / size).to_owned());
        Ok(solved.col_iter().flat_map(|column| column.iter().map(|x| *x as f32).collect::<Vec<_>>()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_what_can_be_checked_by_hand() {
        let found = Cholesky::new(&[4.0, 2.0, 2.0, 3.0], 2).unwrap();
        // A x = w: x = (0, 1) for w = (2, 3), (0.25, 0.5) for w = (2, 2); right sides are columns
        let x = found.solve_rows(&[2.0, 2.0, 3.0, 2.0]).unwrap();
        let want = [0.0, 1.0, 0.25, 0.5];
        assert!(x.iter().zip(want).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{x:?}");
        assert!(found.solve_rows(&[1.0]).is_err());
    }

    #[test]
    fn what_is_not_positive_is_an_error() {
        assert!(Cholesky::new(&[1.0, 2.0, 2.0, 1.0], 2).is_err());
        assert!(Cholesky::new(&[f64::NAN], 1).is_err());
        assert!(Cholesky::new(&[1.0, 0.0], 2).is_err());
    }
}
