//! A model that stays in its file is measured and compressed block by block, and everything comes out as in memory.

use std::path::Path;

use pare::engine::context::RESIDENT_BYTES;
use pare::engine::export::verify::input;
use pare::engine::job::{Datasets, Input, Output, Source, Task, run};
use pare::engine::model::build::Model;
use pare::engine::model::inspect::inspect;
use pare::engine::recipe::Recipe;
use pare::engine::run::OUT;
use serde_json::{Value, json};

use crate::support::engine::{model, own, shared, with_resident};

/// Weights and `result` of a run in which models of more than so many bytes stay in their files.
fn compressed(task: &Input, resident_bytes: u64) -> (Vec<u8>, Value) {
    with_resident(resident_bytes, |ctx| {
        let Output::Files { .. } = run(task, ctx).unwrap() else { panic!("no files") };
        let out = ctx.scratch.join(OUT);
        let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
        (std::fs::read(out.join("model.safetensors")).unwrap(), report["result"].clone())
    })
}

fn check(folder: &Path, data: &[&Path; 2], stages: &Value) {
    let recipe = json!({
        "version": 1, "stages": stages, "evaluate": { "max_seq_length": 48 },
        "calibration": { "num_calibration_samples": 32, "max_seq_length": 48 },
    });
    let source = |path: &Path| {
        let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        Some(Source { name: name.into(), files: vec![input(folder, name).unwrap()] })
    };
    let datasets = Datasets { calibration: source(data[0]), evaluation: source(data[1]), ..Datasets::default() };
    let task = Task::Compress { model: model(folder), recipe: Recipe::parse(&recipe).unwrap(), plan: None, datasets };
    let task =
        Input { task, threads: 2, device: "cpu".into(), memory_limit_bytes: None, checkpoint: None, statistics: None };
    let (weights, result) = compressed(&task, RESIDENT_BYTES);
    let (stored_weights, stored_result) = compressed(&task, 0);
    assert!(weights == stored_weights, "other weights");
    assert_eq!(result, stored_result);
    assert!(result["after"]["fidelity"]["kl"]["mean"].as_f64().unwrap() > 0.0, "something was measured: {result}");
}

fn few_lines(of: &Path, lines: usize, to: &Path) {
    let text = std::fs::read_to_string(of).unwrap();
    std::fs::write(to, text.lines().take(lines).collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn a_file_is_left_where_it_is_only_where_a_model_is_too_large() {
    let files = model(&own("tickets")).files;
    let (inspected, checkpoint) = inspect(&files).unwrap();
    for (resident_bytes, stays) in [(0, true), (4 * inspected.header.parameters, false)] {
        let model = with_resident(resident_bytes, |ctx| Model::load(&inspected, &checkpoint, ctx).unwrap());
        assert_eq!(model.is_stored(), stays);
        assert!(!model.at_end().unwrap().maps.is_empty());
    }
}

#[test]
fn an_encoder_with_a_stage_that_looks_at_data_comes_out_the_same() {
    let (Some(folder), Some(data)) = (shared("minilm-sections"), shared("data/sections")) else { return };
    let few = tempfile::tempdir().unwrap();
    let (calibration, test) = (few.path().join("calibration.jsonl"), few.path().join("test.jsonl"));
    few_lines(&data.join("calibration.jsonl"), 40, &calibration);
    few_lines(&data.join("test.jsonl"), 40, &test);
    let stages = json!([
        { "method": "fold", "params": {} },
        { "method": "quantize", "params": { "bits": 4, "group_size": 64, "observer": "weighted_mse" } },
    ]);
    check(&folder, &[&calibration, &test], &stages);
}

#[test]
fn a_decoder_comes_out_the_same() {
    let (Some(folder), Some(data)) = (shared("docs-llama"), shared("data/docs-text")) else { return };
    let few = tempfile::tempdir().unwrap();
    let (calibration, test) = (few.path().join("train.txt"), few.path().join("test.txt"));
    few_lines(&data.join("train.txt"), 200, &calibration);
    few_lines(&data.join("test.txt"), 100, &test);
    let stages =
        json!([{ "method": "quantize", "params": { "bits": 8, "observer": "weighted_mse", "activations": "static" } }]);
    check(&folder, &[&calibration, &test], &stages);
}
