use proptest::prelude::*;

use super::super::super::statistics::{pearson, spearman};
use super::super::ranking::{Pair, Ranking};
use super::*;

fn column(values: &[f32]) -> Scores {
    Scores { width: 1, values: values.to_vec() }
}

fn noisy(count: usize, noise: usize, seed: u64) -> (Vec<f64>, Scores) {
    let targets: Vec<f64> = drawn(count, 11, seed).iter().map(|half| *half as f64 / 2.0).collect();
    let noise = drawn(count, noise, seed + 1);
    let answers = targets.iter().zip(noise).map(|(target, noise)| *target as f32 + noise as f32 / 4.0).collect();
    (targets, Scores { width: 1, values: answers })
}

#[test]
fn correlations_hold_what_they_promise() {
    let targets = [1.0, 2.5, 3.0, 4.0, 10.0];
    let same = regression(&column(&[1.0, 2.5, 3.0, 4.0, 10.0]), &targets).unwrap();
    // Roots are rounded
    let is = |quality: &Quality, metric: &str, value: f64| (quality[metric].value - value).abs() < 1e-12;
    assert!(is(&same, PEARSON, 1.0) && is(&same, SPEARMAN, 1.0), "{same:?}");
    // A factor and a shift change nothing; the sign does
    let shifted = regression(&column(&[-7.0, -10.0, -11.0, -13.0, -25.0]), &targets).unwrap();
    assert!(is(&shifted, PEARSON, -1.0) && is(&shifted, SPEARMAN, -1.0), "{shifted:?}");
    // Ranks alone count for Spearman
    let bent = regression(&column(&[0.0, 1.0, 5.0, 600.0, 601.0]), &targets).unwrap();
    assert!(is(&bent, SPEARMAN, 1.0) && bent[PEARSON].value < 0.9, "{bent:?}");
    assert_eq!(bent[PEARSON].n, 5);
}

#[test]
fn what_does_not_vary_has_no_correlation() {
    let quality = regression(&column(&[2.0; 6]), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    assert!(quality.is_empty(), "{quality:?}");
    assert!(regression(&column(&[1.0, 2.0]), &[3.0, 3.0]).unwrap().is_empty());
    // Resamples of one row alone have none either, and do not spoil the interval
    let quality = regression(&column(&[1.0, 2.0, 4.0]), &[1.0, 2.0, 3.0]).unwrap();
    let found = quality[PEARSON];
    assert!(found.low <= found.value && found.high <= 1.0 && found.low.is_finite(), "{found:?}");
}

#[test]
fn worse_answers_are_found_and_equal_ones_are_not() {
    let (targets, good) = noisy(250, 2, 5);
    let (_, bad) = noisy(250, 24, 5);
    let change = regression_change(&good, &bad, &targets).unwrap();
    for metric in OF_NUMBERS {
        let change = change[*metric];
        assert!(change.value < -0.1 && change.high < 0.0 && change.p_value < 0.01, "{metric}: {change:?}");
        assert!(change.low < change.value && change.smallest_detectable_difference > 0.0);
    }
    let value = |scores: &Scores| regression(scores, &targets).unwrap()[SPEARMAN].value;
    assert!((change[SPEARMAN].value - (value(&bad) - value(&good))).abs() < 1e-15);
    for change in regression_change(&good, &good, &targets).unwrap().values() {
        assert_eq!((change.value, change.low, change.high, change.p_value), (0.0, 0.0, 0.0, 1.0));
    }
    assert_eq!(regression(&bad, &targets).unwrap(), regression(&bad, &targets).unwrap());
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let scores = column(&[1.0, 2.0]);
    assert!(regression(&scores, &[1.0]).is_err(), "a number is missing");
    assert!(regression(&scores, &[1.0, f64::NAN]).is_err());
    assert!(regression(&Scores { width: 2, values: vec![1.0; 4] }, &[1.0, 2.0]).is_err(), "two answers a row");
    assert!(regression(&column(&[f32::INFINITY, 1.0]), &[1.0, 2.0]).is_err());
    assert!(regression_change(&scores, &column(&[1.0]), &[1.0, 2.0]).is_err());
}

proptest! {
    /// Drawing rows and counting them is the same.
    #[test]
    fn drawn_rows_are_correlated_as_if_written_out(
        (x, y, rows) in (2_usize..20).prop_flat_map(|n| (
            prop::collection::vec(-3_i8..4, n),
            prop::collection::vec(-3_i8..4, n),
            prop::collection::vec(0..n, 2..40),
        )),
    ) {
        let column = |values: &[i8]| -> Vec<f64> { values.iter().map(|value| f64::from(*value)).collect() };
        let (x, y) = (column(&x), column(&y));
        let written = |values: &[f64]| -> Vec<f64> { rows.iter().map(|row| values[*row]).collect() };
        let (ranked_x, ranked_y) = (Ranking::of(x.clone()), Ranking::of(y.clone()));
        let mut pair = Pair::of(&ranked_x, &ranked_y);
        for (found, expected) in [
            (pair.pearson(&rows), pearson(&written(&x), &written(&y))),
            (pair.spearman(&rows), spearman(&written(&x), &written(&y))),
        ] {
            match expected {
                // Sums in another order
                Some(expected) => prop_assert!((found - expected).abs() < 1e-12, "{found} against {expected}"),
                None => prop_assert!(found.is_nan()),
            }
        }
    }
}
