//! A report is checked against its files: an untouched one holds, and any change is found.

use std::path::Path;

use pare::engine::report::verify::{Precision, State};
use pare::engine::run::verify::{Effort, Given};
use serde_json::{Value, json};

use crate::support::engine::{model, own, shared};
use crate::support::verified::{
    Told, all, compressed, dataset, differing, few_rows, measured, tickets, verified, with,
};

const NOTHING: [&str; 0] = [];

/// A copy of a folder's files with the last byte of one of them changed: in a weight file, a number.
fn spoilt(folder: &Path, name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
    copy
}

#[test]
fn an_untouched_report_holds_however_closely_it_is_looked_at() {
    let told = tickets();
    for effort in [Effort::Files, Effort::Evaluate, Effort::Recompress] {
        let done = verified(&told.report, &told.given, effort);
        assert_eq!(done.basis.precision, Precision::Exact);
        assert_eq!(differing(&done), NOTHING, "{effort:?}: {:?}", all(&done, State::Differs));
        assert_eq!(all(&done, State::Warning), Vec::<&_>::new(), "{effort:?}");
        let unchecked: Vec<&str> = all(&done, State::NotChecked).iter().map(|check| check.pointer.as_str()).collect();
        let expected: &[&str] = match effort {
            Effort::Files => &["/result", "/result/stages", "/result/fallbacks", "/result/artifacts"],
            Effort::Evaluate => &["/result/stages", "/result/fallbacks", "/result/artifacts"],
            Effort::Recompress => &[],
        };
        let always = ["/provenance/host/binary_sha256", "/measurements"];
        let unchecked: Vec<&str> = unchecked.into_iter().filter(|pointer| !always.contains(pointer)).collect();
        assert_eq!(unchecked, expected, "{effort:?}");
    }
}

#[test]
fn models_of_other_kinds_hold_too() {
    let plain = json!([{ "method": "quantize", "params": { "bits": 8 } }]);
    let uneven = json!([{ "method": "quantize", "params": { "bits": 4, "group_size": 32, "symmetric": false } }]);
    let nothing = json!([]);
    let others = ["edge/valid/bert-tiny-oddvocab", "edge/valid/llama-tiny-tied", "edge/valid/gpt2-tiny"];
    let others = others.iter().filter_map(|path| shared(path)).collect::<Vec<_>>();
    for (folder, stages) in
        others.iter().map(|f| (f.clone(), &plain)).chain([(own("tickets"), &uneven), (own("tickets"), &nothing)])
    {
        let told = compressed(&folder, stages, None);
        for effort in [Effort::Files, Effort::Evaluate, Effort::Recompress] {
            let done = verified(&told.report, &told.given, effort);
            assert_eq!(differing(&done), NOTHING, "{} {effort:?}: {:?}", folder.display(), all(&done, State::Differs));
        }
    }
}

#[test]
fn a_changed_byte_in_any_file_is_found() {
    let told = tickets();
    let out = told.folder.path().join("out");
    let (other_model, other_artifact) =
        (spoilt(&own("tickets"), "model.safetensors"), spoilt(&out, "model.safetensors"));
    let other_tokenizer = spoilt(&own("tickets"), "tokenizer.json");
    let data = tempfile::tempdir().unwrap();
    let rows = few_rows(data.path(), "rows.jsonl", 60);
    let text = std::fs::read_to_string(&rows).unwrap();
    std::fs::write(&rows, text.replacen(r#"{"text": ""#, r#"{"text": "y"#, 1)).unwrap();
    let given = |change: &dyn Fn(&mut Given)| {
        let mut given = told.given.clone();
        change(&mut given);
        given
    };
    let cases = [
        (given(&|g| g.model = model(other_model.path())), "/provenance/model_files/", "the model"),
        (given(&|g| g.model = model(other_tokenizer.path())), "/provenance/model_files/", "the model"),
        (given(&|g| g.artifact = Some(model(other_artifact.path()))), "/result/artifacts/", "the artifact"),
        (
            given(&|g| g.datasets.evaluation = Some(dataset(&rows))),
            "/provenance/datasets/evaluation/",
            "the evaluation",
        ),
    ];
    for (given, pointer, name) in cases {
        for effort in [Effort::Files, Effort::Evaluate] {
            let done = verified(&told.report, &given, effort);
            let found = differing(&done);
            assert!(found.iter().any(|found| found.starts_with(pointer) && found.ends_with("/sha256")), "{found:?}");
            let unrun = all(&done, State::NotChecked);
            let why = unrun.iter().find(|check| check.pointer == "/result").and_then(|check| check.why.as_deref());
            assert!(effort == Effort::Files || why.is_some_and(|why| why.starts_with(name)), "{name}: {unrun:?}");
        }
    }
}

#[test]
fn files_that_are_not_there_or_not_named_are_told() {
    let told = tickets();
    let mut given = told.given.clone();
    given.artifact.as_mut().unwrap().files.retain(|file| file.path != "config.json");
    let done = verified(&told.report, &given, Effort::Files);
    assert!(differing(&done).iter().any(|pointer| pointer.starts_with("/result/artifacts/")), "{:?}", differing(&done));

    given.artifact = None;
    given.datasets.evaluation = None;
    let done = verified(&told.report, &given, Effort::Evaluate);
    assert_eq!(differing(&done), NOTHING);
    let unchecked: Vec<&str> = all(&done, State::NotChecked).iter().filter_map(|check| check.why.as_deref()).collect();
    assert!(unchecked.contains(&"--artifact was not given") && unchecked.contains(&"--evaluation was not given"));
    let report = with(&told.report, &[("/result/before/total_bytes", json!(1))]);
    assert_eq!(differing(&verified(&report, &given, Effort::Files)), ["/result/before/total_bytes"]);

    let beside = tempfile::tempdir().unwrap();
    std::fs::write(beside.path().join("model-00001-of-00001.safetensors"), b"x").unwrap();
    let mut given = told.given.clone();
    given.artifact.as_mut().unwrap().files.extend(model(beside.path()).files);
    let done = verified(&told.report, &given, Effort::Files);
    assert_eq!((differing(&done).len(), all(&done, State::Warning).len()), (0, 1), "{done:?}");
}

/// Numbers of every part that stay true to one another, but not to the files.
fn lies(told: &Told) -> Vec<Vec<(&'static str, Value)>> {
    let document = serde_json::to_value(&told.report).unwrap();
    let at = |pointer: &str| document.pointer(pointer).unwrap().clone();
    let more = |pointer: &'static str, by: i64| (pointer, json!(at(pointer).as_i64().unwrap() + by));
    let scaled = |pointer: &'static str, by: f64| (pointer, json!(at(pointer).as_f64().unwrap() * by));
    vec![
        vec![more("/model/parameters", 1)],
        vec![more("/result/before/size_bytes", 8)],
        vec![more("/result/before/total_bytes", 1)],
        vec![more("/result/before/parameters", -1)],
        vec![more("/result/after/size_bytes", -8)],
        vec![more("/result/after/total_bytes", -1)],
        vec![more("/result/after/parameters", 1)],
        vec![scaled("/result/after/ratio_to_stored", 1.001)],
        vec![more("/result/stages/0/size_bytes", -8)],
        vec![more("/result/stages/0/size_bytes", -8), more("/plan/stages/0/size_bytes", -8)],
        vec![more("/plan/predicted/parameters", 1)],
        vec![scaled("/plan/predicted/wall_seconds", 2.0), scaled("/measurements/predicted/wall_seconds", 2.0)],
        vec![("/recipe/stages/0/params/rank_ratio", json!(0.8001))],
        vec![("/plan/stages/1/params/bits", json!(8))],
        vec![("/plan/stages/1/sites/0", json!("head"))],
        vec![more("/result/sites/3/before_bytes", 1)],
        vec![more("/result/sites/3/after_bytes", -1)],
        vec![more("/result/sites/3/bits", -1)],
        vec![("/result/sites/3/form", json!("dense"))],
        vec![("/result/sites/3/relative_error", json!(0.01)), ("/result/sites/3/sqnr_db", json!(40.0))],
        vec![more("/result/bytes_by_category/mlp/after", 1), more("/result/bytes_by_category/metadata/after", -1)],
        vec![more("/result/bytes_by_category/mlp/before", 1), more("/result/bytes_by_category/norms/before", -1)],
        vec![("/result/artifacts/0/sha256", json!("0".repeat(64)))],
        vec![("/result/artifacts/0/loaders", json!(["pare", "everything"]))],
        vec![more("/provenance/datasets/evaluation/rows", 1)],
        vec![("/provenance/recipe_sha256", json!("0".repeat(64)))],
        vec![("/result/verdict/summary", json!("Nothing was lost."))],
    ]
}

#[test]
fn a_changed_number_is_found_without_running_a_model() {
    let told = tickets();
    for lie in lies(told) {
        let done = verified(&with(&told.report, &lie), &told.given, Effort::Files);
        let found = differing(&done);
        let pointer = lie[0].0;
        assert!(!found.is_empty(), "{pointer} was believed");
        // What is derived from the number may be what is found to be off
        let part = pointer.split('/').take(3).collect::<Vec<_>>().join("/");
        let near =
            |found: &String| found.starts_with(&part) || found.starts_with("/plan") || found.starts_with("/prov");
        assert!(found.iter().any(near), "{pointer}: {found:?}");
    }
}

#[test]
fn a_changed_answer_is_found_by_running_the_models_again() {
    let told = tickets();
    let kl = |stage: bool| ["/result/after/fidelity/kl/mean", "/result/stages/1/fidelity/kl/mean"][usize::from(stage)];
    let (before, after) = ("/result/before/quality/macro_f1/low", "/result/after/quality/macro_f1/low");
    let lies = [
        vec![(kl(false), json!(1e-9)), (kl(true), json!(1e-9))],
        vec![("/result/after/fidelity/cosine", json!(1.0)), ("/result/stages/1/fidelity/cosine", json!(1.0))],
        vec![(before, json!(0.1))],
        vec![(after, json!(0.1)), ("/result/stages/1/quality/macro_f1/low", json!(0.1))],
        vec![("/result/after/quality_change/macro_f1/p_value", json!(0.999))],
        vec![("/result/probes/positions/worth/ratio/value", json!(1.0))],
        vec![("/result/probes/head_balance/layers/0/result/importances/0", json!(1.0))],
        vec![("/provenance/evaluation/rows_sha256", json!("0".repeat(64)))],
        vec![("/provenance/protocol/description", json!("the best of five"))],
    ];
    for lie in lies {
        let report = with(&told.report, &lie);
        assert_eq!(differing(&verified(&report, &told.given, Effort::Files)), NOTHING, "nothing to compare it with");
        assert_eq!(differing(&verified(&report, &told.given, Effort::Evaluate)), [lie[0].0]);
    }
    // Between the stages there is nothing left to run
    let report = with(&told.report, &[("/result/stages/0/fidelity/cosine", json!(1.0))]);
    assert_eq!(differing(&verified(&report, &told.given, Effort::Evaluate)), NOTHING);
    assert_eq!(differing(&verified(&report, &told.given, Effort::Recompress)), ["/result/stages/0/fidelity/cosine"]);
}

#[test]
fn a_model_that_was_measured_as_it_is_can_be_measured_again() {
    let small = tickets().folder.path().join("out");
    let small = without_report(&small);
    for (told, keys) in [
        (measured(&own("tickets"), None), ["/result/after/quality/macro_f1/low", "/result/after/total_bytes"]),
        (
            measured(small.path(), Some(&own("tickets"))),
            ["/result/after/fidelity/cosine", "/result/before/total_bytes"],
        ),
    ] {
        for effort in [Effort::Files, Effort::Evaluate] {
            let done = verified(&told.report, &told.given, effort);
            assert_eq!(differing(&done), NOTHING, "{effort:?} {:?}", all(&done, State::Differs));
        }
        let lie = with(&told.report, &[(keys[0], json!(0.5))]);
        assert_eq!(differing(&verified(&lie, &told.given, Effort::Files)), NOTHING);
        assert_eq!(differing(&verified(&lie, &told.given, Effort::Evaluate)), [keys[0]]);
        let lie = with(&told.report, &[(keys[1], json!(5))]);
        assert_eq!(differing(&verified(&lie, &told.given, Effort::Files)), [keys[1]]);
        let mut given = told.given.clone();
        let other = spoilt(&own("tickets"), "model.safetensors");
        given.model = model(other.path());
        let found = differing(&verified(&told.report, &given, Effort::Evaluate));
        assert!(found.iter().any(|found| found.starts_with("/provenance/model_files/")), "{found:?}");
    }
    let told = measured(small.path(), Some(&own("tickets")));
    let mut given = told.given.clone();
    given.reference = None;
    let done = verified(&told.report, &given, Effort::Evaluate);
    let why = all(&done, State::NotChecked).into_iter().filter_map(|check| check.why.clone()).collect::<Vec<_>>();
    assert!(why.iter().any(|why| why.starts_with("--reference was not given")), "{why:?}");
}

/// A copy of a result without its report: a model as any other.
fn without_report(folder: &Path) -> tempfile::TempDir {
    let copy = spoilt(folder, "report.json");
    std::fs::remove_file(copy.path().join("report.json")).unwrap();
    copy
}

#[test]
fn a_report_from_elsewhere_is_compared_within_the_tolerance() {
    let told = tickets();
    let elsewhere = [("/provenance/host/instruction_set", json!("another"))];
    let kl = "/result/after/fidelity/kl/mean";
    let value = serde_json::to_value(&told.report).unwrap().pointer(kl).unwrap().as_f64().unwrap();
    let told_as = |value: f64| {
        let both = [(kl, json!(value)), ("/result/stages/1/fidelity/kl/mean", json!(value))];
        verified(&with(&told.report, &[&elsewhere[..], &both[..]].concat()), &told.given, Effort::Evaluate)
    };
    assert_eq!(told_as(value).basis.precision, Precision::Near);
    assert_eq!(differing(&told_as(value * 1.005)), NOTHING);
    assert_eq!(differing(&told_as(value * 1.05)), [kl]);
}

#[test]
fn a_hostile_report_is_never_a_panic() {
    let told = tickets();
    let huge = json!(u64::MAX);
    for lie in [
        ("/provenance/threads", huge.clone()),
        ("/result/after/size_bytes", huge.clone()),
        ("/result/after/quality/accuracy/n", huge.clone()),
        ("/result/after/quality_change/accuracy/discordant/result_only", huge.clone()),
        ("/provenance/evaluation/max_seq_length", huge.clone()),
        ("/recipe/evaluate/max_seq_length", json!(1)),
        ("/recipe/stages/0/method", json!("../../etc/passwd")),
        ("/recipe/stages/0/params", json!({ "rank": huge })),
        ("/provenance/model_files/0/path", json!("/etc/passwd")),
        ("/result/artifacts/0/path", json!("../../../etc/passwd")),
        ("/provenance/datasets/evaluation/files", json!([])),
        ("/provenance/model_files", json!([])),
        ("/result/artifacts", json!([])),
        ("/result/sites", json!([])),
        ("/result/stages", json!([])),
    ] {
        for effort in [Effort::Files, Effort::Evaluate] {
            let done = verified(&with(&told.report, std::slice::from_ref(&lie)), &told.given, effort);
            let differs = !differing(&done).is_empty();
            assert!(differs || lie.0 == "/provenance/threads", "{} was believed", lie.0);
        }
    }
}
