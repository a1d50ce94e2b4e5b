use proptest::prelude::*;

use super::*;

/// The least loss over every way to cut `n` points into `k` runs, each summed up point by point.
fn least(pairs: &[(f32, f32)], k: usize) -> f64 {
    fn run(pairs: &[(f32, f32)]) -> f64 {
        let count: f64 = pairs.iter().map(|(_, a)| f64::from(*a)).sum();
        let mean = pairs.iter().map(|(x, a)| f64::from(*x) * f64::from(*a)).sum::<f64>() / count;
        pairs.iter().map(|(x, a)| f64::from(*a) * (f64::from(*x) - mean).powi(2)).sum()
    }
    if k == 1 {
        return run(pairs);
    }
    let cuts = k - 1..pairs.len();
    cuts.map(|cut| least(&pairs[..cut], k - 1) + run(&pairs[cut..])).fold(f64::INFINITY, f64::min)
}

fn pairs(longest: usize) -> impl Strategy<Value = Vec<(f32, f32)>> {
    prop::collection::vec((-1f32..1.0, 0.01f32..3.0), 1..longest)
}

proptest! {
    #[test]
    fn the_optimum_is_that_of_all_partitions(mut pairs in pairs(11), k in 1usize..6) {
        let points = Points::new(pairs.clone());
        let ends = points.exact(k);
        prop_assert_eq!(ends.len(), k.min(points.len()));
        prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let want = least(&pairs, k.min(pairs.len()));
        prop_assert!((points.loss(&ends) - want).abs() < 1e-9, "{} is not {want}", points.loss(&ends)); // f64 sums of 10 points
    }

    #[test]
    fn the_optimum_is_no_worse_than_lloyds(pairs in pairs(400), k in 1usize..40) {
        let points = Points::new(pairs);
        let (exact, lloyd) = (points.exact(k), points.lloyd(k));
        prop_assert_eq!(lloyd.len(), k.min(points.len()));
        prop_assert!(points.loss(&exact) <= points.loss(&lloyd) + 1e-9); // f64 sums of 400 points
    }

    /// Nothing is nearer to another cluster's mean than to that of its own, in either.
    #[test]
    fn clusters_hold_what_is_nearest_to_their_means(pairs in pairs(300), k in 1usize..20) {
        let points = Points::new(pairs);
        for ends in [points.exact(k), points.lloyd(k)] {
            let means = points.means(&ends);
            for (pair, end) in means.windows(2).zip(&ends) {
                let half = f64::midpoint(pair[0], pair[1]);
                prop_assert!(points.values[end - 1] <= half + 1e-9 && points.values[*end] >= half - 1e-9);
            }
        }
    }

    #[test]
    fn what_counts_alike_counts_as_one_whatever_the_number(values in prop::collection::vec(-1f32..1.0, 1..200), k in 1usize..12) {
        let of = |a: f32| Points::new(values.iter().map(|x| (*x, a)).collect());
        prop_assert_eq!(of(1.0).exact(k), of(4.0).exact(k)); // a power of two changes no mantissa
        prop_assert_eq!(of(1.0).lloyd(k), of(4.0).lloyd(k));
    }
}

#[test]
fn a_point_that_counts_twice_is_as_two() {
    let once = Points::new(vec![(0.0, 1.0), (1.0, 2.0), (4.0, 1.0), (5.0, 3.0)]);
    let repeated = [0.0, 1.0, 1.0, 4.0, 5.0, 5.0, 5.0].map(|x| (x, 1.0)).to_vec();
    let repeated = Points::new(repeated);
    assert_eq!((once.len(), repeated.len()), (4, 4));
    assert_eq!(once.exact(2), repeated.exact(2));
    assert_eq!(once.means(&once.exact(2)), repeated.means(&repeated.exact(2)));
}

#[test]
fn fewer_values_than_clusters_cost_nothing() {
    let points = Points::new([3.0, 1.0, 3.0, 2.0, 1.0].map(|x| (x, 0.5)).to_vec());
    for ends in [points.exact(16), points.lloyd(16)] {
        assert_eq!(points.means(&ends), [1.0, 2.0, 3.0]);
        assert_eq!(points.loss(&ends), 0.0);
    }
    assert!(Points::new(Vec::new()).is_empty());
    assert!(Points::new(Vec::new()).exact(4).is_empty() && Points::new(Vec::new()).lloyd(4).is_empty());
}

/// Evenly spaced beginnings leave most clusters empty here.
#[test]
fn clusters_that_run_empty_are_used_elsewhere() {
    let near = (0..60).map(|i| (i as f32 * 1e-3, 1.0));
    let points = Points::new(near.chain([(1e3, 1.0)]).collect());
    let lloyd = points.lloyd(8);
    assert_eq!(lloyd.len(), 8);
    // 60 points in 7 runs of 8 or 9, a thousandth apart: (m³ − m) / 12 each
    let even = (4.0 * (729.0 - 9.0) + 3.0 * (512.0 - 8.0)) / 12.0 * 1e-6;
    assert!(points.loss(&lloyd) < 1.5 * even, "{} of {even}", points.loss(&lloyd));
    assert!(points.loss(&points.exact(8)) < 1.001 * even);
}

/// Far from 0 the squares are a million times the spread.
#[test]
fn sums_hold_far_from_zero() {
    let points = Points::new((0..64).map(|i| (1000.0 + i as f32 / 64.0, 1.0)).collect());
    let ends = points.exact(4);
    assert_eq!(ends, [16, 32, 48, 64]);
    let run = (4096.0 - 16.0) / 12.0 / 4096.0;
    assert!((points.loss(&ends) - 4.0 * run).abs() < 1e-9);
}
