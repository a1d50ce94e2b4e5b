//! Entropy-coded models: the same numbers to the bit, read as any model, and nothing else out of bytes that were changed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use pare::engine::export::{packed, verify};
use pare::engine::job::{Datasets, Input, Output, Task, run};
use pare::engine::model::checkpoint::Checkpoint;
use pare::engine::model::inspect::inspect;
use pare::engine::plan::{Available, resolve};
use pare::engine::problem::Code;
use pare::engine::recipe::{Recipe, preset};
use pare::engine::run::OUT;
use safetensors::tensor::{Dtype as Theirs, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::{Value, json};

use crate::support::engine::{model, own, shared, with_context};

fn input(task: Task) -> Input {
    Input { task, threads: 2, device: "cpu".into(), memory_limit_bytes: None, checkpoint: None, statistics: None }
}

fn recipe(stages: &Value, format: &str, metrics: &Value) -> Recipe {
    let evaluate = json!({ "metrics": metrics });
    Recipe::parse(&json!({ "version": 1, "stages": stages, "export": [format], "evaluate": evaluate })).unwrap()
}

/// Compresses a model into a folder; gives the report.
fn compress(folder: &Path, recipe: Recipe, out: &Path) -> Value {
    with_context(|ctx| {
        let task = Task::Compress { model: model(folder), recipe, plan: None, datasets: Datasets::default() };
        let files = match run(&input(task), ctx).unwrap() {
            Output::Files { files } => files,
            other => panic!("{other:?}"),
        };
        for file in files {
            fs::copy(ctx.scratch.join(OUT).join(&file.path), out.join(&file.path)).unwrap();
        }
        serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
    })
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

/// Forms whose tensors are coded each in its own way.
fn recipes() -> Vec<Value> {
    vec![
        json!([{ "method": "quantize", "params": { "bits": 8 } }]),
        json!([{ "method": "quantize", "params": { "bits": 4, "group_size": 32, "symmetric": false } }]),
        json!([{ "method": "quantize", "params": { "bits": 3, "group_size": 32, "symmetric": false } }]),
        json!([{ "method": "factorize", "params": { "rank_ratio": 0.5 } }]),
        json!([{ "method": "share", "params": { "centroids": 16, "group_size": 1024, "outlier_share": 0.01 } }]),
        json!([]),
    ]
}

#[test]
fn what_is_packed_is_smaller_and_comes_back_to_the_bit() {
    for stages in recipes() {
        let folders: [_; 4] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let [plain, packed, streamed, again] = folders.each_ref().map(tempfile::TempDir::path);
        let fidelity = json!(["fidelity"]);
        let a = compress(&own("tickets"), recipe(&stages, "safetensors", &fidelity), plain);
        let b = compress(&own("tickets"), recipe(&stages, "packed", &fidelity), packed);
        compress(&own("tickets"), recipe(&stages, "packed", &json!([])), streamed);
        let (raw, coded) = (weights(plain), weights(packed));
        // Codes of few bits on small matrices leave little to save
        let most_percent = if stages[0]["params"]["bits"] == 8 { 97 } else { 100 };
        assert!(coded.len() * 100 < raw.len() * most_percent, "{stages}: {} of {}", coded.len(), raw.len());
        assert!(coded == weights(streamed), "{stages}: tensor by tensor gives other bytes");
        assert_eq!(b["plan"]["predicted"]["size_bytes"], raw.len(), "an upper bound");
        assert_eq!(b["result"]["after"]["size_bytes"], coded.len());
        assert_eq!(a["result"]["after"]["fidelity"], b["result"]["after"]["fidelity"], "{stages}");
        let file = &b["result"]["artifacts"][0];
        assert_eq!((&file["format"], &file["loaders"]), (&json!("packed"), &json!(["pare"])));
        assert_eq!(file["parity"], 0.0);
        // Opened as any model is, and written without coding
        let c = compress(packed, recipe(&json!([]), "safetensors", &fidelity), again);
        assert!(weights(again) == raw, "{stages}: other bytes after decoding");
        assert_eq!(c["result"]["after"]["fidelity"]["kl"]["max"], 0.0, "{stages}");
    }
}

/// A model in which two blocks have the mlp of another, as one that was made deeper has.
fn with_twins(folder: &Path) {
    for file in model(&own("tickets")).files {
        fs::copy(&file.location, folder.join(&file.path)).unwrap();
    }
    let file = weights(folder);
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let of = |name: &str| {
        let twin = if name.contains(".dense.weight") { name.replace("layer.3.", "layer.1.") } else { name.to_owned() };
        tensors.tensor(&twin).unwrap()
    };
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = tensors.names().into_iter().map(|name| (name.to_owned(), of(name)));
    fs::write(folder.join("model.safetensors"), serialize(views, Some(metadata)).unwrap()).unwrap();
}

#[test]
fn tensors_of_the_same_numbers_are_stored_once() {
    let twins = tempfile::tempdir().unwrap();
    with_twins(twins.path());
    // Codes and factors: the forms that have more than one tensor
    for stages in recipes().into_iter().step_by(3) {
        let folders: [_; 4] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let [plain, packed, streamed, again] = folders.each_ref().map(tempfile::TempDir::path);
        let fidelity = json!(["fidelity"]);
        compress(twins.path(), recipe(&stages, "safetensors", &json!([])), plain);
        let report = compress(twins.path(), recipe(&stages, "packed", &fidelity), packed);
        compress(twins.path(), recipe(&stages, "packed", &json!([])), streamed);
        let file = weights(packed);
        assert!(file == weights(streamed), "{stages}: tensor by tensor gives other bytes");
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        let said = header.metadata().as_ref().unwrap();
        let twin = said.iter().find(|(name, _)| name.contains("layer.3.intermediate.dense")).unwrap();
        let left_out = twin.0.strip_suffix(".same").unwrap();
        assert_eq!(*twin.1, left_out.replace("layer.3.", "layer.1."), "{stages}");
        let is_stored = |name: &String| name.strip_suffix(".rans").unwrap_or(name) == left_out;
        assert!(!header.tensors().keys().any(is_stored), "{stages}: stored as well");
        let after = &report["result"]["after"];
        assert_eq!(after["size_bytes"], file.len());
        let parts = report["result"]["bytes_by_category"].as_object().unwrap().values();
        assert_eq!(parts.map(|part| part["after"].as_u64().unwrap()).sum::<u64>(), file.len() as u64);
        assert_eq!(report["result"]["artifacts"][0]["loaders"], json!(["pare"]));
        // Read as any model is, and written with every tensor in its place
        compress(packed, recipe(&json!([]), "safetensors", &json!([])), again);
        assert!(weights(again) == weights(plain), "{stages}: other bytes after reading");
    }
}

#[test]
fn equal_tensors_are_stored_once_only_as_far_as_they_would_be_read() {
    // Bytes that coding does not make shorter
    let step = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let noise: Vec<u8> = std::iter::successors(Some(1), step).map(|state| (state >> 56) as u8).take(1 << 16).collect();
    for (count, names) in [(40, 39), (100, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let view = || TensorView::new(Theirs::U8, vec![256, 256], &noise).unwrap();
        let all = (0..count).map(|i| (format!("t{i:03}"), view()));
        fs::write(&path, serialize(all, None).unwrap()).unwrap();
        with_context(|ctx| packed::rewrite(&path, ctx)).unwrap();
        let file = fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        let twins = header.metadata().as_ref().unwrap().values().filter(|stored_as| *stored_as == "t000").count();
        assert_eq!(twins, names, "of {count}");
        let read = Checkpoint::open(&[verify::input(folder.path(), "model.safetensors").unwrap()]).unwrap();
        assert_eq!(read.tensors().len(), count);
        assert!(read.tensors().iter().all(|tensor| *read.read(&tensor.name).unwrap() == noise));
    }
}

#[test]
fn the_preset_is_int8_in_fewer_bytes() {
    let Some(folder) = shared("minilm-sections") else { return };
    let folders: [_; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [plain, packed] = folders.each_ref().map(tempfile::TempDir::path);
    for (name, out) in [("int8", plain), ("int8-packed", packed)] {
        let mut recipe = preset(name).unwrap().recipe.clone();
        recipe.evaluate.metrics = Some(Vec::new());
        compress(&folder, recipe, out);
    }
    let (raw, coded) = (weights(plain).len(), weights(packed).len());
    println!("int8 {raw}, int8-packed {coded}");
    assert!(coded <= 20_900_000, "{coded}");
    let decoded = |folder: &Path| {
        let (inspected, checkpoint) = inspect(&model(folder).files).unwrap();
        let names = inspected.header.tensors.iter().map(|tensor| tensor.name.clone());
        names.map(|name| (crc32fast::hash(&checkpoint.read(&name).unwrap()), name)).collect::<Vec<_>>()
    };
    assert_eq!(decoded(plain), decoded(packed));
}

#[test]
fn bytes_that_were_changed_are_an_error_and_never_other_numbers() {
    let out = tempfile::tempdir().unwrap();
    let stages = json!([{ "method": "quantize", "params": { "bits": 8 } }]);
    compress(&own("tickets"), recipe(&stages, "packed", &json!([])), out.path());
    let good = weights(out.path());
    let header_bytes = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&good[8..header_bytes]).unwrap();
    let at = |name: &str, end: usize| {
        header[name]["data_offsets"][end].as_u64().unwrap_or_else(|| panic!("{name} in {header}")) as usize
            + header_bytes
    };
    let name = header.as_object().unwrap().keys().find(|name| name.ends_with(".weight.rans")).unwrap();
    let (start, end) = (at(name, 0), at(name, 1));
    let validate = |bytes: &[u8]| {
        fs::write(out.path().join("model.safetensors"), bytes).unwrap();
        let task = input(Task::ValidateModel { model: model(out.path()) });
        with_context(|ctx| run(&task, ctx)).unwrap()
    };
    assert!(matches!(validate(&good), Output::Model { .. }));
    // Its head, its checksum, its tables, its blocks
    for place in [start + 8, start + 10, start + 13, start + 40, usize::midpoint(start, end), end - 1] {
        let mut bad = good.clone();
        bad[place] ^= 0x41;
        match validate(&bad) {
            Output::Invalid { problems } => {
                assert!(problems.iter().any(|p| p.code == Code::PackedInvalid), "{place}: {problems:?}");
            }
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn one_weight_file_has_one_format() {
    let (inspected, _) = inspect(&model(&own("tickets")).files).unwrap();
    let problems = |export: Value| {
        let recipe = Recipe::parse(&json!({ "version": 1, "stages": [], "export": export })).unwrap();
        resolve(&recipe, &inspected.header, &Available::default())
            .map_err(|problems| problems.into_iter().map(|problem| (problem.pointer, problem.code)).collect::<Vec<_>>())
    };
    let no = |pointer: &str, code| vec![(pointer.to_owned(), code)];
    assert_eq!(problems(json!(["safetensors", "packed"])).unwrap_err(), no("/export/1", Code::OutOfRange));
    assert_eq!(problems(json!(["paked"])).unwrap_err(), no("/export/0", Code::OutOfRange));
    assert_eq!(problems(json!(["gguf"])).unwrap_err(), no("/export/0", Code::NotYetSupported));
    let plan = problems(json!(["packed"])).unwrap();
    assert!(plan.is_packed() && plan.notes.iter().any(|note| note.contains("upper bound")));
}
