//! Our forward pass against the reference implementation's answers.

use std::path::Path;

use pare::engine::data::Encoded;
use pare::engine::evaluate::score::score;
use pare::engine::export::verify::input;
use pare::engine::job::{Datasets, Source};
use pare::engine::model::build::Model;
use pare::engine::model::inspect::inspect;
use pare::engine::recipe::Evaluate;
use pare::engine::run::evaluate_files;
use safetensors::{Dtype, SafeTensors};

use crate::support::engine::{model, own, shared, with_context};

/// Both sides compute in f32, in another order.
const LOGITS: f32 = 1e-3;

/// Scores the rows of an `expected` file, and compares with the tensor `name` in it.
fn check(folder: &Path, expected: &str, name: &str) {
    let bytes = std::fs::read(folder.join(expected)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let whole = || vec![1; integers(&file, "input_ids").len()];
    let mask = file.tensor("attention_mask").map_or_else(|_| whole(), |_| integers(&file, "attention_mask"));
    let shape = file.tensor("input_ids").unwrap().shape().to_vec();
    let rows = |values: Vec<i64>| -> Vec<Vec<u32>> {
        let row = |(values, mask): (&[i64], &[i64])| {
            values.iter().zip(mask).filter(|(_, m)| **m == 1).map(|(v, _)| u32::try_from(*v).unwrap()).collect()
        };
        values.chunks(shape[1]).zip(mask.chunks(shape[1])).map(row).collect()
    };
    let ids = rows(integers(&file, "input_ids"));
    let type_ids = match file.tensor("token_type_ids") {
        Ok(_) => rows(integers(&file, "token_type_ids")),
        Err(_) => ids.iter().map(|row| vec![0; row.len()]).collect(),
    };
    let scores = with_context(|ctx| {
        let (inspected, checkpoint) = inspect(&model(folder).files).unwrap();
        let model = Model::load(&inspected, &checkpoint, ctx).unwrap();
        score(&model, &Encoded { ids, type_ids }, ctx).unwrap()
    });
    let want = floats(&file, name);
    assert_eq!(scores.values.len(), want.len());
    let worst = scores.values.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst < LOGITS, "{}: off by {worst:e}", folder.display());
}

/// Rows of a golden file, one by one, through the whole pass and alone as in the reference.
fn check_rows(folder: &Path) -> Result<(), String> {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let tolerance = told["tolerance"].as_f64().unwrap() as f32;
    let whole = |name: &str| integers(&file, name).iter().map(|id| u32::try_from(*id).unwrap()).collect::<Vec<_>>();
    let rows = (0..100).take_while(|i| file.tensor(&format!("row{i}.output")).is_ok()).count();
    assert!(rows >= 3, "{name}");
    let ids: Vec<Vec<u32>> = (0..rows).map(|i| whole(&format!("row{i}.input_ids"))).collect();
    let types = |i: usize| match file.tensor(&format!("row{i}.token_type_ids")) {
        Ok(_) => whole(&format!("row{i}.token_type_ids")),
        Err(_) => vec![0; ids[i].len()],
    };
    let type_ids: Vec<Vec<u32>> = (0..rows).map(types).collect();
    let want: Vec<f32> = (0..rows).flat_map(|i| floats(&file, &format!("row{i}.output"))).collect();
    let got = with_context(|ctx| {
        let (inspected, checkpoint) = inspect(&model(folder).files)?;
        let model = Model::load(&inspected, &checkpoint, ctx)?;
        // All rows in one batch: each must see itself alone
        score(&model, &Encoded { ids, type_ids }, ctx)
    });
    let got = got.map_err(|error| format!("{name}: {error}"))?.values;
    assert_eq!(got.len(), want.len(), "{name}");
    let worst =
        got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0f32, |worst, x| if x <= worst { worst } else { x });
    if worst < tolerance { Ok(()) } else { Err(format!("{name}: off by {worst:e}")) }
}

#[test]
fn every_family_with_every_head() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models");
    let (mut checked, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(all).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("golden.json").exists() {
            wrong.extend(check_rows(&folder).err());
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(checked, 34);
}

fn integers(file: &SafeTensors<'_>, name: &str) -> Vec<i64> {
    let tensor = file.tensor(name).unwrap();
    match tensor.dtype() {
        Dtype::I64 => tensor.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::I32 => {
            tensor.data().chunks_exact(4).map(|b| i64::from(i32::from_le_bytes(b.try_into().unwrap()))).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn decoders_of_odd_shapes_and_files() {
    for name in ["llama-tiny-tied", "llama-tiny-sharded-bf16", "llama-tiny-new-config", "gpt2-tiny"] {
        if let Some(folder) = shared(&format!("edge/valid/{name}")) {
            check(&folder, "expected.safetensors", "logits");
        }
    }
}

#[test]
fn a_language_model() {
    let Some(folder) = shared("docs-llama") else { return };
    let bytes = std::fs::read(folder.join("expected_logits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for name in ["prompt0", "prompt1", "window"] {
        let ids: Vec<u32> =
            integers(&file, &format!("{name}.input_ids")).iter().map(|id| u32::try_from(*id).unwrap()).collect();
        let want = floats(&file, &format!("{name}.logits"));
        let type_ids = vec![vec![0; ids.len()]];
        let got = with_context(|ctx| {
            let (inspected, checkpoint) = inspect(&model(&folder).files).unwrap();
            let model = Model::load(&inspected, &checkpoint, ctx).unwrap();
            score(&model, &Encoded { ids: vec![ids], type_ids }, ctx).unwrap().values
        });
        // Of a window the last positions alone are told
        let got = &got[got.len() - want.len()..];
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst < LOGITS, "{name}: off by {worst:e}");
    }
}

#[test]
fn the_perplexity_of_a_language_model() {
    let (Some(folder), Some(text)) = (shared("docs-llama"), shared("data/docs-text/test.txt")) else { return };
    let told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(shared("expected.json").unwrap()).unwrap()).unwrap();
    let told = &told["docs-llama"]["test"];
    let report = with_context(|ctx| {
        let file = input(text.parent().unwrap(), "test.txt").unwrap();
        let evaluation = Some(Source { name: "test".into(), files: vec![file] });
        let datasets = Datasets { evaluation, ..Datasets::default() };
        let settings = Evaluate { metrics: Some(vec!["perplexity".into()]), ..Evaluate::default() };
        evaluate_files(&model(&folder), None, &settings, &datasets, ctx).unwrap().report
    });
    let found = report.result.after.quality.unwrap()["perplexity"];
    assert_eq!(found.n, told["predicted_tokens"].as_u64().unwrap());
    let want = told["perplexity"].as_f64().unwrap();
    assert!((found.value / want - 1.0).abs() < 1e-4, "{} is not {want}", found.value); // both in f32
    assert!(found.low < found.value && found.value < found.high);
}

#[test]
fn a_sentence_classifier() {
    if let Some(folder) = shared("minilm-sections") {
        check(&folder, "expected_logits.safetensors", "logits");
    }
}

#[test]
fn a_classifier_of_long_rows() {
    if let Some(folder) = shared("bert-recall") {
        check(&folder, "expected_logits.safetensors", "logits");
    }
}

#[test]
fn a_classifier_of_odd_dimensions() {
    if let Some(folder) = shared("edge/valid/bert-tiny-oddvocab") {
        check(&folder, "expected.safetensors", "logits");
    }
}

#[test]
fn our_own_classifier() {
    check(&own("tickets"), "expected.safetensors", "logits");
}
