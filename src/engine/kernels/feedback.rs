//! The inner loops of rounding column by column, where each column's error is passed on to those behind it.

/// Rounds columns `from..to` of some rows, one after another: `q = round(row, column, w)`, `e = (w - q) / U_ii`, and
/// `w_j ← w_j - e U_ij` for the columns `j` behind it up to `to`. Rows lie `stride` numbers apart in `rows`; `upper: [size, size]`
/// is `U`, of which the upper half is read. Leaves `q` in `rows` and `e` in `errors: [rows, to - from]`.
///
/// Several rows go together: a row's columns wait for each other, those of another row do not.
///
/// Source: Frantar et al. 2022, arXiv 2210.17323, algorithm 1, the inner loop.
///
/// # Panics
///
/// Where lengths do not fit.
pub fn sweep(
    (rows, stride): (&mut [f32], usize),
    (from, to): (usize, usize),
    (upper, size): (&[f32], usize),
    errors: &mut [f32],
    mut round: impl FnMut(usize, usize, f32) -> f32,
) {
    let width = to - from;
    assert!(
        from < to
            && to <= size
            && to <= stride
            && upper.len() == size * size
            && errors.len() == rows.len() / stride * width
    );
    wide!({
        for column in from..to {
            let line = &upper[column * size + column..column * size + to];
            let own = line[0];
            for (row, (weights, errors)) in
                rows.chunks_exact_mut(stride).zip(errors.chunks_exact_mut(width)).enumerate()
            {
                let behind = &mut weights[column..to];
                let rounded = round(row, column, behind[0]);
                let error = (behind[0] - rounded) / own;
                for (w, u) in behind.iter_mut().zip(line) {
                    *w -= error * u;
                }
                behind[0] = rounded;
                errors[column - from] = error;
            }
        }
    });
}
