//! A run that looks at data is stopped after each block in turn, and the next attempt goes on behind it.

use std::path::Path;
use std::sync::Mutex;

use pare::engine::calibrate::Statistics;
use pare::engine::checkpoint::{Checkpoint, FOLDER, Given, GivenFile, key};
use pare::engine::context::{Event, Observer, RunContext};
use pare::engine::error::EngineError;
use pare::engine::export::verify::input;
use pare::engine::job::{Datasets, Input, Output, Source, Task, run};
use pare::engine::recipe::Recipe;
use pare::engine::run::OUT;
use serde_json::{Value, json};

use crate::support::engine::{model, own, shared, with_context};

/// Listens, and stops the run once so many blocks were worked out.
struct Stopper {
    events: Mutex<Vec<Event>>,
    after: usize,
}

fn blocks(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Progress { unit, .. } if unit == "blocks")).count()
}

impl Observer for Stopper {
    fn on(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn should_stop(&self) -> bool {
        blocks(&self.events.lock().unwrap()) >= self.after
    }
}

/// What an attempt came to.
struct Attempt {
    blocks: usize,
    checkpoint: Option<Given>,
    /// Weights and `result` of the report, where it came to its end.
    result: Option<(Vec<u8>, Value)>,
}

fn attempt(task: &Input, given: Option<&Given>, after: usize, keep: &Path) -> Attempt {
    let stopper = Stopper { events: Mutex::default(), after };
    with_context(|ctx| {
        let ctx = &RunContext {
            observer: &stopper,
            kept: Checkpoint::open(given, &key(task, &ctx.host).unwrap(), &stopper),
            statistics: Statistics::default(),
            stopwatch: ctx.stopwatch,
            device: ctx.device.clone(),
            threads: ctx.threads,
            resident_bytes: ctx.resident_bytes,
            scratch: ctx.scratch.clone(),
            host: ctx.host.clone(),
        };
        let ended = match run(task, ctx) {
            Ok(Output::Files { .. }) => {
                let out = ctx.scratch.join(OUT);
                let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
                Some((std::fs::read(out.join("model.safetensors")).unwrap(), report["result"].clone()))
            }
            Err(EngineError::Stopped) => None,
            other => panic!("{other:?}"),
        };
        let events = stopper.events.lock().unwrap();
        let told = events.iter().rev().find_map(|event| match event {
            Event::Checkpoint { step, key, files } => Some((*step, key.clone(), files.clone())),
            _ => None,
        });
        let checkpoint = told.map(|(step, key, files)| {
            let files = files.into_iter().map(|file| {
                // What is new lies in the folder; what was given lies where it was
                let (from, location) = (ctx.scratch.join(FOLDER).join(&file.name), keep.join(&file.name));
                if from.exists() {
                    std::fs::copy(from, &location).unwrap();
                }
                GivenFile { file, location }
            });
            Given { step, key, files: files.collect() }
        });
        Attempt { blocks: blocks(&events), checkpoint, result: ended }
    })
}

/// Stops after each block in turn, and compares with a run that nobody stopped.
fn check(folder: &Path, data: (&Path, &str), stages: &Value, want: usize) {
    let recipe = json!({
        "version": 1, "stages": stages, "evaluate": { "metrics": [] },
        "calibration": { "num_calibration_samples": 16, "max_seq_length": 32 },
    });
    let calibration = Some(Source { name: "data".into(), files: vec![input(data.0, data.1).unwrap()] });
    let datasets = Datasets { calibration, ..Datasets::default() };
    let task = Task::Compress { model: model(folder), recipe: Recipe::parse(&recipe).unwrap(), plan: None, datasets };
    let task =
        Input { task, threads: 2, device: "cpu".into(), memory_limit_bytes: None, checkpoint: None, statistics: None };
    let keep = tempfile::tempdir().unwrap();
    let whole = attempt(&task, None, usize::MAX, keep.path());
    assert_eq!(whole.blocks, want);
    let keep = tempfile::tempdir().unwrap();
    let (mut given, mut worked, mut stops) = (None, 0, 0);
    let last = loop {
        let one = attempt(&task, given.as_ref(), 1, keep.path());
        worked += one.blocks;
        if let Some(result) = one.result {
            break result;
        }
        stops += 1;
        given = one.checkpoint;
        assert_eq!(one.blocks, 1, "each attempt works one block out");
    };
    assert_eq!((worked, stops), (want, want), "no block was worked out twice");
    let (weights, result) = whole.result.unwrap();
    assert!(last.0 == weights, "other bytes than of a run that nobody stopped");
    assert_eq!(last.1, result);
}

fn blocks_of(folder: &Path) -> usize {
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    config["num_hidden_layers"].as_u64().unwrap() as usize
}

fn weighted() -> Value {
    json!({ "method": "quantize", "params": { "bits": 4, "group_size": 32, "observer": "weighted_mse" } })
}

#[test]
fn our_own_classifier_in_two_stages() {
    let halves = json!([
        { "method": "quantize", "targets": ["**.self_attention.*"], "params": { "observer": "weighted_mse" } },
        { "method": "quantize", "ignore": ["**.self_attention.*"], "params": { "bits": 4, "activations": "static" } },
    ]);
    let blocks = blocks_of(&own("tickets"));
    let folder = tempfile::tempdir().unwrap();
    let rows: String =
        (0..40).map(|i| format!("a ticket about printer {i} that is out of paper {}\n", i * 7)).collect();
    std::fs::write(folder.path().join("rows.txt"), rows).unwrap();
    check(&own("tickets"), (folder.path(), "rows.txt"), &halves, 2 * blocks);
}

/// Blocks of which a stage changes nothing leave files without a tensor.
#[test]
fn a_stage_that_works_on_one_block_alone() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String =
        (0..40).map(|i| format!("a ticket about printer {i} that is out of paper {}\n", i * 7)).collect();
    std::fs::write(folder.path().join("rows.txt"), rows).unwrap();
    let one = json!([{ "method": "quantize", "targets": ["block.0.**"], "params": { "observer": "weighted_mse" } }]);
    check(&own("tickets"), (folder.path(), "rows.txt"), &one, blocks_of(&own("tickets")));
}

#[test]
fn a_sentence_classifier_six_times() {
    if let (Some(folder), Some(data)) = (shared("minilm-sections"), shared("data/sections")) {
        check(&folder, (&data, "calibration.jsonl"), &json!([weighted()]), 6);
    }
}

#[test]
fn a_language_model_eight_times() {
    if let (Some(folder), Some(data)) = (shared("docs-llama"), shared("data/docs-text")) {
        check(&folder, (&data, "valid.txt"), &json!([weighted()]), 8);
    }
}
