//! The product of two matrices that lie inside slices.
#![allow(unsafe_code)] // the matrix product takes pointers and strides

/// Rows that go together, at most: so many find what is laid out of the other matrix in the cache. Of all 2,048 tokens of a batch at once,
/// `[2048, 384]` times `[384, 1536]` takes a tenth longer.
const ROWS: usize = 512;

/// A matrix inside a slice: number `(i, j)` lies at `i · strides.0 + j · strides.1`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    strides: (usize, usize),
}

impl<'a> View<'a> {
    /// Row by row, each `stride` numbers after the one before.
    pub const fn new(values: &'a [f32], (rows, columns): (usize, usize), stride: usize) -> Self {
        Self { values, rows, columns, strides: (stride, 1) }
    }

    /// Its transpose, over the same numbers.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, strides: (self.strides.1, self.strides.0), ..self }
    }

    fn is_inside(&self) -> bool {
        let last = |count: usize, stride: usize| count.checked_sub(1)?.checked_mul(stride);
        let Some((row, column)) = last(self.rows, self.strides.0).zip(last(self.columns, self.strides.1)) else {
            return self.rows == 0 || self.columns == 0;
        };
        row.checked_add(column).is_some_and(|last| last < self.values.len())
    }
}

/// `y ← scale · a b`, or `y ← y + scale · a b` where `add`, on one thread. Rows of `y` are `stride` numbers apart; what lies
/// between them stays. Costs `2 · m · n · k` flops.
///
/// # Panics
///
/// Where shapes do not fit, or a matrix reaches past its slice.
pub fn product(y: &mut [f32], stride: usize, (a, b): (View<'_>, View<'_>), scale: f32, add: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    if m == 0 || n == 0 {
        return;
    }
    assert!(k == b.rows && k > 0, "[{m}, {k}] times [{}, {n}]", b.rows);
    assert!(a.is_inside() && b.is_inside() && n <= stride && (m - 1) * stride + n <= y.len());
    // SAFETY: by the assertions the last number of each matrix, and so each before it, lies inside its slice, and the rows of
    // y do not overlap; y itself is borrowed mutably, so it overlaps neither a nor b.
    unsafe { multiply(y.as_mut_ptr(), stride, (a, b), scale, add) }
}

/// `a b`, `[m, n]`, in memory that nothing is written to before.
///
/// # Panics
///
/// As [`product`].
pub fn fresh(a: View<'_>, b: View<'_>) -> Vec<f32> {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(k == b.rows && k > 0 && a.is_inside() && b.is_inside(), "[{m}, {k}] times [{}, {n}]", b.rows);
    let mut y = Vec::with_capacity(m * n);
    if m > 0 && n > 0 {
        // SAFETY: as in `product`, y having room for m rows of n numbers; it is not read, and afterwards each is written.
        unsafe {
            multiply(y.as_mut_ptr(), n, (a, b), 1.0, false);
            y.set_len(m * n);
        }
    }
    y
}

/// # Safety
///
/// `a` and `b` lie inside their slices, and `y` has room for as many rows as `a`, each as wide as `b`, `stride` numbers apart, which
/// overlap neither of them; where `add`, they are written.
// SAFETY: both callers assert what is asked for above.
unsafe fn multiply(y: *mut f32, stride: usize, (a, b): (View<'_>, View<'_>), scale: f32, add: bool) {
    // Parts of one size: a last one of a single row would be summed up in another order
    let rows = a.rows.div_ceil(a.rows.div_ceil(ROWS).max(1)).max(1);
    for from in (0..a.rows).step_by(rows) {
        // SAFETY: the caller's promise, for these rows of `a` and of `y`.
        unsafe {
            gemm::gemm(
                rows.min(a.rows - from),
                b.columns,
                a.columns,
                y.add(from * stride),
                1,
                stride as isize,
                add,
                a.values.as_ptr().add(from * a.strides.0),
                a.strides.1 as isize,
                a.strides.0 as isize,
                b.values.as_ptr(),
                b.strides.1 as isize,
                b.strides.0 as isize,
                1.0,
                scale,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_strides_and_sums_are_those_of_the_definition() {
        let a: Vec<f32> = (0..12u8).map(f32::from).collect(); // [3, 4], of which columns 1 and 2
        let b = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [3, 2]
        let mut y = vec![10.0; 8];
        let part = View::new(&a[1..], (3, 2), 4).transposed();
        product(&mut y, 4, (part, View::new(&b, (3, 2), 2)), 2.0, true);
        // [[1, 5, 9], [2, 6, 10]] times b, twice, on top of 10
        assert_eq!(y, [132.0, 162.0, 10.0, 10.0, 150.0, 186.0, 10.0, 10.0]);
        product(&mut y, 4, (part, View::new(&b, (3, 2), 2)), 1.0, false);
        assert_eq!(y, [61.0, 76.0, 10.0, 10.0, 70.0, 88.0, 10.0, 10.0]);
        assert_eq!(fresh(part, View::new(&b, (3, 2), 2)), [61.0, 76.0, 70.0, 88.0]);
        assert!(fresh(View::new(&[], (0, 3), 3), View::new(&b, (3, 2), 2)).is_empty());
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_matrix_that_reaches_past_its_slice_is_refused() {
        let (a, b) = ([0.0; 5], [0.0; 4]);
        product(&mut [0.0; 4], 2, (View::new(&a, (3, 2), 2), View::new(&b, (2, 2), 2)), 1.0, false);
    }
}
