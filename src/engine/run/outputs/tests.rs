//! A map that is changed by a known amount puts out what is off by that amount, and the others nothing.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::engine::calibrate::Statistics;
use crate::engine::checkpoint::Checkpoint;
use crate::engine::context::{Host, Silent, Stopwatch};
use crate::engine::export::verify::input;
use crate::engine::model::inspect::inspect;
use crate::engine::model::linear::{Dense, LinearMap};

struct Still;

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

fn with_model(name: &str, (threads, resident_bytes): (usize, u64), see: impl FnOnce(&Model, &RunContext<'_>)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models").join(name);
    let files: Vec<_> = ["config.json", "model.safetensors"].iter().map(|name| input(&folder, name).unwrap()).collect();
    let scratch = tempfile::tempdir().unwrap();
    let ctx = RunContext {
        observer: &Silent,
        stopwatch: &Still,
        device: Device::Cpu,
        threads,
        resident_bytes,
        scratch: scratch.path().to_owned(),
        host: Host::default(),
        kept: Checkpoint::default(),
        statistics: Statistics::default(),
    };
    let (inspected, checkpoint) = inspect(&files).unwrap();
    see(&Model::load(&inspected, &checkpoint, &ctx).unwrap().realized().unwrap(), &ctx);
}

fn rows(vocab: u32) -> Encoded {
    let ids: Vec<Vec<u32>> =
        (0..50u32).map(|row| (0..row % 13 + 2).map(|i| (row * 31 + i * 7) % vocab).collect()).collect();
    let type_ids = ids.iter().map(|row| vec![0; row.len()]).collect();
    Encoded { ids, type_ids }
}

/// The model with one map `factor` times as large.
fn scaled(model: &Model, site: usize, factor: f64) -> Model {
    let mut changed = model.clone();
    let LinearMap::Dense(dense) = &model.maps[site].map else { panic!("decoded maps are dense") };
    let weight = (&dense.weight * factor).unwrap();
    let map = LinearMap::Dense(Dense { weight, ..dense.clone() });
    changed.maps[site] = Arc::new(Linear { map, ..(*model.maps[site]).clone() });
    changed
}

#[test]
fn the_changed_map_alone_is_off_and_by_what_it_was_changed() {
    for name in ["bert-relu", "llama-gqa", "gpt2-classify", "roberta-tags", "llama-embed-mean"] {
        with_model(name, (2, u64::MAX), |model, ctx| {
            let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
            let same = errors(model, model, &rows, ctx).unwrap();
            for site in 0..model.sites.len() {
                let found = errors(model, &scaled(model, site, 1.25), &rows, ctx).unwrap();
                for (other, (found, same)) in found.iter().zip(&same).enumerate() {
                    // Rounded to f32 along the way
                    let expected = if other == site && same.is_some() { Some(0.25) } else { *same };
                    let is_near = found.zip(expected).map(|(found, expected)| (found - expected).abs() < 1e-5);
                    assert!(is_near.unwrap_or(found.is_none() && expected.is_none()), "{name}: {site} at {other}");
                }
            }
            let blocks = model.wiring.as_ref().unwrap().blocks.len();
            let seen = same.iter().flatten().count();
            assert!(seen > 4 * blocks && same.iter().flatten().all(|error| *error == 0.0), "{name}: {seen}");
        });
    }
}

#[test]
fn errors_do_not_depend_on_threads() {
    let mut found = Vec::new();
    for threads in [1, 3] {
        with_model("bert-relu", (threads, u64::MAX), |model, ctx| {
            let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
            found.push(errors(model, &scaled(model, 4, 0.9), &rows, ctx).unwrap());
        });
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn models_in_their_files_are_compared_as_those_in_memory() {
    for name in ["bert-relu", "llama-tied"] {
        let mut found = Vec::new();
        for resident_bytes in [u64::MAX, 0] {
            with_model(name, (2, resident_bytes), |model, ctx| {
                assert_eq!(model.is_stored(), resident_bytes == 0);
                let rows = rows(model.spec.as_ref().unwrap().vocab as u32);
                let memory = model.at_block(0).unwrap();
                let site = model.wiring.as_ref().unwrap().blocks[0].down;
                found.push(errors(model, &scaled(&memory, site, 0.9), &rows, ctx).unwrap());
            });
        }
        assert!(found[0] == found[1] && found[0].iter().flatten().any(|error| *error > 0.05), "{name}");
    }
}

#[test]
fn a_bounded_number_of_rows_is_spread_over_all() {
    assert_eq!(sample(&[5; 10]), (0..10).collect::<Vec<_>>());
    assert_eq!(sample(&[5; 64]), (0..32).map(|i| 2 * i).collect::<Vec<_>>());
    assert_eq!(sample(&[1000; 64]), [0, 2, 4, 6], "4,096 tokens");
    assert_eq!(sample(&[9000, 3]), [0], "one row at least");
    assert_eq!(sample(&[]), [] as [usize; 0]);
}

#[test]
fn errors_are_relative_and_a_shift_of_all_outputs_is_not_seen_behind_a_norm() {
    let original: Vec<f32> = (0..60u16).map(|i| f32::from(i * 37 % 23) - 11.0).collect();
    let sums = |result: &[f32], centered| {
        let mut sums = Sums::default();
        sums.add(&original, result, (6, centered));
        sums.relative().unwrap()
    };
    let larger: Vec<f32> = original.iter().map(|y| y * 1.5).collect();
    assert!((sums(&larger, false) - 0.5).abs() < 1e-12 && (sums(&larger, true) - 0.5).abs() < 1e-12);
    let shifted: Vec<f32> = original.iter().enumerate().map(|(i, y)| y + (i / 6) as f32).collect();
    assert!(sums(&shifted, true) < 1e-12 && sums(&shifted, false) > 0.5);
    assert_eq!(Sums::default().relative(), None);
}
