//! Sums of squares, and of columns.

/// `Σ a_i²`, in sixteen f32 sums: for some thousand numbers, whose sums are then added in f64.
pub fn squares(a: &[f32]) -> f32 {
    wide!({
        let mut sums = [0f32; 16];
        let (chunks, rest) = a.as_chunks::<16>();
        for chunk in chunks {
            sums.iter_mut().zip(chunk).for_each(|(sum, a)| *sum += a * a);
        }
        sums.iter_mut().zip(rest).for_each(|(sum, a)| *sum += a * a);
        sums.iter().sum()
    })
}

/// `Σ (a_i - b_i)²`, as [`squares`]; the shorter one's length counts.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    wide!({
        let mut sums = [0f32; 16];
        let both = a.len().min(b.len());
        let (a, b) = (a.split_at(both).0.as_chunks::<16>(), b.split_at(both).0.as_chunks::<16>());
        for (a, b) in a.0.iter().zip(b.0) {
            sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += (a - b) * (a - b));
        }
        sums.iter_mut().zip(a.1).zip(b.1).for_each(|((sum, a), b)| *sum += (a - b) * (a - b));
        sums.iter().sum()
    })
}

/// Adds to `Σ x`, `Σ a x²` and `max |x|` of some columns, those that rows of `width` numbers begin with, each from the first row to the
/// last; `a` is what a row counts, 1 unless given.
pub fn columns(
    (sums, squares, largest): (&mut [f64], &mut [f64], &mut [f32]),
    (x, width): (&[f32], usize),
    counts: Option<&[f32]>,
) {
    wide!({
        let count = sums.len().min(squares.len()).min(largest.len());
        for (row, line) in x.chunks(width.max(1)).enumerate() {
            let Some(line) = line.get(..count) else { break };
            let a = counts.and_then(|all| all.get(row)).map_or(1.0, |a| f64::from(*a));
            let all = sums[..count].iter_mut().zip(&mut squares[..count]).zip(&mut largest[..count]);
            for (((sum, square), largest), x) in all.zip(line) {
                let wide = f64::from(*x);
                *sum += wide;
                *square += a * wide * wide;
                *largest = largest.max(x.abs());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_their_rows() {
        let x: Vec<f32> = (0..4 * 5).map(|i| (i * 7919 % 613) as f32 - 300.0).collect();
        let (mut sums, mut squares, mut largest) = ([1.0; 2], [0.0; 2], [0.0; 2]);
        columns((&mut sums, &mut squares, &mut largest), (&x[2..], 5), Some(&[1.0, 0.0, 2.0, 0.5]));
        for column in 0..2 {
            let of = |row: usize| f64::from(x[row * 5 + 2 + column]);
            assert_eq!(sums[column], 1.0 + of(0) + of(1) + of(2) + of(3));
            assert_eq!(squares[column], of(0).powi(2) + 2.0 * of(2).powi(2) + 0.5 * of(3).powi(2));
            assert_eq!(f64::from(largest[column]), (0..4).map(|row| of(row).abs()).fold(0.0, f64::max));
        }
    }

    #[test]
    fn sums_are_those_of_the_definition_at_every_length() {
        for count in [0, 1, 15, 16, 17, 300] {
            let a: Vec<f32> = (0..count).map(|i| (i * 7919 % 613) as f32 / 100.0 - 3.0).collect();
            let b: Vec<f32> = a.iter().map(|a| a * 0.9 + 0.1).collect();
            let squared: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            let distance: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            // Sixteen sums of up to 19 terms, each rounded to 2⁻²⁴ of itself
            assert!((f64::from(squares(&a)) - squared).abs() <= 1e-5 * squared);
            assert!((f64::from(squared_distance(&a, &b)) - distance).abs() <= 1e-5 * distance);
            assert_eq!(squared_distance(&a, &b[..count.min(5)]), squared_distance(&a[..count.min(5)], &b));
        }
    }
}
