use candle_core::{Device, Tensor};

use super::super::tests::{PLAIN, weights};
use super::*;
use crate::engine::calibrate::anchored::Judge;
use crate::engine::calibrate::{Moments, Wanted};
use crate::engine::method::share::Objective;
use crate::engine::model::Dtype;
use crate::engine::model::sparse::Outliers;
use crate::engine::model::spec::{Category, SiteRole};

const BOTH: Wanted = Wanted { gram: true, cross: true, weights: crate::engine::calibrate::TokenWeights::Even };
/// So many rows that what one weight happens to do does not decide.
const SHAPE: (usize, usize) = (96, 48);

fn site() -> SiteSpec {
    SiteSpec {
        site: "block.0.mlp.up".to_owned(),
        role: SiteRole::Linear,
        category: Category::Mlp,
        module: "m".to_owned(),
        out: SHAPE.0,
        r#in: SHAPE.1,
        bias: false,
        is_centered: false,
        transposed: false,
    }
}

/// What so many tokens feed, each with much in common, to the original and, a little off, to the compressed model.
fn moments(tokens: usize, seed: u64) -> Moments {
    let (own, common, off) = (weights(tokens * 48, seed), weights(tokens, seed + 1), weights(tokens * 48, seed + 2));
    let value = |at: usize| own[at] + 2.0 * common[at / 48] / (1.0 + (at % 48) as f32 / 8.0);
    let original: Vec<f32> = (0..tokens * 48).map(value).collect();
    let fed: Vec<f32> = original.iter().zip(&off).map(|(x, off)| x + 0.1 * off).collect();
    let tensor = |x: Vec<f32>| Tensor::from_vec(x, (tokens, 48), &Device::Cpu).unwrap();
    Moments::of(&tensor(fed), Some(&tensor(original)), BOTH).unwrap()
}

fn dense() -> Dense {
    Dense::new(weights(96 * 48, 31), SHAPE, Dtype::F16, &Device::Cpu).unwrap()
}

#[test]
fn outputs_come_nearer_than_by_plain_tables_on_rows_that_were_not_fitted_to() {
    let (fit, held_out, others) = (moments(900, 40), moments(300, 50), moments(300, 60));
    let fed = Fed { fit: &fit, held_out: Some(&held_out), original: None };
    let original = LinearMap::Dense(dense()).to_vec().unwrap();
    let judge = Judge::new(&original, &others, false).unwrap();
    // Tables of few weights fit those weights themselves, and what errors are passed on to lies beside their entries: there plain
    // tables may well be kept, and what one size gains depends on the last digits of sums
    let sizes = [None, Some(768), Some(1000), Some(1152), Some(1536)];
    let ratios = sizes.map(|group_size| {
        let tables = Tables { objective: Objective::Outputs, group_size, ..PLAIN };
        let (found, ..) = share(&tables, &site(), &dense(), &fed).unwrap();
        let (plain, _) = tables.share(&original, SHAPE, Dtype::F16, None);
        assert_eq!(found.layout(), plain.layout());
        // Twice the same, and stored as it is
        assert_eq!(share(&tables, &site(), &dense(), &fed).unwrap().0, found);
        assert!(found.tables.iter().all(|centroid| Dtype::F16.rounded(*centroid) == *centroid));
        judge.cost(&found.decode()) / judge.cost(&plain.decode())
    });
    assert!(ratios.iter().sum::<f64>() < 0.96 * ratios.len() as f64, "{ratios:?}");
}

#[test]
fn outliers_are_where_they_were_and_may_make_up_for_others() {
    let fit = moments(600, 70);
    let tables = Tables { objective: Objective::Outputs, outlier_share: 0.01, ..PLAIN };
    let (found, ..) = share(&tables, &site(), &dense(), &Fed::of(&fit)).unwrap();
    let Outliers { positions, values } = &found.outliers;
    assert_eq!(positions.len(), 46);
    let decoded = found.decode();
    assert!(positions.iter().zip(values).all(|(at, value)| decoded[*at as usize] == *value));
    assert!(values.iter().all(|value| Dtype::F16.rounded(*value) == *value));
}

#[test]
fn inputs_without_a_factor_leave_plain_tables_and_are_said() {
    let mut fit = moments(50, 80);
    fit.gram = Some((0..48 * 48).map(|at| if at / 48 == at % 48 { 1.0 } else { 5.0 }).collect());
    fit.cross = None;
    let tables = Tables { objective: Objective::Outputs, ..PLAIN };
    let (_, _, said) = share(&tables, &site(), &dense(), &Fed::of(&fit)).unwrap();
    assert!(said.iter().any(|fallback| fallback.what == "weights take the nearest entries"), "{said:?}");
}

#[test]
fn bands_are_whole_rows_and_whole_tables() {
    for (size, columns, weights, wanted) in [
        (1536, 384, 147_456, 1536),
        (1152, 1536, 589_824, 4608),
        (64, 48, 768, 192),
        (768, 48, 768, 768),
        (7, 5, 20, 20),
    ] {
        assert_eq!(band(size, columns, weights), wanted);
    }
}
