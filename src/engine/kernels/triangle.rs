//! Products with triangular matrices, at half the cost of others.

use rayon::prelude::*;

use super::product::{View, product};

/// Rows that go together: the matrix is laid out anew for each such part.
const ROWS: usize = 96;
/// Columns that go together: of a panel the part that is zero is left out.
const PANEL: usize = 256;

/// `rows · U`, `[n, size]`, of an upper triangle `U: [size, size]` whose lower half is zero, over all threads. Costs `n · size²` flops, and
/// more where it is narrow.
///
/// # Panics
///
/// Where lengths do not fit.
pub fn times_upper(rows: &[f32], upper: &[f32], size: usize) -> Vec<f32> {
    panels(rows, size, |y, rows, (from, to)| {
        let left = View::new(rows, (rows.len() / size, to), size);
        product(&mut y[from..], size, (left, View::new(&upper[from..], (to, to - from), size)), 1.0, false);
    })
}

/// `rows · Uᵀ`, as [`times_upper`].
///
/// # Panics
///
/// Where lengths do not fit.
pub fn times_upper_transposed(rows: &[f32], upper: &[f32], size: usize) -> Vec<f32> {
    panels(rows, size, |y, rows, (from, to)| {
        let left = View::new(&rows[from..], (rows.len() / size, size - from), size);
        let right = View::new(&upper[from * size + from..], (to - from, size - from), size).transposed();
        product(&mut y[from..], size, (left, right), 1.0, false);
    })
}

fn panels(rows: &[f32], size: usize, panel: impl Fn(&mut [f32], &[f32], (usize, usize)) + Sync) -> Vec<f32> {
    let mut y = vec![0f32; rows.len()];
    let width = size.max(1);
    y.par_chunks_mut(ROWS * width).zip(rows.par_chunks(ROWS * width)).for_each(|(y, rows)| {
        (0..size).step_by(PANEL).for_each(|from| panel(y, rows, (from, (from + PANEL).min(size))));
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_products_are_those_of_the_definition_across_panels_and_parts() {
        for (count, size) in [(1, 1), (3, 7), (100, 300)] {
            let value = |i: usize| (i * 7919 % 613) as f32 / 613.0 - 0.5;
            let rows: Vec<f32> = (0..count * size).map(value).collect();
            let upper: Vec<f32> =
                (0..size * size).map(|at| if at / size <= at % size { value(at + 5) } else { 0.0 }).collect();
            let (plain, transposed) = (times_upper(&rows, &upper, size), times_upper_transposed(&rows, &upper, size));
            for (row, (plain, transposed)) in rows.chunks(size).zip(plain.chunks(size).zip(transposed.chunks(size))) {
                for j in 0..size {
                    let want: f64 = (0..size).map(|i| f64::from(row[i]) * f64::from(upper[i * size + j])).sum();
                    assert!((f64::from(plain[j]) - want).abs() < 1e-4, "f32 sums of {size} products");
                    let want: f64 = (0..size).map(|i| f64::from(row[i]) * f64::from(upper[j * size + i])).sum();
                    assert!((f64::from(transposed[j]) - want).abs() < 1e-4, "f32 sums of {size} products");
                }
            }
        }
    }
}
