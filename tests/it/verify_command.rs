//! `pare verify-report`, the real program: what it prints and how it ends.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::app::{App, Form};
use crate::support::engine::own;
use crate::support::process::{pare, said};
use crate::support::verified::few_rows;
use crate::support::worker::{config, start};

/// A compression by the program itself, and what `verify-report` is told of it.
struct Made {
    folder: tempfile::TempDir,
    rows: PathBuf,
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows = few_rows(folder.path(), "rows.jsonl", 40);
        let made = Self { folder, rows };
        let (model, out) = (text(&own("tickets")), text(&made.out()));
        let rows = text(&made.rows);
        let arguments = ["compress", &model, "--recipe", "int8", "--eval", &rows, "--max-seq-length", "32"];
        said(&pare(&[&arguments[..], &["--out", &out, "--threads", "1", "--json"]].concat(), &[]));
        made
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("small")
    }

    fn verify(&self, report: &Path, more: &[&str]) -> Output {
        let (report, model, out, rows) = (text(report), text(&own("tickets")), text(&self.out()), text(&self.rows));
        let arguments = ["verify-report", &report, "--model", &model, "--artifact", &out, "--evaluation", &rows];
        pare(&[&arguments[..], more].concat(), &[])
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn states(output: &Output) -> Value {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["counts"].clone()
}

#[test]
fn an_untouched_report_ends_well_and_a_changed_one_does_not() {
    let made = Made::new();
    let report = made.out().join("report.json");
    let table = said(&made.verify(&report, &["--evaluate"]));
    assert!(table.contains("to the last bit") && table.contains(" 0 differs, 0 warning, "), "{table}");
    assert!(table.contains("ok           /provenance/host/binary_sha256 ") && table.contains("not checked  /measure"));

    let written = std::fs::read_to_string(&report).unwrap();
    let other = made.folder.path().join("report.json");
    let kl = written.split_once("\"mean\": ").unwrap().1.split(',').next().unwrap();
    std::fs::write(&other, written.replace(&format!("\"mean\": {kl}"), "\"mean\": 1e-12")).unwrap();
    said(&made.verify(&other, &[]));
    let output = made.verify(&other, &["--evaluate"]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    let told = format!("/result/after/fidelity/kl/mean: the report says 1e-12, found {kl}");
    assert!(table.contains(&told), "{table}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("checks differ from the report"));

    let output = made.verify(&other, &["--evaluate", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &document["differs"]), (Some(1), &json!(true)));
    let checks = document["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["pointer"] == "/result/after").unwrap();
    assert_eq!((&check["state"], &check["differences"][0]["reported"]), (&json!("differs"), &json!(1e-12)));

    // The whole job again, in a folder of its own that is gone afterwards
    let output = made.verify(&report, &["--recompress", "--json"]);
    said(&output);
    assert_eq!((&states(&output)["differs"], &states(&output)["not_checked"]), (&json!(0), &json!(1)));
}

#[test]
fn another_build_is_a_warning_and_no_more() {
    let made = Made::new();
    let report = made.out().join("report.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    document["provenance"]["host"]["binary_sha256"] = json!("0".repeat(64));
    std::fs::write(&report, document.to_string()).unwrap();
    let output = made.verify(&report, &["--evaluate", "--json"]);
    said(&output);
    assert_eq!((&states(&output)["differs"], &states(&output)["warning"]), (&json!(0), &json!(1)));
}

#[test]
fn a_report_that_cannot_be_read_is_a_list_of_problems() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let whole = std::fs::read_to_string("tests/fixtures/report/compressed.json").unwrap();
    for (hostile, told) in [
        (whole[..whole.len() / 2].to_owned(), "not JSON"),
        ("[".repeat(200_000), "not JSON"),
        (String::new(), "not JSON"),
        (whole.replace("\"sites\": [", "\"sites\": {}, \"x\": ["), "/plan/stages/0/sites"),
        (whole.replace("\"threads\": 2", "\"threads\": 1e400"), "number out of range"),
        (whole.replace("\"version\": 1", "\"version\": 2"), "/version"),
        ("\u{1b}[31m{}".to_owned(), "not JSON"),
    ] {
        std::fs::write(&path, hostile).unwrap();
        let output = pare(&["verify-report", &text(&path), "--model", &text(&own("tickets"))], &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{told}: {errors}");
        assert!(errors.contains(told) && !errors.contains("panicked"), "{errors}");
    }
    let help = said(&pare(&["verify-report", "--help"], &[]));
    for told in ["Examples:", "Exit codes:", "--recompress", "not checked", "a tolerance"] {
        assert!(help.contains(told), "{told}: {help}");
    }
}

/// Uploads a fixture's files.
async fn upload(app: &App, path: &str, files: &[(&str, Vec<u8>)]) -> String {
    let form = files.iter().fold(Form::new().text("name", "x"), |form, (name, bytes)| form.file(name, bytes));
    app.upload(path, form).await.expect(201).json()["id"].as_str().unwrap().to_owned()
}

async fn report_of(app: &App, body: &Value, path: &Path) -> String {
    let job = app.post("/v1/jobs", body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let job = loop {
        let job = app.get_with(&format!("/v1/jobs/{job}"), &[("prefer", "wait=30")]).await.expect(200).json();
        if job.get("finished_at").is_some() {
            break job;
        }
    };
    assert_eq!(job["state"], "succeeded", "{job}");
    let id = job["id"].as_str().unwrap().to_owned();
    std::fs::write(path, app.get(&format!("/v1/jobs/{id}/report")).await.expect(200).body).unwrap();
    id
}

#[tokio::test]
async fn reports_of_a_server_hold_whichever_kind_of_job_made_them() {
    let app = App::start().await;
    let scratch = tempfile::tempdir().unwrap();
    let worker = start(&app.pool, &app.store, config(scratch.path().join("scratch")));
    let files = ["config.json", "tokenizer.json", "model.safetensors"];
    let files = files.map(|name| (name, std::fs::read(own("tickets").join(name)).unwrap()));
    let model = upload(&app, "/v1/models/files", &files).await;
    let rows = few_rows(scratch.path(), "mine.jsonl", 40);
    let data = upload(&app, "/v1/datasets/files", &[("theirs.jsonl", std::fs::read(&rows).unwrap())]).await;
    let path = scratch.path().join("report.json");
    let (report, original, rows) = (text(&path), text(&own("tickets")), text(&rows));
    let holds = |more: &[&str]| {
        let arguments = ["verify-report", &report, "--evaluation", &rows, "--evaluate", "--json"];
        let output = pare(&[&arguments[..], more].concat(), &[]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["basis"]["precision"], "exact", "{document:#}");
        assert!(output.status.success(), "{document:#}");
    };

    let settings = json!({"max_seq_length": 32});
    let body = json!({"model_id": model, "recipe_name": "int4", "evaluation_dataset_id": data, "evaluate": settings});
    let job = report_of(&app, &body, &path).await;
    let small = scratch.path().join("small");
    let archive = app.get(&format!("/v1/jobs/{job}/artifacts.tar")).await.expect(200);
    ::tar::Archive::new(archive.body.as_ref()).unpack(&small).unwrap();
    holds(&["--model", &original, "--artifact", &text(&small)]);

    let body = json!({"kind": "evaluate", "model_id": model, "evaluation_dataset_id": data, "evaluate": settings});
    report_of(&app, &body, &path).await;
    holds(&["--model", &original]);

    let result = app.post("/v1/models", &json!({"name": "small", "source_job_id": job})).await;
    let result = result.expect(201).json()["id"].as_str().unwrap().to_owned();
    let body = json!({"kind": "evaluate", "model_id": result, "reference_model_id": model,
        "evaluation_dataset_id": data, "evaluate": settings});
    report_of(&app, &body, &path).await;
    holds(&["--model", &text(&small), "--reference", &original]);
    worker.stop().await;
}
