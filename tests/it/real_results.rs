//! What real jobs leave: compressed by a real worker, then compared, weighed, packed and counted.

use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::support::app::{App, Form};
use crate::support::engine::own;
use crate::support::worker::{config, start};

/// Uploads a fixture's files.
async fn upload(app: &App, path: &str, name: &str, files: &[(&str, Vec<u8>)]) -> String {
    let form = files.iter().fold(Form::new().text("name", name), |form, (name, bytes)| form.file(name, bytes));
    app.upload(path, form).await.expect(201).json()["id"].as_str().unwrap().to_owned()
}

async fn done(app: &App, body: &Value) -> Value {
    let job = app.post("/v1/jobs", body).await.expect(201).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let job = loop {
        let job = app.get_with(&path, &[("prefer", "wait=30")]).await.expect(200).json();
        if job.get("finished_at").is_some() {
            break job;
        }
    };
    assert_eq!(job["state"], "succeeded", "{job}");
    job
}

#[tokio::test]
async fn real_results_are_compared_weighed_packed_and_counted() {
    let app = App::start().await;
    let scratch = tempfile::tempdir().unwrap();
    let worker = start(&app.pool, &app.store, config(scratch.path().join("scratch")));
    let read = |name: &str| std::fs::read(own("tickets").join(name)).unwrap();
    let files = ["config.json", "tokenizer.json", "model.safetensors"].map(|name| (name, read(name)));
    let model = upload(&app, "/v1/models/files", "tickets", &files).await;
    let rows = String::from_utf8(read("data/test.jsonl")).unwrap();
    let rows: String = rows.lines().take(40).map(|line| format!("{line}\n")).collect();
    let rows = upload(&app, "/v1/datasets/files", "rows", &[("test.jsonl", rows.into_bytes())]).await;
    let mut jobs = Vec::new();
    for recipe in ["int8", "int4"] {
        let body = json!({"model_id": model, "recipe_name": recipe, "evaluation_dataset_id": rows,
            "evaluate": {"max_seq_length": 32}});
        jobs.push(done(&app, &body).await);
    }
    worker.stop().await;
    let ids: Vec<&str> = jobs.iter().map(|job| job["id"].as_str().unwrap()).collect();
    let mut reports = Vec::new();
    for id in &ids {
        reports.push(app.get(&format!("/v1/jobs/{id}/report")).await.expect(200).json());
    }
    let at = |i: usize, pointer: &str| reports[i].pointer(pointer).cloned().unwrap();

    let compared = app.get(&format!("/v1/compare?jobs={}", ids.join(","))).await.expect(200).json();
    assert_eq!(compared["same_measurement"], true);
    let difference = &compared["differences"][0];
    let sizes = [0, 1].map(|i| at(i, "/result/after/size_bytes").as_i64().unwrap());
    assert_eq!(difference["size_bytes"], sizes[1] - sizes[0]);
    let accuracy = [0, 1].map(|i| at(i, "/result/after/quality/accuracy/value").as_f64().unwrap());
    assert_eq!(difference["quality"]["accuracy"], json!(accuracy[1] - accuracy[0]));
    assert!(difference["fidelity"]["kl_mean"].as_f64().unwrap() > 0.0, "four bits are further off: {difference}");
    assert_eq!(difference["latency"].as_array().unwrap().len(), 1);
    assert!(!compared["recipe_differences"].as_array().unwrap().is_empty());

    let frontier = app.get(&format!("/v1/models/{model}/frontier")).await.expect(200).json();
    assert_eq!(frontier["measurement"]["evaluation_dataset_id"], json!(rows));
    assert_eq!(frontier["measurement"]["max_seq_length"], 32);
    assert_eq!(frontier["original"]["size_bytes"], at(0, "/result/before/size_bytes"));
    let points = frontier["points"].as_array().unwrap();
    assert_eq!((points.len(), points[0]["job_id"].as_str()), (2, Some(ids[1])), "the smallest first");
    assert_eq!(points[0]["dominated"], false);

    let archive = app.get(&format!("/v1/jobs/{}/artifacts.tar", ids[0])).await.expect(200);
    let mut unpacked = ::tar::Archive::new(archive.body.as_ref());
    let names: Vec<String> =
        unpacked.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    assert!(
        ["config.json", "model.safetensors", "report.json", "tokenizer.json"]
            .iter()
            .all(|name| names.iter().any(|n| n == name)),
        "{names:?}"
    );

    let usage = app.get("/v1/usage").await.expect(200).json();
    let stored: u64 = app.store.list().try_fold(0, async |sum, blob| Ok(sum + blob.size_bytes)).await.unwrap();
    assert_eq!(usage["total_bytes"], stored);
    let again = app.post(&format!("/v1/jobs/{}/retry", ids[0]), &Value::Null).await.expect(201).json();
    assert!(jobs[0].get("plan").is_none(), "its model was still validating when it was submitted");
    assert_eq!((&again["plan"], &again["retry_of"]), (&at(0, "/plan"), &json!(ids[0])), "planned anew");
}
