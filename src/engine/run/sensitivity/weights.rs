//! How the weights of a site lie: what the choice of a range and of a number of bits depends on.

use crate::engine::report::WeightStatistics;

/// Weights further from the mean than this many standard deviations are outliers.
const OUTLIER: f64 = 6.0;

/// Statistics of weights, all finite: see [`WeightStatistics`] for the equations.
///
/// # Cost
///
/// Three passes in f64, and a copy of the absolute values for the percentiles. Of no weights all is 0.
pub(super) fn statistics(weights: &[f32]) -> WeightStatistics {
    let count = weights.len().max(1) as f64;
    let (mut min, mut max, mut sum, mut zeros) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0u64);
    for w in weights {
        let w = f64::from(*w);
        (min, max, sum) = (min.min(w), max.max(w), sum + w);
        zeros += u64::from(w == 0.0);
    }
    let mean = sum / count;
    let (mut second, mut fourth) = (0.0, 0.0);
    for w in weights {
        let square = (f64::from(*w) - mean).powi(2);
        (second, fourth) = (second + square, fourth + square * square);
    }
    let variance = second / count;
    let std = variance.sqrt();
    let outliers = weights.iter().filter(|w| (f64::from(**w) - mean).abs() > OUTLIER * std).count();
    let mut sizes: Vec<f32> = weights.iter().map(|w| w.abs()).collect();
    let kurtosis = fourth / count / (variance * variance);
    let is_empty = weights.is_empty();
    WeightStatistics {
        count: weights.len() as u64,
        min: if is_empty { 0.0 } else { min },
        max: if is_empty { 0.0 } else { max },
        absmax: if is_empty { 0.0 } else { max.max(-min) },
        mean,
        std,
        kurtosis: kurtosis.is_finite().then_some(kurtosis),
        abs_p99_9: percentile(&mut sizes, 0.999),
        abs_p99_99: percentile(&mut sizes, 0.9999),
        zero_share: zeros as f64 / count,
        outlier_share: outliers as f64 / count,
    }
}

/// The least of the values that a share of them does not exceed; 0 of none. Leaves them in another order.
fn percentile(values: &mut [f32], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let place = (values.len() as f64 * share).ceil() as usize;
    let (_, value, _) = values.select_nth_unstable_by(place.saturating_sub(1).min(last), f32::total_cmp);
    f64::from(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        // Mean 1, deviations -1 -1 -1 3: variance 3, fourth moment (3 + 81) / 4 = 21
        let found = statistics(&[0.0, 0.0, 0.0, 4.0]);
        assert_eq!((found.count, found.min, found.max, found.absmax, found.mean), (4, 0.0, 4.0, 4.0, 1.0));
        assert!((found.std - 3f64.sqrt()).abs() < 1e-15 && (found.kurtosis.unwrap() - 21.0 / 9.0).abs() < 1e-15);
        assert_eq!((found.zero_share, found.outlier_share, found.abs_p99_9), (0.75, 0.0, 4.0));
        assert_eq!(statistics(&[2.0; 5]).kurtosis, None, "no deviation");
        let none = statistics(&[]);
        assert_eq!((none.count, none.min, none.absmax, none.abs_p99_99), (0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn percentiles_are_of_absolute_values_and_outliers_of_either_side_count() {
        let mut weights: Vec<f32> = (1..=9_999).map(|i| (i as f32) * if i % 2 == 0 { 1e-4 } else { -1e-4 }).collect();
        weights.push(-100.0);
        let found = statistics(&weights);
        assert_eq!((found.abs_p99_9, found.abs_p99_99), (f64::from(9990f32 * 1e-4), f64::from(9999f32 * 1e-4)));
        assert_eq!((found.absmax, found.outlier_share), (100.0, 1e-4));
        assert!(found.kurtosis.unwrap() > 1000.0, "one weight in ten thousand makes the fourth moment");
    }

    #[test]
    fn an_even_spread_has_the_kurtosis_of_theory() {
        let weights: Vec<f32> = (0..=200_000u32).map(|i| i as f32 / 1e5 - 1.0).collect();
        let found = statistics(&weights);
        // 9/5 of the uniform distribution; std 1/sqrt(3); of a finite grid up to 1e-5
        assert!((found.kurtosis.unwrap() - 1.8).abs() < 1e-4 && (found.std - 1.0 / 3f64.sqrt()).abs() < 1e-4);
    }
}
