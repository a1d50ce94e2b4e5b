//! Gradients against central differences, the identity of the score, and the same numbers however they are worked out.

use super::super::gradients::Squares;
use super::super::stream::tests::{rows, with_model};
use super::*;
use crate::engine::kernels::logits::log_sum_exp;
use crate::engine::model::linear::{Dense, Linear, LinearMap};
use crate::engine::model::spec::{Head, SiteRole};

const ALL: WantedGradients = WantedGradients { total: true, squares: Squares::Every, gram: true, gates: true };

/// One model of every family, wiring, head and way to read it.
const MODELS: &[&str] = &[
    "bert-mlm",
    "bert-regression",
    "bert-tags",
    "distilbert-classify",
    "distilbert-embed",
    "gpt2-classify",
    "gpt2-lm",
    "llama-embed-last",
    "llama-embed-mean",
    "llama-gqa",
    "llama-rope-yarn",
    "llama-tied",
    "mistral-window",
    "qwen2-window",
    "qwen3",
    "roberta-classify",
];

/// Linear maps that are no table as well.
fn linears(model: &Model) -> Vec<usize> {
    let sites = model.sites.iter().enumerate();
    sites.filter(|(_, site)| site.role == SiteRole::Linear).map(|(i, _)| i).collect()
}

fn some_rows(model: &Model, places: &[usize]) -> Encoded {
    rows(model.spec.as_ref().unwrap().vocab as u32).select(places)
}

/// All sums of all linear maps.
fn gradients(model: &Model, rows: &Encoded, (seed, budget_bytes): (u64, u64), ctx: &RunContext<'_>) -> GradientSites {
    let sites = linears(model);
    let mut pass = Backward::new(model, rows, "test", budget_bytes, ctx).unwrap();
    let mut all = pass.begin(model, &sites, ALL, seed, ctx).unwrap();
    while pass.left() > 0 {
        all.extend(pass.retreat(model, &sites, ALL, ctx).unwrap());
    }
    all
}

/// The loss of rows whose labels were drawn from `original`'s answers, in f64 of f32 answers.
fn loss(model: &Model, original: &Model, rows: &Encoded, seed: u64) -> f64 {
    let spec = model.spec.as_ref().unwrap();
    let of_row = |(place, (ids, types)): (usize, (&Vec<u32>, &Vec<u32>))| -> f64 {
        let packed = Packed::new([(ids.as_slice(), types.as_slice())]);
        let answer = |model: &Model| model.forward(&packed).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (before, now) = (answer(original), answer(model));
        let scores = labels::drawn(&spec.head, &before, spec.width(), &mut labels::of_row(seed, place));
        let lines = now.chunks(spec.width()).zip(scores.chunks(spec.width())).zip(before.chunks(spec.width()));
        lines.map(|((now, score), before)| line_loss(&spec.head, now, score, before)).sum()
    };
    rows.ids.iter().zip(&rows.type_ids).enumerate().map(of_row).sum()
}

fn line_loss(head: &Head, now: &[f32], score: &[f32], before: &[f32]) -> f64 {
    if matches!(head, Head::Regression | Head::Embedding { .. }) {
        let off = |((z, s), before): ((&f32, &f32), &f32)| f64::from(*z) - (f64::from(*before) - f64::from(*s));
        return now.iter().zip(score).zip(before).map(|cell| off(cell).powi(2) / 2.0).sum();
    }
    // p - 1 for the label, p for the others
    let label = (0..score.len()).min_by(|a, b| score[*a].total_cmp(&score[*b])).unwrap();
    log_sum_exp(now) - f64::from(now[label])
}

/// The model with `step · direction` added to a site's weights.
fn moved(model: &Model, site: usize, direction: &[f64], step: f64) -> Model {
    let mut moved = model.clone();
    let linear = &model.maps[site];
    let weights = linear.map.to_vec().unwrap();
    let weights: Vec<f32> = weights.iter().zip(direction).map(|(w, d)| (f64::from(*w) + step * d) as f32).collect();
    let shape = linear.map.layout().shape();
    let weight = Tensor::from_vec(weights, shape, &candle_core::Device::Cpu).unwrap();
    let map = LinearMap::Dense(Dense { weight, dtype: crate::engine::model::layout::Dtype::F32, transposed: false });
    moved.maps[site] = Linear { map, ..(**linear).clone() }.into();
    moved
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn gradients_are_what_central_differences_say_in_every_family() {
    for name in MODELS {
        with_model(name, 2, |model, ctx| {
            let rows = some_rows(model, &[0, 4, 10, 11, 24]);
            let all = gradients(model, &rows, (7, u64::MAX), ctx);
            assert_eq!(all.keys().copied().collect::<Vec<_>>(), linears(model), "{name}: each site once");
            for (site, sums) in &all {
                let total = sums.total.as_ref().unwrap();
                let (size, what) = (length(total), &model.sites[*site].site);
                // BERT's key bias aside nothing is without effect: a gradient of 0 is one that was lost
                assert!(size.is_finite() && size > 1e-4, "{name} {what}: {size:e}");
                let largest = (0..total.len()).max_by(|a, b| total[*a].abs().total_cmp(&total[*b].abs())).unwrap();
                let along: Vec<f64> = total.iter().map(|g| g / size).collect();
                let one: Vec<f64> = (0..total.len()).map(|i| f64::from(u8::from(i == largest))).collect();
                for (direction, want) in [(along, size), (one, total[largest])] {
                    // Losses of a few hundred are known to some 1e-5 (f32 answers): the step makes a difference of 1e-2 of them,
                    // and is no longer than .02, for what the third derivative adds grows with its square
                    let step = (5e-3 / want.abs()).clamp(1e-3, 2e-2);
                    let at = |step| loss(&moved(model, *site, &direction, step), model, &rows, 7);
                    let found = (at(step) - at(-step)) / (2.0 * step);
                    let bound = 1e-2 * size + 2e-5 / step;
                    assert!(
                        (found - want).abs() < bound,
                        "{name} {what}: {found} is not {want}, of {size}, step {step}"
                    );
                }
            }
        });
    }
}

#[test]
fn gradients_of_drawn_labels_average_to_0_and_spread_as_their_squares_say() {
    for name in ["distilbert-classify", "gpt2-lm", "llama-embed-mean"] {
        with_model(name, 2, |model, ctx| {
            let rows = some_rows(model, &(0..40).collect::<Vec<_>>());
            let mut all = GradientSites::new();
            for seed in 0..12 {
                for (site, sums) in gradients(model, &rows, (seed, u64::MAX), ctx) {
                    all.entry(site).or_default().add(&sums).unwrap();
                }
            }
            for (site, sums) in all {
                let squares = sums.weight.as_ref().unwrap().every.as_ref().unwrap();
                let cells = sums.total.as_ref().unwrap().iter().zip(squares).filter(|(_, square)| **square > 0.0);
                let off: Vec<f64> = cells.map(|(total, square)| total / square.sqrt()).collect();
                // Each is about standard normal, but all depend on the same few hundred draws: so their mean square is 1 only
                // within a factor, where gradients of fixed labels would have one of the number of rows
                let spread = length(&off).powi(2) / off.len() as f64;
                let what = &model.sites[site].site;
                assert!((0.1..5.0).contains(&spread), "{name} {what}: {spread}");
                assert!(off.iter().all(|off| off.abs() < 6.0), "{name} {what}");
            }
        });
    }
}

#[test]
fn a_gate_is_worth_what_its_columns_are() {
    with_model("llama-gqa", 1, |model, ctx| {
        let all = gradients(model, &some_rows(model, &[11]), (1, u64::MAX), ctx);
        let spec = model.spec.as_ref().unwrap();
        for (site, sums) in &all {
            let spec_site = &model.sites[*site];
            let is_output = spec_site.site.ends_with("self_attention.output");
            let (width, columns) = (if is_output { spec.head_dim } else { 1 }, spec_site.r#in);
            let (weights, total) = (model.maps[*site].map.to_vec().unwrap(), sums.total.as_ref().unwrap());
            let gates = sums.gates.as_ref().unwrap();
            assert_eq!(gates.sizes.len(), columns / width, "{}", spec_site.site);
            for (gate, size) in gates.sizes.iter().enumerate() {
                let inside = |cell: usize| cell % columns / width == gate;
                let cells = (0..total.len()).filter(|cell| inside(*cell));
                let want = cells.map(|cell| total[cell] * f64::from(weights[cell])).sum::<f64>().abs();
                // One row: the gradient of scaling the columns; f32 sums of some dozens
                assert!((size - want).abs() < 1e-4 * (1.0 + want), "{} {gate}: {size} is not {want}", spec_site.site);
                assert!((gates.squares[gate] - size * size).abs() < 1e-9 * (1.0 + size * size));
            }
        }
    });
}

#[test]
fn scratch_files_and_threads_change_no_bit() {
    for name in ["llama-gqa", "bert-tags", "roberta-classify"] {
        let mut found = Vec::new();
        for (threads, budget_bytes) in [(1, u64::MAX), (4, u64::MAX), (3, 0)] {
            with_model(name, threads, |model, ctx| {
                let rows = some_rows(model, &(0..150).collect::<Vec<_>>());
                found.push(gradients(model, &rows, (5, budget_bytes), ctx));
                assert!(!ctx.scratch.join("backward-test").exists(), "its files went with it");
            });
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
    }
}

#[test]
fn labels_are_drawn_once_and_before_anything_goes_back() {
    with_model("bert-tags", 1, |model, ctx| {
        let rows = some_rows(model, &[3, 4]);
        let mut pass = Backward::new(model, &rows, "test", u64::MAX, ctx).unwrap();
        let wanted = WantedGradients::default();
        assert!(pass.retreat(model, &[], wanted, ctx).is_err());
        pass.begin(model, &[], wanted, 1, ctx).unwrap();
        assert!(pass.begin(model, &[], wanted, 1, ctx).is_err());
        while pass.left() > 0 {
            assert!(pass.retreat(model, &[], wanted, ctx).unwrap().is_empty());
        }
        assert!(pass.retreat(model, &[], wanted, ctx).is_err());
    });
}
