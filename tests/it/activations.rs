//! Inputs of 8 bits: planned, written, read back, and the same wherever the model runs.

use std::path::Path;

use pare::engine::context::RESIDENT_BYTES;
use pare::engine::evaluate::Scores;
use pare::engine::evaluate::rows::choose;
use pare::engine::evaluate::score::score;
use pare::engine::job::{Datasets, Input, Output, Task, run};
use pare::engine::model::build::Model;
use pare::engine::model::inspect::inspect;
use pare::engine::model::{Dtype, InputForm, SiteRole};
use pare::engine::recipe::Recipe;
use pare::engine::run::OUT;
use serde_json::{Value, json};

use crate::support::engine::{model, own, with_context, with_resident};

/// Compresses into a folder; gives the report.
fn compress(from: &Path, stages: &Value, metrics: &Value, to: &Path) -> Value {
    with_context(|ctx| {
        let recipe =
            json!({ "version": 1, "stages": stages, "evaluate": { "metrics": metrics, "max_seq_length": 32 } });
        let recipe = Recipe::parse(&recipe).unwrap();
        let task = Task::Compress { model: model(from), recipe, plan: None, datasets: Datasets::default() };
        let input = Input {
            task,
            threads: 2,
            device: "cpu".into(),
            memory_limit_bytes: None,
            checkpoint: None,
            statistics: None,
        };
        let Output::Files { files } = run(&input, ctx).unwrap() else { panic!("no files") };
        for file in files {
            std::fs::create_dir_all(to.join(&file.path).parent().unwrap()).unwrap();
            std::fs::copy(ctx.scratch.join(OUT).join(&file.path), to.join(&file.path)).unwrap();
        }
        serde_json::from_slice(&std::fs::read(to.join("report.json")).unwrap()).unwrap()
    })
}

/// What a written model answers, in memory or from its file.
fn answers(folder: &Path, resident_bytes: u64) -> Scores {
    with_resident(resident_bytes, |ctx| {
        let (inspected, checkpoint) = inspect(&model(folder).files).unwrap();
        let spec = inspected.header.spec.clone().unwrap();
        let rows = choose(&spec, &checkpoint, &Datasets::default(), (32, 0), ctx).unwrap();
        score(&Model::load(&inspected, &checkpoint, ctx).unwrap(), rows.questions.encoded(), ctx).unwrap()
    })
}

fn stages(activations: &str) -> Value {
    json!([
        { "method": "factorize", "targets": ["block.0.mlp.*"], "params": { "rank_ratio": 0.9 } },
        { "method": "quantize", "targets": ["block.1.mlp.*"], "params": { "bits": 4, "group_size": 32, "activations": activations } },
        { "method": "quantize", "targets": ["block.2.mlp.*"], "params": { "bits": 3, "activations": activations } },
        { "method": "quantize", "ignore": ["block.1.mlp.*", "block.2.mlp.*"], "params": { "bits": 8, "activations": activations } },
    ])
}

#[test]
fn what_was_written_answers_the_same_in_memory_and_from_its_file_and_is_written_again_unchanged() {
    let (plain, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    compress(&own("tickets"), &stages("none"), &json!([]), plain.path());
    let unrounded = answers(plain.path(), RESIDENT_BYTES);
    for activations in ["dynamic", "static"] {
        let out = tempfile::tempdir().unwrap();
        let report = compress(&own("tickets"), &stages(activations), &json!(["fidelity"]), out.path());
        let weights = std::fs::read(out.path().join("model.safetensors")).unwrap();
        assert_eq!(report["plan"]["predicted"]["size_bytes"], weights.len(), "{activations}");
        let found = answers(out.path(), RESIDENT_BYTES);
        assert_eq!(found.values, answers(out.path(), 0).values, "{activations}: other answers from the file");
        let off = found.values.iter().zip(&unrounded.values).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        // Logits of a few units; inputs are off by 1/254 of their largest at most
        assert!(off > 0.0 && off < 1.0, "{activations}: {off}");
        // Both sides are read from files: nothing of what happens to inputs is lost on the way
        let report = compress(out.path(), &json!([]), &json!(["fidelity"]), again.path());
        assert_eq!(report.pointer("/result/after/fidelity/kl/max").and_then(Value::as_f64), Some(0.0));
        assert!(weights == std::fs::read(again.path().join("model.safetensors")).unwrap(), "{activations}");
        let config = |folder: &Path| std::fs::read_to_string(folder.join("config.json")).unwrap();
        assert_eq!(config(out.path()), config(again.path()), "{activations}");
    }
}

#[test]
fn headers_reports_and_fallbacks_say_what_happens_to_inputs() {
    for (activations, of_linears) in
        [("dynamic", InputForm::DynamicInt8), ("static", InputForm::StaticInt8 { scale_dtype: Dtype::F16 })]
    {
        let out = tempfile::tempdir().unwrap();
        let report = compress(&own("tickets"), &stages(activations), &json!(["latency"]), out.path());
        let (inspected, _) = inspect(&model(out.path()).files).unwrap();
        let sites = report["result"]["sites"].as_array().unwrap();
        for (site, told) in inspected.header.sites.iter().zip(sites) {
            let is_table = site.spec.role == SiteRole::Embedding;
            assert_eq!(site.input, if is_table { InputForm::None } else { of_linears }, "{}", site.spec.site);
            let want = if is_table { Value::Null } else { json!(activations) };
            assert_eq!(told["activations"], want, "{}", site.spec.site);
            assert_eq!(told["activation_bits"], if is_table { Value::Null } else { json!(8) });
        }
        let scales = inspected.header.tensors.iter().filter(|tensor| tensor.name.ends_with(".input_scale"));
        assert!(scales.clone().all(|tensor| tensor.site.is_some() && tensor.shape == [1]));
        let linears = inspected.header.sites.iter().filter(|site| site.spec.role != SiteRole::Embedding).count();
        assert_eq!(scales.count(), if activations == "static" { linears } else { 0 });
        assert_eq!(inspected.header.parameters, report["result"]["after"]["parameters"].as_u64().unwrap());
        let said = report["result"]["fallbacks"].as_array().unwrap();
        let between = said.iter().filter(|said| said["what"] == "a scale for every token between its two factors");
        assert_eq!(between.count(), if activations == "static" { 2 } else { 0 }, "{said:?}");
    }
}

#[test]
fn the_config_says_it_in_the_words_of_compressed_tensors() {
    let out = tempfile::tempdir().unwrap();
    compress(
        &own("tickets"),
        &json!([{ "method": "quantize", "params": { "activations": "dynamic" } }]),
        &json!([]),
        out.path(),
    );
    let config: Value = serde_json::from_slice(&std::fs::read(out.path().join("config.json")).unwrap()).unwrap();
    let config = &config["quantization_config"];
    assert_eq!(config["format"], "int-quantized");
    let groups = config["config_groups"].as_object().unwrap();
    assert_eq!(groups.len(), 2, "tables, and what is multiplied with");
    let input = |of: &str| {
        let holds =
            |group: &&Value| group["targets"].as_array().unwrap().iter().any(|t| t.as_str().unwrap().contains(of));
        groups.values().find(holds).unwrap()["input_activations"].clone()
    };
    assert_eq!(input("word_embeddings"), Value::Null);
    let found = input("attention");
    for (field, want) in [
        ("num_bits", json!(8)),
        ("type", json!("int")),
        ("symmetric", json!(true)),
        ("strategy", json!("token")),
        ("dynamic", json!(true)),
    ] {
        assert_eq!(found[field], want, "{field}");
    }
}

#[test]
fn a_pooler_that_no_answer_is_read_off_has_a_scale_for_every_token() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models/roberta-embed");
    let (out, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stages = json!([{ "method": "quantize", "params": { "activations": "static" } }]);
    let report = compress(&folder, &stages, &json!(["latency"]), out.path());
    let (inspected, _) = inspect(&model(out.path()).files).unwrap();
    for site in inspected.header.sites.iter().filter(|site| site.spec.role != SiteRole::Embedding) {
        let is_pooler = site.spec.site == "pooler";
        assert_eq!(site.input == InputForm::DynamicInt8, is_pooler, "{}: {:?}", site.spec.site, site.input);
    }
    let said = report["result"]["fallbacks"].to_string();
    assert!(said.contains("\"site\":\"pooler\""), "{said}");
    compress(out.path(), &json!([]), &json!([]), again.path());
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(out.path()) == weights(again.path()));
}

#[test]
fn of_a_family_that_can_t_be_run_every_token_has_its_own_scale_and_that_is_said() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models/unknown-t5");
    let out = tempfile::tempdir().unwrap();
    let stages = json!([{ "method": "quantize", "params": { "activations": "static" } }]);
    let report = compress(&folder, &stages, &json!([]), out.path());
    let (inspected, _) = inspect(&model(out.path()).files).unwrap();
    let rounded: Vec<_> = inspected.header.sites.iter().filter(|site| !site.input.is_none()).collect();
    assert!(!rounded.is_empty() && rounded.iter().all(|site| site.input == InputForm::DynamicInt8));
    let said = report["result"]["fallbacks"].as_array().unwrap();
    assert_eq!(said.iter().filter(|said| said["what"] == "a scale for every token").count(), rounded.len());
}

#[test]
fn a_scale_that_is_none_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let stages = json!([{ "method": "quantize", "targets": ["head"], "params": { "activations": "static" } }]);
    compress(&own("tickets"), &stages, &json!([]), out.path());
    let path = out.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header: usize = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let (_, scale) = tensors.as_object().unwrap().iter().find(|(name, _)| name.ends_with(".input_scale")).unwrap();
    let start = header + scale["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[start..start + 2].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let (inspected, checkpoint) = inspect(&model(out.path()).files).unwrap();
    let refused = with_context(|ctx| Model::load(&inspected, &checkpoint, ctx).unwrap_err());
    assert!(format!("{refused:?}").contains("a scale is above 0"), "{refused:?}");
}
