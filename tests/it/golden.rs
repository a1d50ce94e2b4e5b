//! Our forward pass against the reference implementation's answers.

use std::path::Path;

use pare::engine::data::Encoded;
use pare::engine::evaluate::score::score;
use pare::engine::model::build::Model;
use pare::engine::model::inspect::inspect;
use safetensors::{Dtype, SafeTensors};

use crate::support::engine::{model, own, shared, with_context};

/// Both sides compute in f32, in another order.
const LOGITS: f32 = 1e-3;

/// Scores the rows of an `expected` file, and compares with the tensor `name` in it.
fn check(folder: &Path, expected: &str, name: &str) {
    let bytes = std::fs::read(folder.join(expected)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mask = integers(&file, "attention_mask");
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
