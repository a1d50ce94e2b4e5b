//! Block by block gives what one pass gives, wherever states are held.

use std::path::Path;

use candle_core::Device;

use super::*;
use crate::engine::calibrate::{Cross, Statistics};
use crate::engine::checkpoint::Checkpoint;
use crate::engine::context::{Host, Silent, Stopwatch};
use crate::engine::export::verify::input;
use crate::engine::model::forward::Part;
use crate::engine::model::inspect::inspect;
use crate::engine::model::linear::{Dense, Linear, LinearMap};

pub(in crate::engine::calibrate) struct Still;

impl Stopwatch for Still {
    fn elapsed(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn cpu_time(&self) -> Option<std::time::Duration> {
        None
    }

    fn peak_memory_bytes(&self) -> Option<u64> {
        None
    }
}

pub(in crate::engine::calibrate) fn with_model(name: &str, threads: usize, see: impl FnOnce(&Model, &RunContext<'_>)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models").join(name);
    let files: Vec<_> = ["config.json", "model.safetensors"].iter().map(|name| input(&folder, name).unwrap()).collect();
    let scratch = tempfile::tempdir().unwrap();
    let ctx = RunContext {
        observer: &Silent,
        stopwatch: &Still,
        device: Device::Cpu,
        threads,
        resident_bytes: crate::engine::context::RESIDENT_BYTES,
        scratch: scratch.path().to_owned(),
        host: Host::default(),
        kept: Checkpoint::default(),
        statistics: Statistics::default(),
    };
    let (inspected, checkpoint) = inspect(&files).unwrap();
    let model = Model::load(&inspected, &checkpoint, &ctx).unwrap().realized().unwrap();
    see(&model, &ctx);
}

pub(in crate::engine::calibrate) fn rows(vocab: u32) -> Encoded {
    let ids: Vec<Vec<u32>> =
        (0..150u32).map(|row| (0..row % 13 + 2).map(|i| (row * 31 + i * 7) % vocab).collect()).collect();
    let type_ids = ids.iter().map(|row| vec![0; row.len()]).collect();
    Encoded { ids, type_ids }
}

const GRAM: Wanted = Wanted { gram: true, cross: true, weights: TokenWeights::Even };

/// Moments of all sites of all blocks, and the last states.
fn through(model: &Model, name: &str, budget_bytes: u64, ctx: &RunContext<'_>) -> (Vec<Sites>, Vec<Vec<f32>>) {
    let wiring = model.wiring.as_ref().unwrap();
    let sites: Vec<usize> = (0..model.sites.len()).collect();
    let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
    let mut stream = Stream::new(model, &rows, name, budget_bytes, ctx).unwrap();
    let mut all = Vec::new();
    for _ in &wiring.blocks {
        all.push(stream.look(model, None, &sites, GRAM, ctx).unwrap());
        stream.advance(model).unwrap();
    }
    let last = stream.snapshot().unwrap();
    (all, last.iter().map(|x| x.flatten_all().unwrap().to_vec1().unwrap()).collect())
}

#[test]
fn states_in_files_and_on_more_threads_are_the_same() {
    for name in ["llama-gqa", "gpt2-lm", "bert-relu"] {
        let mut found = Vec::new();
        with_model(name, 1, |model, ctx| {
            found.push(through(model, "a", u64::MAX, ctx));
            found.push(through(model, "b", 0, ctx));
            assert!(!ctx.scratch.join("states-b").exists(), "its files went with it");
        });
        with_model(name, 3, |model, ctx| found.push(through(model, "c", u64::MAX, ctx)));
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
    }
}

#[test]
fn every_token_of_every_row_is_seen_once_and_the_end_is_the_models_answer() {
    with_model("llama-gqa", 2, |model, ctx| {
        let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
        let tokens: usize = rows.lengths().iter().sum();
        let (all, _) = through(model, "a", u64::MAX, ctx);
        for sites in &all {
            assert_eq!(sites.len(), 7, "four of attention, three of the mlp");
            assert!(sites.values().all(|moments| moments.tokens == tokens as u64));
        }
        // What queries, keys and values are fed is one and the same
        let first: Vec<&Moments> = all[0].values().take(3).collect();
        assert!(first[0] == first[1] && first[1] == first[2]);
    });
}

fn is_beside_itself(moments: &Moments) -> bool {
    moments.gram.is_some() && inputs(moments).iter().all(|x| *x == 0.0)
}

#[test]
fn beside_itself_nothing_lies_apart() {
    with_model("bert-relu", 2, |model, ctx| {
        let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
        let sites: Vec<usize> = (0..model.sites.len()).collect();
        let stream = Stream::new(model, &rows, "a", u64::MAX, ctx).unwrap();
        let original = Stream::new(model, &rows, "b", u64::MAX, ctx).unwrap();
        let seen = stream.look(model, Some((&original, model)), &sites, GRAM, ctx).unwrap();
        assert!(!seen.is_empty() && seen.values().all(is_beside_itself));
    });
}

#[test]
fn tokens_count_as_much_as_the_attention_that_they_are_given() {
    for name in ["bert-relu", "llama-gqa"] {
        with_model(name, 2, |model, ctx| {
            let vocab = model.spec.as_ref().unwrap().vocab as u32;
            let sites: Vec<usize> = (0..model.sites.len()).collect();
            let weighted = Wanted { weights: TokenWeights::Attention, ..GRAM };
            let look = |rows: &Encoded, wanted| {
                let stream = Stream::new(model, rows, "a", u64::MAX, ctx).unwrap();
                let beside = Stream::new(model, rows, "b", u64::MAX, ctx).unwrap();
                let found = stream.look(model, None, &sites, wanted, ctx).unwrap();
                let pair = stream.look(model, Some((&beside, model)), &sites, wanted, ctx).unwrap();
                assert!(
                    pair.iter().all(|(site, moments)| is_beside_itself(moments) && moments.gram == found[site].gram)
                );
                found
            };
            let all = rows(vocab);
            let (even, found) = (look(&all, GRAM), look(&all, weighted));
            for (site, moments) in &found {
                assert_eq!((moments.tokens, &moments.sums), (even[site].tokens, &even[site].sums));
                assert_ne!(moments.gram, even[site].gram);
                let diagonal = moments.gram.as_ref().unwrap().iter().step_by(moments.width() + 1);
                assert!(diagonal.zip(&moments.squares).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b))); // f32 products
            }
            // A token alone gives itself all that it has
            let alone = Encoded { ids: vec![vec![1], vec![2]], type_ids: vec![vec![0], vec![0]] };
            assert_eq!(look(&alone, GRAM), look(&alone, weighted));
        });
    }
}

#[test]
fn what_a_head_gives_is_made_of_its_own_moments() {
    with_model("llama-gqa", 2, |model, ctx| {
        let spec = model.spec.as_ref().unwrap();
        let block = &model.wiring.as_ref().unwrap().blocks[1];
        let crate::engine::model::arch::Projections::Split { value, .. } = block.attention.projections else {
            panic!()
        };
        let mut stream = Stream::new(model, &rows(spec.vocab as u32), "a", u64::MAX, ctx).unwrap();
        stream.advance(model).unwrap();
        let heads = stream.look_values(model, GRAM, ctx).unwrap();
        let fed = stream.look(model, None, &[block.attention.output], GRAM, ctx).unwrap();
        let (fed, width) = (fed[&block.attention.output].gram.as_ref().unwrap(), spec.heads * spec.head_dim);
        assert_eq!(heads.len(), spec.heads);
        let weights = model.maps[value].map.to_dense(&Device::Cpu).unwrap().to_dtype(candle_core::DType::F64).unwrap();
        for (head, moments) in heads.iter().enumerate() {
            assert_eq!(moments.tokens, stream.tokens() as u64);
            // What the head hands to the output is P X Wᵀ, without a bias: its Gram matrix is W (P X)ᵀ(P X) Wᵀ
            let shared = head / (spec.heads / spec.kv_heads) * spec.head_dim;
            let w = weights.narrow(0, shared, spec.head_dim).unwrap();
            let shape = (moments.width(), moments.width());
            let gram = Tensor::from_slice(moments.gram.as_ref().unwrap(), shape, &Device::Cpu).unwrap();
            let want = w.matmul(&gram).unwrap().matmul(&w.t().unwrap()).unwrap().to_vec2::<f64>().unwrap();
            let largest = want.iter().flatten().fold(0f64, |m, x| m.max(x.abs()));
            for (i, j) in (0..spec.head_dim).flat_map(|i| (0..spec.head_dim).map(move |j| (i, j))) {
                let found = fed[(head * spec.head_dim + i) * width + head * spec.head_dim + j];
                assert!((found - want[i][j]).abs() < 1e-5 * largest, "{head}: {found} is not {}", want[i][j]); // f32 sums
            }
        }
    });
}

#[test]
fn a_stream_goes_on_from_a_snapshot_as_if_nothing_had_been() {
    with_model("gpt2-lm", 2, |model, ctx| {
        let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
        let mut whole = Stream::new(model, &rows, "a", u64::MAX, ctx).unwrap();
        whole.advance(model).unwrap();
        let mut other = Stream::new(model, &rows, "b", 0, ctx).unwrap();
        other.restore(1, whole.snapshot().unwrap()).unwrap();
        whole.advance(model).unwrap();
        other.advance(model).unwrap();
        let flat = |stream: &Stream| -> Vec<Vec<f32>> {
            stream.snapshot().unwrap().iter().map(|x| x.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        assert_eq!(flat(&whole), flat(&other));
        assert!(other.restore(1, Vec::new()).is_err());
    });
}

fn near(a: &[f64], b: &[f64]) -> bool {
    let largest = a.iter().fold(0f64, |m, x| m.max(x.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * largest)
}

/// The same numbers, but for sums of batches that are added in another order, in f64.
fn nearly(a: &Moments, b: &Moments) -> bool {
    let both = near(&a.sums, &b.sums) && near(&a.squares, &b.squares) && a.largest == b.largest;
    both && a.tokens == b.tokens && near(a.gram.as_deref().unwrap_or(&[]), b.gram.as_deref().unwrap_or(&[]))
}

fn look(
    stream: &Stream,
    model: &Model,
    beside: (Option<&Stream>, Option<&Linear>),
    wanted: Wanted,
    ctx: &RunContext<'_>,
) -> Result<Moments> {
    let mut all = Moments::default();
    stream.look_inside(&mut all, model, beside, wanted, ctx)?;
    all.complete();
    Ok(all)
}

#[test]
fn part_by_part_sites_are_fed_what_they_are_in_the_whole_block_wherever_that_is_held() {
    for (name, budget_bytes) in [("bert-regression", u64::MAX), ("gpt2-lm", 0), ("llama-gqa", 1 << 14)] {
        with_model(name, 2, |model, ctx| {
            let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
            let mut parts = Stream::new(model, &rows, "parts", budget_bytes, ctx).unwrap();
            let mut whole = Stream::new(model, &rows, "whole", u64::MAX, ctx).unwrap();
            let beside = Stream::new(model, &rows, "beside", u64::MAX, ctx).unwrap();
            for block in &model.wiring.as_ref().unwrap().blocks {
                parts.enter(model).unwrap();
                assert!(parts.enter(model).is_err() && parts.snapshot().is_err() && parts.advance(model).is_err());
                assert!(look(&parts, model, (Some(&beside), None), GRAM, ctx).is_err(), "the other is not inside");
                for (part, sites) in Part::ALL.into_iter().zip(block.groups()) {
                    let want = whole.look(model, None, &sites, GRAM, ctx).unwrap();
                    let found = look(&parts, model, (None, None), GRAM, ctx).unwrap();
                    assert!(want.values().all(|want| nearly(want, &found)), "{name}: {part:?}");
                    parts.step(model).unwrap();
                }
                whole.advance(model).unwrap();
            }
            assert_eq!((parts.next(), parts.fed.len()), (whole.next(), 0));
            assert!(parts.step(model).is_err(), "behind the last block there is no part");
            let flat = |stream: &Stream| -> Vec<Vec<f32>> {
                stream.snapshot().unwrap().iter().map(|x| x.flatten_all().unwrap().to_vec1().unwrap()).collect()
            };
            assert_eq!(flat(&parts), flat(&whole), "{name}");
        });
    }
}

#[test]
fn half_of_a_row_is_the_token_that_the_head_reads() {
    for (name, reads_one) in [("bert-regression", true), ("llama-gqa", false)] {
        with_model(name, 1, |model, ctx| {
            let stream =
                Stream::new(model, &rows(model.spec.as_ref().unwrap().vocab as u32), "a", u64::MAX, ctx).unwrap();
            for i in 0..stream.batches.len() {
                let weights = stream.read_weights(model, i).unwrap();
                assert_eq!(weights.is_some(), reads_one, "a language model's head reads every token");
                let Some(weights) = weights else { continue };
                for bounds in stream.batches[i].offsets.windows(2) {
                    let row = &weights[bounds[0]..bounds[1]];
                    let total: f32 = row.iter().sum();
                    assert!((total - row.len() as f32).abs() < 1e-4, "their mean is 1: {row:?}");
                    assert!((row[0] - f32::midpoint(total, 1.0)).abs() < 1e-4 && row[1..].iter().all(|a| *a == 0.5));
                }
            }
        });
    }
}

#[test]
fn beside_an_original_products_are_those_of_the_whole_block_or_of_its_outputs() {
    with_model("bert-regression", 2, |original, ctx| {
        let rows = rows(original.spec.as_ref().unwrap().vocab as u32);
        let block = original.wiring.as_ref().unwrap().blocks[0].clone();
        let mut changed = original.clone();
        let query = block.groups()[0][0];
        let LinearMap::Dense(dense) = &original.maps[query].map else { panic!() };
        let dense = Dense { weight: (&dense.weight * 1.5).unwrap(), ..dense.clone() };
        changed.maps[query] = Linear { map: LinearMap::Dense(dense), ..(*original.maps[query]).clone() }.into();
        let stream = |model, name| Stream::new(model, &rows, name, u64::MAX, ctx).unwrap();
        let (whole, whole_beside) = (stream(&changed, "a"), stream(original, "b"));
        let (mut parts, mut beside) = (stream(&changed, "c"), stream(original, "d"));
        parts.enter(&changed).unwrap();
        assert!(look(&parts, &changed, (Some(&beside), None), GRAM, ctx).is_err(), "the other is not inside");
        beside.enter(original).unwrap();
        for sites in block.groups() {
            for weights in [TokenWeights::Even, TokenWeights::Read] {
                let wanted = Wanted { weights, ..GRAM };
                let want = whole.look(&changed, Some((&whole_beside, original)), &sites, wanted, ctx).unwrap();
                let found = look(&parts, &changed, (Some(&beside), None), wanted, ctx).unwrap();
                assert!(nearly(&want[&sites[0]], &found));
                let (want, cross) = (inputs(&want[&sites[0]]), inputs(&found));
                assert!(near(want, cross));
                let linear = Linear { bias: None, ..(*original.maps[sites[0]]).clone() };
                let through = look(&parts, &changed, (Some(&beside), Some(&linear)), wanted, ctx).unwrap();
                let Some(Cross::Outputs(outputs)) = &through.cross else { panic!("{:?}", through.cross) };
                let (w, width) = (linear.map.to_vec().unwrap(), found.width());
                let out = w.len() / width;
                let largest = outputs.iter().fold(0f64, |m, x| m.max(x.abs()));
                for (at, found) in outputs.iter().enumerate() {
                    let (i, o) = (at / out, at % out);
                    let want: f64 = (0..width).map(|j| cross[i * width + j] * f64::from(w[o * width + j])).sum();
                    assert!((found - want).abs() <= 1e-5 * largest, "{found} is not {want}"); // f32 sums
                }
            }
            parts.step(&changed).unwrap();
            assert!(look(&parts, &changed, (Some(&beside), None), GRAM, ctx).is_err(), "a part ahead");
            beside.step(original).unwrap();
        }
    });
}

fn inputs(moments: &Moments) -> &[f64] {
    let Some(Cross::Inputs(cross)) = &moments.cross else { panic!("{:?}", moments.cross) };
    cross
}
