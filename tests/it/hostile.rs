//! Every hostile file of the fixtures has the outcome that its manifest gives, and every odd but legal one opens.

use std::fs;
use std::path::{Path, PathBuf};

use pare::engine::error::EngineError;
use pare::engine::job::{Input, InputFile, Output, Source, Task, run};
use pare::engine::model::Support;
use pare::engine::model::checkpoint::Checkpoint;
use pare::engine::model::inspect::inspect;
use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::support::engine::{shared, with_context};

fn file(path: &str, location: PathBuf) -> InputFile {
    let size_bytes = fs::metadata(&location).unwrap().len();
    InputFile { path: path.to_owned(), location, size_bytes, sha256: None }
}

/// The entry as a model: a folder as it is, a file as the weights beside a good config.
fn source(entry: &Path, good: &Path) -> Source {
    let name = entry.file_name().unwrap().to_str().unwrap();
    let mut files = Vec::new();
    if entry.is_dir() {
        for found in fs::read_dir(entry).unwrap() {
            let path = found.unwrap().path();
            files.push(file(path.file_name().unwrap().to_str().unwrap(), path.clone()));
        }
    } else {
        let path = if name.ends_with(".safetensors") { "model.safetensors" } else { name };
        files.push(file("config.json", good.join("config.json")));
        files.push(file(path, entry.to_owned()));
    }
    Source { name: name.to_owned(), files }
}

/// What became of a model, and the codes of its problems.
fn outcome(model: Source) -> (&'static str, Vec<&'static str>) {
    let task = Task::ValidateModel { model };
    let input =
        Input { task, threads: 1, device: "cpu".into(), memory_limit_bytes: None, checkpoint: None, statistics: None };
    match with_context(|ctx| run(&input, ctx)).unwrap() {
        Output::Invalid { problems } => ("refused", problems.iter().map(|p| p.code.as_str()).collect()),
        Output::Model { header } if header.support == Support::WeightsOnly => ("limited", Vec::new()),
        Output::Model { .. } => ("accepted", Vec::new()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_hostile_file_has_its_outcome() {
    let Some(edge) = shared("edge") else { return };
    let manifest: Value = serde_json::from_slice(&fs::read(edge.join("manifest.json")).unwrap()).unwrap();
    let good = edge.join("valid/bert-tiny-oddvocab");
    let mut wrong = Vec::new();
    let outcomes = manifest["outcomes"].as_object().unwrap();
    // Decoders are not read as such yet: their configs are not judged
    for (name, want) in outcomes.iter().filter(|(name, _)| !name.starts_with("llama-")) {
        let (got, codes) = outcome(source(&edge.join("malformed").join(name.trim_end_matches('/')), &good));
        let listed = |key: &str| want[key].as_array().cloned().unwrap_or_default();
        let expected = listed("expect").iter().any(|v| v == got);
        let coded = got != "refused"
            || want.get("code").is_none()
            || listed("code").iter().any(|c| codes.iter().any(|d| c == d));
        if !expected || !coded {
            wrong.push(format!("{name}: {got} {codes:?}, wanted {want}"));
        }
    }
    assert!(outcomes.len() > 50, "the manifest has shrunk");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn odd_but_legal_containers_open_with_every_tensor() {
    let Some(folder) = shared("edge/valid/container-oddities") else { return };
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let names: Vec<&String> = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__").collect();
        let checkpoint = Checkpoint::open(&[file("model.safetensors", path.clone())]).unwrap();
        assert_eq!(checkpoint.tensors().len(), names.len(), "{}", path.display());
        assert!(names.iter().all(|name| checkpoint.get(name).is_some()), "{}", path.display());
    }
}

#[test]
fn codes_of_a_family_that_can_t_be_run_are_refused_where_the_config_tells_of_them_and_can_t_be_kept() {
    let factors =
        [("ffn.u.weight", Dtype::F32, vec![4, 2], vec![0; 32]), ("ffn.v.weight", Dtype::F32, vec![4, 2], vec![0; 32])];
    let packed = [("m.weight_packed", Dtype::I32, vec![2, 1], vec![0; 8])];
    let written = |config: &Value| {
        let folder = tempfile::tempdir().unwrap();
        let views = factors
            .iter()
            .chain(&packed)
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        fs::write(folder.path().join("model.safetensors"), serialize(views, None).unwrap()).unwrap();
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let files = ["config.json", "model.safetensors"].map(|name| file(name, folder.path().join(name)));
        inspect(&files).map(|_| ())
    };
    // Two matrices that are no factors, and codes that nothing is said of, are left as they are
    assert!(written(&json!({ "model_type": "novel" })).is_ok());
    let weights = json!({ "num_bits": 4, "type": "int", "symmetric": true, "strategy": "channel", "group_size": null });
    let group = json!({ "targets": ["m"], "weights": weights, "format": "pack-quantized" });
    let quantization = json!({ "quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": { "group_0": group } });
    match written(&json!({ "model_type": "novel", "quantization_config": quantization })) {
        Err(EngineError::Invalid(problems)) => {
            let found: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
            assert_eq!(found, ["/tensors/m.weight_packed"]);
        }
        other => panic!("{other:?}"),
    }
}
