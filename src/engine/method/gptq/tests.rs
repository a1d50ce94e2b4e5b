use candle_core::{Device, Tensor};
use serde_json::json;

use super::*;
use crate::engine::calibrate::Moments;
use crate::engine::model::Dtype;
use crate::engine::model::linear::Input;
use crate::engine::model::spec::{Category, SiteRole};

const SHAPE: (usize, usize) = (24, 48);

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

/// Numbers around 0, small ones commoner.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..count).map(|_| uniform() + uniform() + uniform()).collect()
}

fn linear(weights: Vec<f32>) -> Linear {
    let map = LinearMap::Dense(Dense::new(weights, SHAPE, Dtype::F32, &Device::Cpu).unwrap());
    Linear { map, bias: None, bias_dtype: Dtype::F32, input: Input::None }
}

fn moments(inputs: Vec<f32>) -> Moments {
    let tokens = inputs.len() / SHAPE.1;
    let inputs = Tensor::from_vec(inputs, (tokens, SHAPE.1), &Device::Cpu).unwrap();
    Moments::of(&inputs, None, Wanted { gram: true, ..Wanted::default() }).unwrap()
}

/// Tokens whose features have much in common, and are of different sizes.
fn alike(tokens: usize, seed: u64) -> Moments {
    let (own, common) = (numbers(tokens * SHAPE.1, seed), numbers(tokens, seed + 1));
    let value = |at: usize| (own[at] + 2.0 * common[at / SHAPE.1]) / (1.0 + (at % SHAPE.1) as f32 / 8.0);
    moments((0..tokens * SHAPE.1).map(value).collect())
}

/// `‖X Wᵀ − X Ŵᵀ‖²` of the tokens that were summed up.
fn error(weights: &[f32], rounded: &[f32], gram: &[f64]) -> f64 {
    let rows = weights.chunks(SHAPE.1).zip(rounded.chunks(SHAPE.1));
    let of_row = |(row, rounded): (&[f32], &[f32])| -> f64 {
        let off: Vec<f64> = row.iter().zip(rounded).map(|(w, r)| f64::from(*w) - f64::from(*r)).collect();
        gram.chunks(SHAPE.1).zip(&off).map(|(gram, a)| a * gram.iter().zip(&off).map(|(g, b)| g * b).sum::<f64>()).sum()
    };
    rows.map(of_row).sum()
}

/// The method's answer, and plain rounding by the same parameters.
fn both(params: &Value, weights: &[f32], fit: &Moments) -> (Vec<f32>, Vec<f32>) {
    let params = params.as_object().unwrap();
    let Action::Site(action) = Gptq.bind(params).unwrap() else { panic!("it works on sites") };
    let (found, _) = action.apply(&site(), &linear(weights.to_vec()), Some(&Fed::of(fit))).unwrap();
    (found.map.to_vec().unwrap(), plain(params, weights, fit).decode())
}

fn plain(params: &Map<String, Value>, weights: &[f32], fit: &Moments) -> Grouped {
    let observer = Observer::parse(params["observer"].as_str().unwrap());
    let round = Round {
        bits: params["bits"].as_u64().unwrap() as u32,
        group_size: usize::try_from(params["group_size"].as_i64().unwrap()).ok(),
        per_tensor: false,
        power_of_two: false,
        symmetric: params["symmetric"].as_bool().unwrap(),
        observer,
    };
    let importance = (observer == Observer::WeightedMse).then(|| relative(&fit.mean_squares()));
    round.quantize(weights, SHAPE, Dtype::F32, importance.as_deref()).0
}

fn settings() -> Vec<Value> {
    let mut all = Vec::new();
    for bits in [2, 3, 4, 8] {
        for (group_size, symmetric) in [(-1, true), (16, false), (32, true)] {
            for (observer, act_order) in [("minmax", true), ("mse", false), ("weighted_mse", true)] {
                all.push(json!({
                    "bits": bits, "group_size": group_size, "symmetric": symmetric, "observer": observer,
                    "act_order": act_order, "damp_percent": 0.01, "anchored": false,
                }));
            }
        }
    }
    all
}

#[test]
fn outputs_on_the_tokens_that_were_summed_up_are_never_further_off_than_by_plain_rounding() {
    let (mut better, mut all) = (0, 0);
    for (i, params) in settings().iter().enumerate() {
        let seed = 100 * i as u64;
        let (weights, fit) = (numbers(SHAPE.0 * SHAPE.1, seed), alike(200, seed + 7));
        let (found, plain) = both(params, &weights, &fit);
        let gram = fit.gram.as_ref().unwrap();
        let (found, plain) = (error(&weights, &found, gram), error(&weights, &plain, gram));
        // Sums in another order
        assert!(found <= plain * (1.0 + 1e-9), "{params}: {found:e} where plain rounding has {plain:e}");
        (better, all) = (better + usize::from(found < 0.7 * plain), all + 1);
    }
    assert!(10 * better >= 9 * all, "by three tenths nearer only in {better} of {all}");
}

#[test]
fn of_inputs_that_have_nothing_in_common_it_is_plain_rounding() {
    // One feature a token: the products are a diagonal
    let inputs = (0..5 * SHAPE.1 * SHAPE.1).map(|at| {
        let (token, feature) = (at / SHAPE.1, at % SHAPE.1);
        if token % SHAPE.1 == feature { 0.25 + (token * 7 % 13) as f32 } else { 0.0 }
    });
    let fit = moments(inputs.collect());
    for params in settings().iter().filter(|params| params["observer"] != "weighted_mse") {
        let weights = numbers(SHAPE.0 * SHAPE.1, 5);
        let (found, nearest) = both(params, &weights, &fit);
        assert_eq!(found, nearest, "{params}");
        // And not for that the guard kept it
        let feedback = Feedback::new(fit.gram.as_ref().unwrap(), SHAPE.1, 0.01, params["act_order"] == true).unwrap();
        let rounded = plain(params.as_object().unwrap(), &weights, &fit);
        assert_eq!(sweep(rounded.clone(), &weights, &feedback).codes, rounded.codes, "{params}");
    }
}
