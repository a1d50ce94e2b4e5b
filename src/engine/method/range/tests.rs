use proptest::prelude::*;

use super::*;

fn scheme(bits: u32, symmetric: bool, observer: Observer) -> Scheme {
    Scheme { bits, symmetric, observer, power_of_two: false, scale_dtype: Dtype::F16 }
}

/// As many numbers as asked for, near to normal, one of them far out.
fn row(seed: u64, length: usize) -> Vec<f32> {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || rng.next_u32() as f32 / u32::MAX as f32 - 0.5;
    let mut row: Vec<f32> = (0..length).map(|_| (0..12).map(|_| uniform()).sum::<f32>()).collect();
    row[length / 3] *= 1.0 + (seed % 5) as f32;
    row
}

#[test]
fn the_error_falls_as_bits_grow() {
    for observer in [Observer::MinMax, Observer::Percentile(99.0), Observer::Mse] {
        for (symmetric, power_of_two) in [(true, false), (false, false), (true, true), (false, true)] {
            let weights = row(7, 512);
            let error = |bits| {
                let scheme = Scheme { power_of_two, ..scheme(bits, symmetric, observer) };
                scheme.grid(&weights, None).0.error(&weights, None)
            };
            let errors: Vec<f64> = (2..=8).map(error).collect();
            // Cutting one weight in a hundred off costs the same at any width
            let cut = if observer == Observer::Percentile(99.0) { 1.01 } else { 1.0 };
            assert!(errors.windows(2).all(|pair| pair[1] <= cut * pair[0]), "{observer:?} {symmetric}: {errors:?}");
        }
    }
}

#[test]
fn a_percentile_holds_as_many_weights_as_it_says() {
    let weights = row(3, 1000);
    for (percent, beyond) in [(99.0, 10), (99.9, 1), (99.99, 0), (80.0, 200)] {
        let (low, high) = percentiles(&weights, percent, true);
        assert_eq!(low, -high);
        assert_eq!(weights.iter().filter(|w| w.abs() > high).count(), beyond, "{percent}");
        let (low, high) = percentiles(&weights, percent, false);
        assert_eq!(weights.iter().filter(|w| **w > high).count(), beyond, "{percent}");
        assert_eq!(weights.iter().filter(|w| **w < low).count(), beyond, "{percent}");
    }
    let mostly_zero = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0];
    assert_eq!(percentiles(&mostly_zero, 60.0, true), (0.0, 5.0), "not a range of nothing");
}

#[test]
fn powers_of_two_are_exact_and_cost_six_decibels_at_most() {
    for bits in 2..=8 {
        let (mut plain_error, mut power_error) = (0.0, 0.0);
        for seed in 0..60 {
            // Spreads from 2^-9 to 2^9, each its own share of the way between two powers
            let spread = 2f32.powf(seed as f32 * 0.31 - 9.0);
            let weights: Vec<f32> = row(seed, 384).iter().map(|w| w * spread).collect();
            let plain = scheme(bits, true, Observer::MinMax);
            let power = Scheme { power_of_two: true, ..plain };
            let (a, b) = (plain.grid(&weights, None).0, power.grid(&weights, None).0);
            assert_eq!(b.scale.to_bits() & 0x007f_ffff, 0, "{} is no power of two", b.scale);
            assert_eq!(Dtype::F16.rounded(b.scale), b.scale);
            // f16 may have rounded the plain scale by 2^-11 of it
            assert!(b.scale >= a.scale * 0.9995 && b.scale < a.scale * 2.001, "{} for {}", b.scale, a.scale);
            plain_error += a.error(&weights, None) / f64::from(a.scale * a.scale);
            power_error += b.error(&weights, None) / f64::from(a.scale * a.scale);
            let searched = Scheme { observer: Observer::Mse, ..power }.grid(&weights, None).0;
            assert!(searched.error(&weights, None) <= b.error(&weights, None));
        }
        // A step twice as long has four times the error: 6.02 dB
        assert!(10.0 * (power_error / plain_error).log10() < 6.03, "{bits} bits: {power_error} {plain_error}");
    }
}

#[test]
fn of_all_powers_of_two_the_search_finds_the_best() {
    for (seed, bits) in (0..40).zip([2, 3, 4, 5, 6, 8].into_iter().cycle()) {
        let weights = row(seed, 96);
        let scheme = Scheme { power_of_two: true, ..scheme(bits, true, Observer::Mse) };
        let found = scheme.grid(&weights, None).0;
        let half = 1 << (bits - 1);
        let all = (-20..4).map(|e| Grid { scale: 2f32.powi(e), zero: 0, low: 1 - half, high: half - 1 });
        let least = all.map(|grid| grid.error(&weights, None)).fold(f64::INFINITY, f64::min);
        assert!(found.error(&weights, None) <= least * 1.0001, "{bits} bits, seed {seed}");
    }
}

#[test]
fn rows_together_are_weighted_as_each_of_them() {
    let (weights, importance) = (row(1, 64 * 40), row(2, 64).iter().map(|e| e * e).collect::<Vec<f32>>());
    let grid = scheme(4, true, Observer::MinMax).grid(&weights, None).0;
    let apart: f64 = weights.chunks(64).map(|row| grid.error(row, Some(&importance))).sum();
    assert_eq!(grid.error(&weights, Some(&importance)), apart);
}

proptest! {
    /// Half a step is the most that rounding may cost, wherever the range holds the weight.
    #[test]
    fn minmax_is_never_off_by_more_than_half_a_step(
        weights in prop::collection::vec(-2f32..2.0, 1..80), bits in 2u32..=8, symmetric: bool,
    ) {
        let (grid, _) = scheme(bits, symmetric, Observer::MinMax).grid(&weights, None);
        // f16 scales may fall short by 2^-11 of the range, and an asymmetric zero by half a step at one end
        let slack = if symmetric { 0.5 } else { 1.0 };
        let range = grid.scale * (1 << bits) as f32;
        for w in &weights {
            let off = (w - grid.weight(grid.code(*w))).abs();
            prop_assert!(off <= slack * grid.scale + range / 1024.0 + 1e-7, "{w} is off by {off} of {}", grid.scale);
        }
    }

    #[test]
    fn the_hundredth_percentile_is_the_full_range(
        weights in prop::collection::vec(-2f32..2.0, 1..80), bits in 2u32..=8, symmetric: bool, power_of_two: bool,
    ) {
        let of = |observer| Scheme { power_of_two, ..scheme(bits, symmetric, observer) }.grid(&weights, None);
        prop_assert_eq!(of(Observer::Percentile(100.0)), of(Observer::MinMax));
    }

    #[test]
    fn searching_never_does_worse_than_the_full_range(
        weights in prop::collection::vec(-2f32..2.0, 2..80), symmetric: bool,
    ) {
        let plain = scheme(4, symmetric, Observer::MinMax).grid(&weights, None).0.error(&weights, None);
        let searched = scheme(4, symmetric, Observer::Mse).grid(&weights, None).0.error(&weights, None);
        prop_assert!(searched <= plain);
    }

    /// A search stops where what lies outside of a range costs too much by itself; around a grid that it found it finds it again.
    #[test]
    fn a_search_finds_what_all_ranges_would(
        mut weights in prop::collection::vec(-1f32..1.0, 2..80), importance in prop::collection::vec(0.01f32..3.0, 80),
        power in 1i32..6, bits in 2u32..=8, symmetric: bool, is_weighted: bool,
    ) {
        for w in &mut weights {
            *w = w.powi(2 * power - 1); // the higher, the longer the tails
        }
        let importance = is_weighted.then_some(&importance[..weights.len()]);
        let scheme = scheme(bits, symmetric, Observer::Mse);
        let (min, max) = rounding::range(&weights);
        let error = |permille: i32| {
            let share = permille as f32 / 1000.0;
            scheme.over(min * share, max * share).0.error(&weights, importance)
        };
        let best = |all: &mut dyn Iterator<Item = i32>| all.map(|at| (at, error(at))).fold((1000, error(1000)), |a, b| if b.1 < a.1 { b } else { a });
        let coarse = best(&mut (20..=120).rev().map(|percent| 10 * percent));
        let fine = best(&mut std::iter::once(coarse.0).chain(coarse.0 - 9..coarse.0 + 10));
        let found = scheme.grid(&weights, importance);
        // Sums of f32 may tell two ranges apart that are the same
        prop_assert!(found.0.error(&weights, importance) <= fine.1 * 1.000_01, "{found:?} and {fine:?}");
        prop_assert_eq!(scheme.grid_near(&weights, importance, Some(found.0)), found);
    }
}

/// On rows as models have them: sums of many small numbers, a few of them far out, some of them zero.
#[test]
fn a_range_that_is_foretold_is_as_good_as_all_that_are_tried() {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    let scheme = scheme(8, true, Observer::Mse);
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = || rng.next_u32() as f32 / u32::MAX as f32 - 0.5;
        let length = 256 + 90 * seed as usize;
        let mut weights: Vec<f32> = (0..length).map(|_| (0..12).map(|_| uniform()).sum::<f32>()).collect();
        weights[3] *= 1.0 + (seed % 7) as f32;
        weights.iter_mut().step_by(2 + seed as usize % 5).for_each(|w| *w *= f32::from(u8::from(seed % 3 != 0)));
        let even = vec![1.0; length]; // even importance is tried one by one
        let (found, tried) = (scheme.grid(&weights, None).0, scheme.grid(&weights, Some(&even)).0);
        let ratio = found.error(&weights, None) / tried.error(&weights, None);
        assert!(ratio < 1.1, "{ratio} at seed {seed}");
    }
}

#[test]
fn what_is_fed_more_counts_more() {
    // Two large weights that nothing reaches, and small ones that carry all
    let weights = [3.0, -2.9, 0.11, -0.13, 0.17, 0.05, -0.08, 0.02];
    let importance = [1e-6, 1e-6, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let scheme = scheme(4, true, Observer::WeightedMse);
    let (plain, _) = scheme.grid(&weights, None);
    let (weighted, _) = scheme.grid(&weights, Some(&importance));
    assert!(weighted.error(&weights, Some(&importance)) < 0.5 * plain.error(&weights, Some(&importance)));
    // Even importance is none at all, and so is none anywhere
    assert_eq!(scheme.grid(&weights, Some(&[2.0; 8])), scheme.grid(&weights, None)); // at 4 bits nothing is foretold
    assert_eq!(scheme.grid(&weights, Some(&[0.0; 8])), scheme.grid(&weights, None));
}

#[test]
fn zero_stays_zero_and_empty_ranges_have_a_scale() {
    for symmetric in [true, false] {
        let scheme = scheme(4, symmetric, Observer::Mse);
        let (grid, _) = scheme.grid(&[0.0; 8], None);
        assert_eq!((grid.scale, grid.weight(grid.code(0.0))), (1.0, 0.0));
        let (grid, _) = scheme.grid(&[0.3, 0.0, 0.9], None);
        assert_eq!(grid.weight(grid.code(0.0)).to_bits() << 1, 0);
    }
    let (grid, raised) = scheme(8, true, Observer::MinMax).grid(&[1e-9, -1e-9], None);
    assert!(raised && grid.scale > 0.0);
}

#[test]
fn a_scale_is_cut_at_what_its_type_holds_and_not_before() {
    for (dtype, most, power) in [
        (Dtype::F16, 65_504.0, 32_768.0),
        (Dtype::BF16, 3.38e38, 2f32.powi(126)),
        (Dtype::F32, f32::MAX, 2f32.powi(126)),
    ] {
        let scheme = |power_of_two| Scheme {
            bits: 8,
            symmetric: true,
            observer: Observer::MinMax,
            power_of_two,
            scale_dtype: dtype,
        };
        let stored = |scale: f32, power_of_two| scheme(power_of_two).storable(scale).0;
        for scale in [f32::MAX, f32::INFINITY] {
            let (plain, two) = (stored(scale, false), stored(scale, true));
            assert!(plain.is_finite() && plain >= most && dtype.rounded(plain) == plain, "{dtype:?}: {plain:e}");
            assert!(two == power && dtype.rounded(two) == two, "{dtype:?}: {two:e}");
        }
        let large = if dtype == Dtype::F16 { 1024.0 } else { 1e8f32 };
        assert!((stored(large, false) / large - 1.0).abs() < 1.0 / 128.0, "{dtype:?}");
    }
}
