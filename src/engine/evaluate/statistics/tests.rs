//! Against brute force, published values and scipy 1.16.

use proptest::prelude::*;

use super::*;

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance
}

#[test]
fn wilson_equals_known_intervals() {
    // scipy.stats.binomtest(k, n).proportion_ci(method='wilson'), printed to 16 digits.
    for (k, n, low, high) in [
        (8, 20, 0.218_806_532_372_817_05, 0.613_418_499_237_746_7),
        (0, 10, 0.0, 0.277_532_799_862_889_26),
        (1697, 2000, 0.832_119_542_548_813, 0.863_544_275_496_153_2),
        (432, 512, 0.809_752_352_442_195_7, 0.872_627_851_748_322_4),
    ] {
        let interval = wilson(k, n).unwrap();
        assert!(near(interval.low, low, 1e-12) && near(interval.high, high, 1e-12), "{k}/{n}: {interval:?}");
    }
    assert_eq!(wilson(10, 10).unwrap().high, 1.0);
    assert_eq!((wilson(0, 0), wilson(2, 1)), (None, None));
}

#[test]
fn quantiles_interpolate_as_numpy_does() {
    let sorted = [1.0, 2.0, 4.0, 8.0];
    // numpy.quantile([1, 2, 4, 8], q)
    for (q, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.95, 7.4), (1.0, 8.0)] {
        assert!(near(quantile(&sorted, q).unwrap(), expected, 1e-12), "{q}");
    }
    assert_eq!(quantile(&[5.0], 0.99), Some(5.0));
    assert_eq!((quantile(&[], 0.5), quantile(&sorted, 1.1), quantile(&sorted, f64::NAN)), (None, None, None));
}

/// `min(1, 2 Σ_{i ≤ min(b, c)} C(m, i)) / 2^m` in whole numbers.
fn mcnemar_by_enumeration(b: u64, c: u64) -> f64 {
    let (m, k) = (b + c, b.min(c));
    let (mut binomial, mut tail) = (1_u128, 0_u128);
    for i in 0..=k {
        tail += binomial;
        binomial = binomial * u128::from(m - i) / u128::from(i + 1);
    }
    (2.0 * tail as f64 / 2_f64.powi(m as i32)).min(1.0)
}

#[test]
fn mcnemar_equals_enumeration_on_all_small_counts() {
    for b in 0..=40 {
        for c in 0..=40 {
            let (found, expected) = (mcnemar_exact(b, c), mcnemar_by_enumeration(b, c));
            assert!(near(found / expected, 1.0, 1e-12), "b = {b}, c = {c}: {found} against {expected}");
        }
    }
}

#[test]
fn mcnemar_is_exact_on_large_counts() {
    // scipy.stats.binomtest(b, b + c).pvalue. The logarithms of the largest term add up to 1e5; their rounding allows
    // a relative error of 1e-8.
    for (b, c, expected) in [
        (10, 25, 0.016_673_847_800_120_715),
        (40, 44, 0.743_644_186_105_204_1),
        (5_000, 5_200, 0.048_787_963_126_822_34),
        (1_000, 3_000, 2.491_514_538_629_926e-229),
        (120_000, 121_000, 0.041_854_161_609_066_354),
    ] {
        let found = mcnemar_exact(b, c);
        assert!(near(found / expected, 1.0, 1e-8), "b = {b}, c = {c}: {found} against {expected}");
    }
    assert_eq!(mcnemar_exact(0, 0), 1.0);
    assert_eq!(mcnemar_exact(0, 100_000), 0.0, "below the smallest f64, and not NaN");
}

#[test]
fn spearman_shares_ranks_among_ties() {
    assert_eq!(ranks(&[2.0, 1.0, 2.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
    let (x, y) = ([1.0, 2.0, 2.0, 4.0, 5.0, 5.0, 5.0, 8.0], [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]);
    // scipy.stats.spearmanr(x, y)
    assert!(near(spearman(&x, &y).unwrap(), 0.549_550_261_864_820_8, 1e-12));
    assert_eq!(spearman(&x, &[1.0; 8]), None);
    assert_eq!(spearman(&x, &[1.0]), None);
    assert_eq!(spearman(&[], &[]), None);
}

proptest! {
    #[test]
    fn ranks_equal_counting(values in prop::collection::vec(-5_i8..5, 0..40)) {
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        for (value, rank) in values.iter().zip(ranks(&values)) {
            let below = values.iter().filter(|other| *other < value).count() as f64;
            let equal = values.iter().filter(|other| *other == value).count() as f64;
            prop_assert_eq!(rank, below + f64::midpoint(equal, 1.0));
        }
    }

    #[test]
    fn wilson_holds_its_share_and_stays_in_bounds(n in 1_u64..100_000, share in 0.0..=1.0) {
        let k = (share * n as f64) as u64;
        let interval = wilson(k, n).unwrap();
        prop_assert!(0.0 <= interval.low && interval.low <= interval.value);
        prop_assert!(interval.value <= interval.high && interval.high <= 1.0);
        let mirrored = wilson(n - k, n).unwrap();
        prop_assert!((interval.low - (1.0 - mirrored.high)).abs() < 1e-12);
    }
}

#[test]
fn bootstrap_is_repeatable_and_its_seed_matters() {
    let rows: Vec<f64> = (0..50).map(f64::from).collect();
    let mean_of = |drawn: &[usize]| drawn.iter().map(|&row| rows[row]).sum::<f64>() / drawn.len() as f64;
    let first = Bootstrap::new(50, 500, 7, mean_of);
    assert_eq!(first, Bootstrap::new(50, 500, 7, mean_of));
    assert_ne!(first, Bootstrap::new(50, 500, 8, mean_of));
}

#[test]
fn bootstrap_of_a_mean_agrees_with_the_normal_interval() {
    let n = 400;
    let rows: Vec<f64> = (0..n).map(|i| f64::from(i * 37 % 101)).collect();
    let value = mean(&rows).unwrap();
    let deviation = (rows.iter().map(|x| (x - value).powi(2)).sum::<f64>() / f64::from(n)).sqrt();
    let error = deviation / f64::from(n).sqrt();
    let bootstrap = Bootstrap::new(rows.len(), RESAMPLES, BOOTSTRAP_SEED, |drawn| {
        drawn.iter().map(|&row| rows[row]).sum::<f64>() / drawn.len() as f64
    });
    // 2,000 draws know a standard deviation to 1.6%, a 2.5% quantile to about 4% of it: three times that is allowed.
    assert!(near(bootstrap.standard_error() / error, 1.0, 0.05));
    let interval = bootstrap.interval(value);
    assert!(near((value - interval.low) / (Z_95 * error), 1.0, 0.12), "{interval:?}");
    assert!(near((interval.high - value) / (Z_95 * error), 1.0, 0.12), "{interval:?}");
}

#[test]
fn bootstrap_p_value_knows_sure_things_and_nothings() {
    let always = Bootstrap::new(10, 999, 1, |_| 0.3);
    assert!(near(always.p_value(), 0.002, 1e-12));
    let never = Bootstrap::new(10, 999, 1, |_| 0.0);
    assert_eq!(never.p_value(), 1.0);
    assert_eq!(never.interval(0.0), Interval { value: 0.0, low: 0.0, high: 0.0 });
}

#[test]
fn a_mean_by_rows_is_the_plain_one_where_each_row_has_one_answer() {
    let values = [0.3, -1.2, 2.5, 0.7, 0.1];
    let (found, error) = mean_by_rows(&values.map(|value| (value, 1))).unwrap();
    let plain = values.iter().sum::<f64>() / 5.0;
    let deviation = (values.iter().map(|x| (x - plain).powi(2)).sum::<f64>() / 4.0).sqrt();
    assert!((found - plain).abs() < 1e-15 && (error - deviation / 5f64.sqrt()).abs() < 1e-15);
    // Rows of equal answers are as sure as their number, not as that of the answers
    let doubled = mean_by_rows(&values.map(|value| (2.0 * value, 2))).unwrap();
    assert!((doubled.0 - found).abs() < 1e-15 && (doubled.1 - error).abs() < 1e-15);
    assert_eq!((mean_by_rows(&[(1.0, 1)]), mean_by_rows(&[(0.0, 0); 3])), (None, None));
}
