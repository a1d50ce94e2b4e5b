use proptest::prelude::*;

use super::*;

pub(super) const PLAIN: Tables = Tables {
    centroids: 16,
    group_size: Some(64),
    objective: Objective::Mse,
    solver: Solver::Exact,
    outlier_share: 0.0,
};

/// Sums of many small numbers, a few of them far out, as weights are; the same at every run.
pub(super) fn weights(count: usize, seed: u64) -> Vec<f32> {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || rng.next_u32() as f32 / u32::MAX as f32 - 0.5;
    let mut all: Vec<f32> = (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() * 0.05).collect();
    all.iter_mut().step_by(173).for_each(|w| *w *= 9.0);
    Dtype::F16.round(&mut all);
    all
}

fn error(weights: &[f32], codebook: &Codebook, importance: Option<&[f32]>) -> f64 {
    let count = |i: usize| importance.map_or(1.0, |all| f64::from(all[i % all.len()]));
    let pairs = weights.iter().zip(codebook.decode()).enumerate();
    pairs.map(|(i, (w, shared))| count(i) * f64::from(w - shared).powi(2)).sum()
}

#[test]
fn the_error_falls_as_tables_and_centroids_grow_in_number() {
    let all = weights(6 * 640, 1);
    let of = |centroids, group_size| {
        let tables = Tables { centroids, group_size, ..PLAIN };
        error(&all, &tables.share(&all, (6, 640), Dtype::F16, None).0, None)
    };
    let by_centroids: Vec<f64> = [2, 3, 5, 16, 40, 256].map(|k| of(k, Some(640))).to_vec();
    assert!(by_centroids.windows(2).all(|pair| pair[1] < pair[0]), "{by_centroids:?}");
    let by_size: Vec<f64> = [None, Some(1280), Some(640), Some(320), Some(64)].map(|size| of(16, size)).to_vec();
    assert!(by_size.windows(2).all(|pair| pair[1] < pair[0]), "{by_size:?}");
}

#[test]
fn few_values_come_back_as_they_were() {
    let two: Vec<f32> = (0..700).map(|i| if i * i % 7 < 3 { -0.25 } else { 1.5 }).collect();
    for centroids in [2, 16] {
        for group_size in [None, Some(64)] {
            for solver in [Solver::Exact, Solver::Lloyd] {
                let tables = Tables { centroids, group_size, solver, ..PLAIN };
                let (codebook, _) = tables.share(&two, (7, 100), Dtype::F16, None);
                assert_eq!(codebook.decode(), two);
            }
        }
    }
    let same = vec![0.125; 300];
    assert_eq!(PLAIN.share(&same, (3, 100), Dtype::F16, None).0.decode(), same);
    let zero = vec![0.0; 300];
    assert_eq!(PLAIN.share(&zero, (3, 100), Dtype::F16, None).0.decode(), zero);
}

#[test]
fn what_is_fed_more_counts_more_and_what_is_fed_alike_counts_alike() {
    let all = weights(8 * 160, 3);
    let tables = Tables { centroids: 4, group_size: Some(320), ..PLAIN };
    let importance: Vec<f32> = (0..160).map(|j| if j % 5 == 0 { 20.0 } else { 0.1 }).collect();
    let (plain, _) = tables.share(&all, (8, 160), Dtype::F32, None);
    let (weighted, _) = tables.share(&all, (8, 160), Dtype::F32, Some(&importance));
    assert!(error(&all, &weighted, Some(&importance)) < 0.9 * error(&all, &plain, Some(&importance)));
    assert!(error(&all, &plain, None) < error(&all, &weighted, None));
    assert_eq!(tables.share(&all, (8, 160), Dtype::F32, Some(&[1.0; 160])).0, plain);
    assert_eq!(relative(&[3.0, 3.0]), Some(vec![1.0, 1.0]));
    assert_eq!(relative(&[0.0, 0.0]), None); // then all count alike
}

#[test]
fn outliers_stay_as_they_are_and_make_room_for_the_rest() {
    let all = weights(1730, 5);
    let tables = Tables { group_size: None, outlier_share: 0.006, ..PLAIN };
    let (codebook, _) = tables.share(&all, (10, 173), Dtype::F16, None);
    let Outliers { positions, values } = &codebook.outliers;
    assert_eq!(positions.len(), 10);
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    let nearest = positions.iter().map(|at| (all[*at as usize] - mean).abs()).fold(f32::INFINITY, f32::min);
    for (i, w) in all.iter().enumerate() {
        match positions.iter().position(|at| *at as usize == i) {
            Some(at) => assert_eq!(values[at], *w),
            None => assert!((w - mean).abs() <= nearest),
        }
    }
    let (without, _) = Tables { outlier_share: 0.0, ..tables }.share(&all, (10, 173), Dtype::F16, None);
    assert!(error(&all, &codebook, None) < 0.7 * error(&all, &without, None));
    let every = Tables { outlier_share: 1.0, ..tables }.share(&all, (10, 173), Dtype::F16, None).0;
    assert_eq!(every.decode(), all);
}

#[test]
fn what_is_made_has_the_layout_that_was_foretold() {
    let all = weights(5 * 70, 7);
    for (group_size, outlier_share) in [(None, 0.0), (Some(64), 0.0), (Some(350), 0.01), (Some(9999), 0.05)] {
        let tables = Tables { group_size, outlier_share, centroids: 7, ..PLAIN };
        let foretold = tables.layout_of(&Layout::dense((5, 70), Dtype::BF16)).unwrap();
        let (made, given_up) = tables.share(&all, (5, 70), Dtype::BF16, None);
        assert_eq!((made.layout(), given_up), (foretold, 0));
        assert!(made.indices.iter().all(|index| *index < 7));
    }
}

#[test]
fn a_table_that_is_too_large_for_the_optimum_says_so() {
    let many: Vec<f32> = (0..70_000).map(|i| i as f32 / 70_000.0).collect();
    let tables = Tables { centroids: 256, group_size: None, ..PLAIN };
    assert_eq!(tables.share(&many, (70, 1000), Dtype::F32, None).1, 1);
    let asked = Tables { solver: Solver::Lloyd, ..tables };
    assert_eq!(asked.share(&many, (70, 1000), Dtype::F32, None).1, 0);
}

proptest! {
    /// Each weight has the entry that is nearest to it.
    #[test]
    fn the_nearest_entry_is_taken(mut table in prop::collection::vec(-1f32..1.0, 2..20), weight in -1.5f32..1.5) {
        table.sort_by(f32::total_cmp);
        let off = |centroid: &f32| (f64::from(weight) - f64::from(*centroid)).abs();
        let found = off(&table[usize::from(Nearest::new(&table).index(weight))]);
        prop_assert!(table.iter().all(|centroid| found <= off(centroid)));
    }
}
