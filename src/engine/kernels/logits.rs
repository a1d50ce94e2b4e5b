//! Softmax over long lines of logits, of which only a few numbers are wanted.

use super::math;

/// Two lines of logits beside each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    /// `KL(p ‖ q)`, nats; what rounding makes negative is 0.
    pub kl: f64,
    /// Cosine of the logits; 1 where one is zero.
    pub cosine: f64,
}

/// `ln Σ exp(x)` around the largest: exponentials in f32, to 2e-7 each, their sum in f64.
pub fn log_sum_exp(line: &[f32]) -> f64 {
    wide!({
        let top = largest(line);
        f64::from(top) + exponentials(line, top).ln()
    })
}

/// `KL = Σ p (ln p - ln q)` of the softmax of two lines of one length, and the cosine of the logits.
///
/// `= Σ p (x - y) - (ln Σ e^x - ln Σ e^y)` with `p = e^x / Σ e^x`: 0 exactly for equal lines.
pub fn beside(x: &[f32], y: &[f32]) -> Beside {
    wide!({
        let (x_top, y_top) = (largest(x), largest(y));
        let (x_sum, y_sum) = (exponentials(x, x_top), exponentials(y, y_top));
        let (apart, xy, xx, yy) = products(x, y, x_top);
        let logs = (f64::from(x_top) + x_sum.ln()) - (f64::from(y_top) + y_sum.ln());
        let length = xx.sqrt() * yy.sqrt();
        Beside { kl: (apart / x_sum - logs).max(0.0), cosine: if length > 0.0 { xy / length } else { 1.0 } }
    })
}

#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the instruction set that dispatch chose
fn largest(line: &[f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; 16];
    for chunk in line.chunks(16) {
        for (top, x) in tops.iter_mut().zip(chunk) {
            *top = top.max(*x);
        }
    }
    tops.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `Σ exp(x - top)`.
#[inline(always)]
#[allow(clippy::inline_always)]
fn exponentials(line: &[f32], top: f32) -> f64 {
    let mut sums = [0f64; 16];
    let chunks = line.as_chunks::<16>();
    for chunk in chunks.0 {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(math::exp(x - top));
        }
    }
    for (sum, x) in sums.iter_mut().zip(chunks.1) {
        *sum += f64::from(math::exp(x - top));
    }
    sums.iter().sum()
}

/// `Σ exp(x - top) (x - y)`, `Σ x y`, `Σ x²`, `Σ y²`.
#[inline(always)]
#[allow(clippy::inline_always)]
fn products(x: &[f32], y: &[f32], top: f32) -> (f64, f64, f64, f64) {
    let (mut apart, mut xy, mut xx, mut yy) = ([0f64; 16], [0f64; 16], [0f64; 16], [0f64; 16]);
    for (x, y) in x.chunks(16).zip(y.chunks(16)) {
        let lines = apart.iter_mut().zip(&mut xy).zip(&mut xx).zip(&mut yy).zip(x.iter().zip(y));
        for ((((apart, xy), xx), yy), (x, y)) in lines {
            let weight = f64::from(math::exp(x - top));
            let (x, y) = (f64::from(*x), f64::from(*y));
            *apart += weight * (x - y);
            *xy += x * y;
            *xx += x * x;
            *yy += y * y;
        }
    }
    let sum = |all: [f64; 16]| all.iter().sum();
    (sum(apart), sum(xy), sum(xx), sum(yy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(length: usize, seed: usize) -> Vec<f32> {
        (0..length).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 60.0 - 8.0).collect()
    }

    fn by_definition(line: &[f32]) -> f64 {
        line.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln()
    }

    #[test]
    fn agrees_with_the_definition_in_f64() {
        for length in [1, 15, 16, 17, 1000] {
            let (x, y) = (line(length, 1), line(length, 2));
            let (x_log, y_log) = (by_definition(&x), by_definition(&y));
            assert!((log_sum_exp(&x) - x_log).abs() < 1e-6, "{length}");
            let term = |(x, y): (&f32, &f32)| {
                let log_p = f64::from(*x) - x_log;
                log_p.exp() * (log_p - (f64::from(*y) - y_log))
            };
            let kl: f64 = x.iter().zip(&y).map(term).sum();
            let found = beside(&x, &y);
            assert!((found.kl - kl.max(0.0)).abs() < 1e-6 * kl.max(1.0), "{length}: {} is not {kl}", found.kl);
            let product =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let cosine = product(&x, &y) / (product(&x, &x) * product(&y, &y)).sqrt();
            assert!((found.cosine - cosine).abs() < 1e-12);
        }
    }

    #[test]
    fn equal_lines_are_not_apart_at_all_and_a_shift_is_next_to_nothing() {
        let x = line(4096, 3);
        assert_eq!(beside(&x, &x).kl, 0.0);
        let shifted: Vec<f32> = x.iter().map(|x| x + 4.0).collect();
        assert!(beside(&x, &shifted).kl < 1e-6); // f32 logits, rounded once more
        assert_eq!(beside(&[0.0, 0.0], &[0.0, 0.0]).cosine, 1.0);
        assert!(log_sum_exp(&[1e30, -1e30]) >= 1e30);
    }
}
