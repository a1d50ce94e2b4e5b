//! The whole way over HTTP: a model and rows go up, a job runs in a worker's child, a report comes back.

use serde_json::{Value, json};

use super::made::{LENGTH, Made};
use crate::support::app::{App, Form};
use crate::support::worker::{config, start};

async fn upload(app: &App, path: &str, files: &[(&str, Vec<u8>)]) -> String {
    let form = files.iter().fold(Form::new().text("name", "made"), |form, (name, bytes)| form.file(name, bytes));
    app.upload(path, form).await.expect(201).json()["id"].as_str().unwrap().to_owned()
}

/// The report of a job to 8 bits on the labelled rows, and its page.
async fn report(made: &Made) -> (Value, String) {
    let app = App::start().await;
    let scratch = tempfile::tempdir().unwrap();
    let worker = start(&app.pool, &app.store, config(scratch.path().join("scratch")));
    let read = |name: &str| std::fs::read(made.folder().join(name)).unwrap();
    let files = ["config.json", "tokenizer.json", "model.safetensors"];
    let model = upload(&app, "/v1/models/files", &files.map(|name| (name, read(&format!("model/{name}"))))).await;
    let rows = upload(&app, "/v1/datasets/files", &[("rows.jsonl", read("labelled.jsonl"))]).await;
    let body = json!({"model_id": model, "recipe_name": "int8", "evaluation_dataset_id": rows,
        "evaluate": {"max_seq_length": LENGTH}});
    let job = app.post("/v1/jobs", &body).await.expect(201).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let job = loop {
        let job = app.get_with(&path, &[("prefer", "wait=30")]).await.expect(200).json();
        if job.get("finished_at").is_some() {
            break job;
        }
    };
    assert_eq!(job["state"], "succeeded", "{job}");
    worker.stop().await;
    let report = app.get(&format!("{path}/report")).await.expect(200).json();
    let page = app.get(&format!("{path}/report.html")).await.expect(200);
    (report, String::from_utf8(page.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_model_of_numbers() {
    let (report, page) = report(&Made::regression()).await;
    assert_eq!(report["provenance"]["evaluation"]["metrics"], json!(["pearson", "spearman", "fidelity", "latency"]));
    let after = &report["result"]["after"];
    assert!(after["quality"]["pearson"]["value"].as_f64() > Some(0.3), "{after}");
    assert!(after["quality_change"]["spearman"]["p_value"].is_number(), "{after}");
    assert!(after["fidelity"]["numbers"]["relative_rms_difference"].as_f64() > Some(0.0), "{after}");
    for wanted in ["Pearson", "Spearman", "Distance of the numbers", "of the original’s deviation"] {
        assert!(page.contains(wanted), "no {wanted}: {page}");
    }
    assert!(!page.contains("KL divergence, nats"), "numbers have none");
}

#[tokio::test]
async fn a_model_of_tags() {
    let (report, page) = report(&Made::tags()).await;
    assert_eq!(report["provenance"]["evaluation"]["metrics"], json!(["token_f1", "entity_f1", "fidelity", "latency"]));
    let after = &report["result"]["after"];
    assert!(after["quality"]["token_f1"]["value"].as_f64() > Some(0.3), "{after}");
    assert!(after["quality_change"]["entity_f1"]["smallest_detectable_difference"].is_number(), "{after}");
    assert!(after["fidelity"]["kl"]["mean"].as_f64() > Some(0.0), "{after}");
    for wanted in ["Token-F1", "Entity-F1", " words: the evaluation rows"] {
        assert!(page.contains(wanted), "no {wanted}: {page}");
    }
}
