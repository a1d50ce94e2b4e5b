//! What every method must hold, over all of them: neutral settings, budgets, determinism, predicted bytes, round trips.

use std::path::Path;

use pare::engine::evaluate::Scores;
use pare::engine::evaluate::rows::choose;
use pare::engine::evaluate::score::score;
use pare::engine::job::{Datasets, Input, InputFile, Output, OutputFile, Source, Task, run};
use pare::engine::method::{METHODS, Needs, find};
use pare::engine::model::build::Model;
use pare::engine::model::inspect::inspect;
use pare::engine::plan::{Available, resolve};
use pare::engine::problem::Code;
use pare::engine::recipe::{Recipe, Stage};
use pare::engine::run::OUT;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::{Value, json};

use crate::support::engine::{model, own, shared, with_context};

/// Per method: settings from the largest budget to the smallest.
fn budgets() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        (
            "quantize",
            vec![
                json!({ "bits": 8 }),
                json!({ "bits": 7 }),
                json!({ "bits": 6 }),
                json!({ "bits": 5, "group_size": 64, "symmetric": false }),
                json!({ "bits": 4, "group_size": 32 }),
                json!({ "bits": 4, "strategy": "channel" }),
                json!({ "bits": 3 }),
                json!({ "bits": 2 }),
            ],
        ),
        (
            "gptq",
            vec![
                json!({ "bits": 8, "group_size": -1, "symmetric": true }),
                json!({ "bits": 5 }),
                json!({ "bits": 4, "group_size": 32 }),
                json!({ "bits": 3, "act_order": false }),
                json!({ "bits": 2, "anchored": false, "damp_percent": 0.1 }),
            ],
        ),
        (
            "share",
            vec![
                json!({ "centroids": 256, "outlier_share": 0.01 }),
                json!({ "centroids": 64 }),
                json!({ "centroids": 16, "group_size": 512 }),
                json!({ "centroids": 16, "group_size": -1, "solver": "lloyd" }),
                json!({ "centroids": 3 }),
            ],
        ),
        ("factorize", vec![json!({ "rank_ratio": 1.0 }), json!({ "rank_ratio": 0.5 }), json!({ "rank_ratio": 0.2 })]),
        ("fold", vec![json!({})]),
    ]
}

fn recipe(stages: &Value, metrics: &Value) -> Recipe {
    Recipe::parse(&json!({ "version": 1, "stages": stages, "evaluate": { "metrics": metrics } })).unwrap()
}

/// Calibration text where a method can't do without.
fn datasets(recipe: &Recipe) -> Datasets {
    let needs = |stage: &Stage| find(&stage.method).is_some_and(|method| method.spec().needs != Needs::Nothing);
    let calibration = recipe.stages.iter().any(needs).then(|| rows("calibration"));
    Datasets { calibration, ..Datasets::default() }
}

/// One of the fixture's files of rows.
fn rows(name: &str) -> Source {
    let path = own("tickets").join(format!("data/{name}.jsonl"));
    let file = InputFile {
        path: format!("{name}.jsonl"),
        size_bytes: std::fs::metadata(&path).unwrap().len(),
        location: path,
        sha256: None,
    };
    Source { name: name.into(), files: vec![file] }
}

/// Compresses a fixture; gives the report, the weight file's bytes, and the answers of what was written.
fn compress(folder: &Path, recipe: &Recipe) -> (Value, Vec<u8>, Vec<OutputFile>) {
    compress_with(folder, recipe, datasets(recipe))
}

fn compress_with(folder: &Path, recipe: &Recipe, datasets: Datasets) -> (Value, Vec<u8>, Vec<OutputFile>) {
    with_context(|ctx| {
        let task = Task::Compress { model: model(folder), recipe: recipe.clone(), plan: None, datasets };
        let input = Input {
            task,
            threads: 2,
            device: "cpu".into(),
            memory_limit_bytes: None,
            checkpoint: None,
            statistics: None,
        };
        let files = match run(&input, ctx).unwrap() {
            Output::Files { files } => files,
            other => panic!("{other:?}"),
        };
        let out = ctx.scratch.join(OUT);
        let report = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
        (report, std::fs::read(out.join("model.safetensors")).unwrap(), files)
    })
}

fn answers(folder: &Path) -> Scores {
    with_context(|ctx| {
        let (inspected, checkpoint) = inspect(&model(folder).files).unwrap();
        let spec = inspected.header.spec.clone().unwrap();
        let rows = choose(&spec, &checkpoint, &Datasets::default(), (32, 0), ctx).unwrap();
        score(&Model::load(&inspected, &checkpoint, ctx).unwrap(), rows.questions.encoded(), ctx).unwrap()
    })
}

#[test]
fn every_method_stands_in_the_table_of_budgets() {
    let named: Vec<_> = budgets().into_iter().map(|(name, _)| name).collect();
    assert_eq!(named, METHODS.iter().map(|m| m.spec().name).collect::<Vec<_>>());
}

#[test]
fn the_error_grows_as_the_budget_falls_and_bytes_are_foretold() {
    for (method, settings) in budgets() {
        let mut last = (-1.0, u64::MAX);
        for params in settings {
            let stage = json!([{ "method": method, "params": params }]);
            let recipe = recipe(&stage, &json!(["fidelity"]));
            // On a thousand real rows: of the few that are made up, two budgets that are near may come out either way
            let datasets = Datasets { evaluation: Some(rows("test")), ..datasets(&recipe) };
            let (report, weights, _) = compress_with(&own("tickets"), &recipe, datasets);
            let at = |pointer: &str| report.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!(at("/plan/predicted/size_bytes"), weights.len(), "{method} {params}");
            assert_eq!(at("/result/after/size_bytes"), weights.len(), "{method} {params}");
            let kl = at("/result/after/fidelity/kl/mean").as_f64().unwrap();
            assert!(kl >= last.0, "{method} {params}: KL {kl:e} is below {:e} of a larger budget", last.0);
            assert!(weights.len() as u64 <= last.1, "{method} {params}: more bytes than with a larger budget");
            last = (kl, weights.len() as u64);
        }
    }
}

/// Models of several forms: tables, transposed and fused maps, shared heads, shards, a family that can't be run.
const SHAPES: [&str; 6] = ["gpt2-lm", "llama-tied", "qwen3-shards", "roberta-tags", "bert-mlm-hub", "unknown-t5"];

#[test]
fn tensor_by_tensor_gives_the_bytes_of_the_whole_model_in_memory() {
    let recipes = [
        json!([{ "method": "quantize", "params": { "bits": 8 } }]),
        json!([{ "method": "quantize", "params": { "bits": 8, "activations": "dynamic" } }]),
        json!([{ "method": "quantize", "params": { "bits": 4, "group_size": 16, "symmetric": false } }]),
        json!([{ "method": "quantize", "params": { "bits": 3, "strategy": "group", "group_size": 16, "symmetric": false } }]),
        json!([{ "method": "quantize", "params": {
            "bits": 7, "strategy": "tensor", "symmetric": false, "observer": "percentile", "percentile": 99.0,
            "scale_format": "power_of_two",
        } }]),
        json!([
            { "method": "factorize", "targets": ["**.mlp.*", "**.wi*"], "params": { "rank_ratio": 0.8 } },
            { "method": "quantize", "params": { "bits": 8 } },
        ]),
        json!([{ "method": "share", "params": { "centroids": 5, "group_size": 100, "outlier_share": 0.01 } }]),
        json!([
            { "method": "factorize", "targets": ["**.mlp.*", "**.wi*"], "params": { "rank_ratio": 0.8 } },
            { "method": "share", "params": { "group_size": -1 } },
        ]),
        json!([]),
    ];
    for name in SHAPES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models").join(name);
        for stages in &recipes {
            let streamed = recipe(stages, &json!([]));
            if !can_plan(&folder, &streamed) {
                continue; // a glob that this model has no site for
            }
            // Latency is measured by running the model, so that it must be in memory
            let (told, bytes, _) = compress(&folder, &streamed);
            if told["model"]["support"] == "weights_only" {
                assert_eq!(told["result"]["after"]["size_bytes"], bytes.len(), "{name}");
                continue;
            }
            let (whole, others, _) = compress(&folder, &recipe(stages, &json!(["latency"])));
            assert!(bytes == others, "{name} {stages}: other bytes");
            let sites = |report: &Value| report["result"]["sites"].clone();
            assert_eq!(sites(&told), sites(&whole), "{name} {stages}");
            assert_eq!(told["result"]["fallbacks"], whole["result"]["fallbacks"], "{name} {stages}");
        }
    }
}

fn can_plan(folder: &Path, recipe: &Recipe) -> bool {
    let (inspected, _) = inspect(&model(folder).files).unwrap();
    resolve(recipe, &inspected.header, &Available::default()).is_ok()
}

/// A weight file's codes of 2 bits in words, as compressed-tensors packs them.
fn in_words(file: &[u8]) -> Vec<u8> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let owned = tensors.iter().map(|(name, view)| {
        let (shape, data) = (view.shape().to_vec(), view.data().to_vec());
        let Some(module) = name.strip_suffix(".weight_bits") else {
            return (name.to_owned(), view.dtype(), shape, data);
        };
        let words = shape[1].div_ceil(4);
        let row = |row: &[u8]| row.iter().copied().chain([0; 4]).take(4 * words).collect::<Vec<u8>>();
        (
            format!("{module}.weight_packed"),
            Dtype::I32,
            vec![shape[0], words],
            data.chunks(shape[1]).flat_map(row).collect(),
        )
    });
    let owned: Vec<_> = owned.collect();
    let views =
        owned.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    serialize(views, None).unwrap()
}

#[test]
fn codes_of_two_bits_in_words_belong_to_their_sites_and_are_written_as_ours() {
    let folder = tempfile::tempdir().unwrap();
    for file in model(&own("tickets")).files {
        std::fs::copy(&file.location, folder.path().join(&file.path)).unwrap();
    }
    let stages = json!([{ "method": "quantize", "params": { "bits": 2 } }]);
    let (_, ours, _) = compress(folder.path(), &recipe(&stages, &json!([])));
    std::fs::write(folder.path().join("model.safetensors"), in_words(&ours)).unwrap();
    let (inspected, _) = inspect(&model(folder.path()).files).unwrap();
    let mut packed = inspected.header.tensors.iter().filter(|tensor| tensor.name.ends_with("weight_packed"));
    assert!(packed.clone().count() > 20 && packed.all(|tensor| tensor.site.is_some()));
    for metrics in [json!([]), json!(["latency"])] {
        let (_, again, _) = compress(folder.path(), &recipe(&json!([]), &metrics));
        assert!(again == ours, "{metrics}: other bytes");
    }
}

#[test]
fn factors_whose_rank_no_group_divides_are_packed_and_read_back() {
    let stages = json!([
        { "method": "factorize", "targets": ["block.*.mlp.*"], "params": { "rank_ratio": 0.8 } },
        { "method": "quantize", "params": { "bits": 4, "group_size": 32 } },
    ]);
    for metrics in [json!([]), json!(["latency"])] {
        let (report, weights, _) = compress(&own("tickets"), &recipe(&stages, &metrics));
        assert_eq!(report["result"]["after"]["size_bytes"], weights.len());
    }
}

/// Settings that look at what sites are fed.
fn calibrated() -> Vec<(&'static str, Value)> {
    vec![
        ("quantize", json!({ "bits": 4, "observer": "weighted_mse" })),
        ("share", json!({ "objective": "weighted_mse" })),
        ("share", json!({ "objective": "outputs" })),
        ("quantize", json!({ "bits": 8, "activations": "static" })),
    ]
}

#[test]
fn without_data_statistics_come_from_made_up_rows_and_the_report_says_so() {
    for (method, params) in calibrated() {
        let recipe = recipe(&json!([{ "method": method, "params": params }]), &json!([]));
        let (report, ..) = compress(&own("tickets"), &recipe);
        assert_eq!(report["plan"]["calibration"]["is_made"], true, "{method}");
        let said = report["result"]["fallbacks"].as_array().unwrap();
        assert!(said.iter().any(|fallback| fallback["what"] == "calibrated on random tokens"), "{method}: {said:?}");
    }
}

#[test]
fn two_runs_give_the_same_bytes_and_the_same_result() {
    let all = budgets().into_iter().filter_map(|(method, mut settings)| Some((method, settings.pop()?)));
    for (method, params) in all.chain(calibrated()) {
        let recipe = recipe(&json!([{ "method": method, "params": params }]), &json!(["fidelity"]));
        let (a, b) = (compress(&own("tickets"), &recipe), compress(&own("tickets"), &recipe));
        assert!(a.1 == b.1, "{method}: weights differ between two runs");
        assert_eq!(a.0["result"], b.0["result"], "{method}");
    }
}

#[test]
fn neutral_settings_change_nothing() {
    let full_rank = json!([{ "method": "factorize", "params": { "rank": 65536 } }]);
    let fold = json!([{ "method": "fold" }]);
    for stages in [full_rank, fold] {
        let (report, ..) = compress(&own("tickets"), &recipe(&stages, &json!(["fidelity"])));
        let kl = report.pointer("/result/after/fidelity/kl/mean").and_then(Value::as_f64).unwrap();
        // factors and biases are rounded to f16 once more: a relative 2^-11 in each
        assert!(kl < 1e-5, "{stages}: KL {kl:e}");
    }
}

#[test]
fn what_was_written_opens_as_a_model_and_answers_the_same_in_every_form() {
    let all = json!([
        { "method": "factorize", "targets": ["block.*.mlp.*"], "params": { "rank_ratio": 0.8 } },
        { "method": "quantize", "targets": ["embedding.**"], "params": { "bits": 4, "group_size": 32, "symmetric": false } },
        { "method": "quantize", "targets": ["block.0.self_attention.*"], "params": { "bits": 5, "symmetric": false } },
        { "method": "quantize", "targets": ["block.1.self_attention.key"], "params": { "strategy": "tensor" } },
        {
            "method": "share", "targets": ["block.1.self_attention.*"], "ignore": ["**.key"],
            "params": { "centroids": 6, "outlier_share": 0.02 },
        },
        {
            "method": "quantize", "ignore": ["embedding.**", "head", "block.*.self_attention.*"],
            "params": { "bits": 8 },
        },
    ]);
    let out = tempfile::tempdir().unwrap();
    let first = with_context(|ctx| {
        let recipe = recipe(&all, &json!([]));
        let task = Task::Compress { model: model(&own("tickets")), recipe, plan: None, datasets: Datasets::default() };
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
            std::fs::copy(ctx.scratch.join(OUT).join(&file.path), out.path().join(&file.path)).unwrap();
        }
        answers(out.path())
    });
    // A recipe without stages writes the opened model again: same forms, same numbers
    let (report, _, _) = compress(out.path(), &recipe(&json!([]), &json!(["fidelity"])));
    assert_eq!(report.pointer("/result/after/fidelity/kl/max").and_then(Value::as_f64), Some(0.0));
    let forms: Vec<_> = report["result"]["sites"].as_array().unwrap().iter().map(|s| s["form"].clone()).collect();
    assert!(["product", "grouped", "codebook", "dense"].iter().all(|form| forms.contains(&json!(form))), "{forms:?}");
    assert!(first.values.iter().all(|x| x.is_finite()));
}

#[test]
fn a_stage_on_a_form_that_it_can_t_work_on_is_refused_before_anything_runs() {
    with_context(|_| {
        let (inspected, _) = inspect(&model(&own("tickets")).files).unwrap();
        let stages =
            json!([{ "method": "quantize" }, { "method": "factorize" }, { "method": "quantise", "params": {} }]);
        let problems = resolve(&recipe(&stages, &json!([])), &inspected.header, &Available::default()).unwrap_err();
        assert!(problems.iter().any(|p| p.code == Code::UnsupportedForm && p.pointer.starts_with("/stages/1")));
        assert!(problems.iter().any(|p| p.code == Code::UnknownMethod && p.detail.contains("'quantize'")));
        let wrong = json!([{ "method": "quantize", "targets": ["decoder.**"], "params": { "bit": 4 } }]);
        let problems = resolve(&recipe(&wrong, &json!([])), &inspected.header, &Available::default()).unwrap_err();
        assert!(problems.iter().any(|p| p.pointer == "/stages/0/params/bit" && p.code == Code::UnknownField));
    });
}

#[test]
fn weights_that_are_all_zero_go_through_every_method() {
    let Some(folder) = shared("edge/malformed/all-zero-weights") else { return };
    // The model has no tokenizer, so nothing can be calibrated on text
    let needs_none = |name: &str| find(name).is_some_and(|method| method.spec().needs == Needs::Nothing);
    for (method, settings) in budgets().into_iter().filter(|(name, _)| needs_none(name)) {
        for params in settings {
            let (report, ..) =
                compress(&folder, &recipe(&json!([{ "method": method, "params": params }]), &json!(null)));
            assert_eq!(
                report.pointer("/result/after/fidelity/kl/max").and_then(Value::as_f64),
                Some(0.0),
                "{method} {params}"
            );
        }
    }
}
