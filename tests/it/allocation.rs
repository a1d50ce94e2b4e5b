//! A budget shared out over sites: what comes of it fits, is told, and is never further from the original than one level for all.

use std::path::PathBuf;

use pare::engine::context::RESIDENT_BYTES;
use pare::engine::job::{Datasets, Input, InputFile, Output, Source, Task, run};
use pare::engine::model::inspect::inspect;
use pare::engine::plan::{Available, resolve};
use pare::engine::problem::Code;
use pare::engine::recipe::Recipe;
use pare::engine::run::OUT;
use serde_json::{Value, json};

use crate::support::engine::{model, own, with_resident};

fn rows() -> Datasets {
    dataset(own("tickets").join("data/calibration.jsonl"))
}

fn dataset(location: PathBuf) -> Datasets {
    let size_bytes = std::fs::metadata(&location).unwrap().len();
    let file = InputFile { path: "calibration.jsonl".into(), location, size_bytes, sha256: None };
    Datasets { calibration: Some(Source { name: "rows".into(), files: vec![file] }), ..Datasets::default() }
}

fn recipe(method: &str, constraints: &Value) -> Recipe {
    let recipe = json!({
        "version": 1, "constraints": constraints, "evaluate": { "metrics": ["fidelity"] },
        "stages": [{ "method": method, "targets": ["**"], "params": { "bits": 4, "group_size": 32, "symmetric": false } }],
    });
    Recipe::parse(&recipe).unwrap()
}

/// The report and the length of the weight file.
fn compress(recipe: &Recipe, datasets: &Datasets) -> (Value, u64) {
    compress_in(RESIDENT_BYTES, recipe, datasets)
}

fn compress_in(resident_bytes: u64, recipe: &Recipe, datasets: &Datasets) -> (Value, u64) {
    with_resident(resident_bytes, |ctx| {
        let (model, recipe) = (model(&own("tickets")), recipe.clone());
        let input = Input {
            task: Task::Compress { model, recipe, plan: None, datasets: datasets.clone() },
            threads: 2,
            device: "cpu".into(),
            memory_limit_bytes: None,
            checkpoint: None,
            statistics: None,
        };
        match run(&input, ctx).unwrap() {
            Output::Files { .. } => {}
            other => panic!("{other:?}"),
        }
        let out = ctx.scratch.join(OUT);
        let report = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
        (report, std::fs::metadata(out.join("model.safetensors")).unwrap().len())
    })
}

#[test]
fn a_budget_is_kept_and_never_costs_more_than_one_level_for_all() {
    for method in ["quantize", "gptq"] {
        let recipe = recipe(method, &json!({ "effective_bits": 5.6 }));
        let (report, bytes) = compress(&recipe, &rows());
        let told = &report["result"]["allocation"];
        let most = told["max_bytes"].as_u64().unwrap();
        assert!(bytes <= most, "{method}: {bytes} of {most}");
        assert_eq!(report["result"]["after"]["size_bytes"], bytes);
        assert!(report["plan"]["predicted"]["size_bytes"].as_u64().unwrap() >= bytes);
        let (shared, uniform) = (told["loss"].as_f64().unwrap(), told["uniform_loss"].as_f64().unwrap());
        let error = told["standard_error"].as_f64().unwrap();
        assert_eq!(told["is_kept"], shared + 1.96 * error < uniform, "{method}: {shared} against {uniform} ± {error}");
        let levels = told["levels"].as_array().unwrap().len();
        let sites = told["sites"].as_array().unwrap();
        assert_eq!(sites.len(), report["result"]["sites"].as_array().unwrap().len());
        assert!(sites.iter().all(|site| site["level"].as_u64().is_some_and(|level| (level as usize) < levels)));
        let (again, _) = compress(&recipe, &rows());
        assert_eq!(again["result"], report["result"], "{method}");
    }
}

#[test]
fn a_budget_is_shared_out_where_no_metric_is_asked_for_and_where_a_strategy_is_named() {
    let recipe = json!({
        "version": 1, "constraints": { "effective_bits": 5.6 }, "evaluate": { "metrics": [] },
        "stages": [{ "method": "quantize", "params": {
            "bits": 4, "strategy": "group", "group_size": 32, "activations": "static",
        } }],
    });
    let (report, bytes) = compress(&Recipe::parse(&recipe).unwrap(), &rows());
    let told = &report["result"]["allocation"];
    assert!(bytes <= told["max_bytes"].as_u64().unwrap(), "{told}");
    assert!(told["loss"].as_f64().is_some() && told["uniform_loss"].as_f64().is_some(), "{told}");
    let levels: Vec<_> = told["levels"].as_array().unwrap().iter().map(|level| level["strategy"].clone()).collect();
    assert!(levels.contains(&json!("group")) && levels.contains(&json!("channel")), "{levels:?}");
}

#[test]
fn of_a_model_that_stays_in_its_file_a_budget_is_shared_out_by_what_sites_put_out() {
    let recipe = recipe("quantize", &json!({ "effective_bits": 5.6 }));
    let (report, bytes) = compress_in(0, &recipe, &rows());
    let told = &report["result"]["allocation"];
    assert!(bytes <= told["max_bytes"].as_u64().unwrap(), "{told}");
    let levels: std::collections::BTreeSet<_> =
        told["sites"].as_array().unwrap().iter().map(|site| site["level"].as_u64().unwrap()).collect();
    assert!(levels.len() > 1, "one level for all: {told}");
    assert!(told["sites"].as_array().unwrap().iter().all(|site| site["loss"].is_null()), "{told}");
    assert!(report["unmeasured"].to_string().contains("/result/allocation/sites/0/loss"));
    let said = report["result"]["fallbacks"].to_string();
    assert!(said.contains("shared out by how far the outputs of single sites move"), "{said}");
}

#[test]
fn one_row_that_is_held_out_tells_no_error_and_keeps_one_level() {
    let all = std::fs::read_to_string(own("tickets").join("data/calibration.jsonl")).unwrap();
    let few = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
    std::fs::write(few.path(), all.lines().take(12).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (report, _) = compress(&recipe("quantize", &json!({ "effective_bits": 5.6 })), &dataset(few.path().to_owned()));
    let told = &report["result"]["allocation"];
    assert!(told["standard_error"].is_null() && told["is_kept"] == false, "{told}");
    let unmeasured = report["unmeasured"].to_string();
    assert!(unmeasured.contains("/result/allocation/standard_error"), "{unmeasured}");
}

#[test]
fn results_are_judged_on_validation_rows_where_there_are_any() {
    let one = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
    std::fs::write(one.path(), "{\"text\": \"a parcel that nobody ordered came twice\"}\n").unwrap();
    let validation = dataset(one.path().to_owned()).calibration;
    let (report, _) =
        compress(&recipe("quantize", &json!({ "effective_bits": 5.6 })), &Datasets { validation, ..rows() });
    let told = &report["result"]["allocation"];
    // A tenth of the calibration rows would tell an error; one row does not
    assert!(told["loss"].as_f64().is_some() && told["standard_error"].is_null(), "{told}");
}

#[test]
fn a_budget_that_can_t_be_is_refused_where_it_stands() {
    let (inspected, _) = inspect(&model(&own("tickets")).files).unwrap();
    let with_rows = Available { calibration_rows: Some(100), ..Available::default() };
    let refused = |recipe: &Recipe, available: &Available| {
        let problems = resolve(recipe, &inspected.header, available).unwrap_err();
        problems.iter().map(|problem| (problem.pointer.clone(), problem.code)).collect::<Vec<_>>()
    };
    let budget = json!({ "max_bytes": 1000 });
    assert_eq!(refused(&recipe("quantize", &budget), &with_rows), [("/constraints".into(), Code::OutOfRange)]);
    let fits = json!({ "effective_bits": 5.6 });
    assert_eq!(
        refused(&recipe("quantize", &fits), &Available::default()),
        [("/constraints".into(), Code::DataMissing)]
    );
    let tensor = json!({ "version": 1, "constraints": fits, "stages": [{ "method": "quantize", "params": { "strategy": "tensor" } }] });
    assert_eq!(refused(&Recipe::parse(&tensor).unwrap(), &with_rows), [("/constraints".into(), Code::OutOfRange)]);
    let fold = json!({ "version": 1, "stages": [{ "method": "fold" }], "constraints": fits });
    assert_eq!(refused(&Recipe::parse(&fold).unwrap(), &with_rows), [("/constraints".into(), Code::OutOfRange)]);
    for wrong in [
        json!({}),
        json!({ "max_bytes": 1, "effective_bits": 4 }),
        json!({ "effective_bits": 0 }),
        json!({ "max_bytes": 9, "bits": [1] }),
    ] {
        let recipe = json!({ "version": 1, "stages": [], "constraints": wrong });
        let problems = Recipe::parse(&recipe).unwrap_err();
        assert!(problems.iter().all(|problem| problem.pointer.starts_with("/constraints")), "{problems:?}");
    }
}

#[test]
fn plans_that_foretell_other_bytes_do_the_same_and_plans_with_other_levels_do_not() {
    let (inspected, _) = inspect(&model(&own("tickets")).files).unwrap();
    let with_rows = Available { calibration_rows: Some(100), ..Available::default() };
    let plan = resolve(&recipe("quantize", &json!({ "effective_bits": 5.6 })), &inspected.header, &with_rows).unwrap();
    let mut other = plan.clone();
    other.predicted.files.clear();
    other.notes.push("more is known now".to_owned());
    other.stages[0].size_bytes += 1;
    assert!(plan != other && plan.does_as(&other) && other.does_as(&plan));
    other.allocation.as_mut().unwrap().uniform += 1;
    assert!(!plan.does_as(&other) && !other.does_as(&plan));
}
