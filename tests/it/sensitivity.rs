//! Jobs of kind `sensitivity`: over HTTP, Postgres, a store and a real process, and by the program itself.

use std::fs;
use std::path::Path;

use pare::db::jobs::JobState;
use pare::http::{HostRule, Limits};
use pare::id::JobId;
use serde_json::{Value, json};

use crate::support::app::{App, Form};
use crate::support::engine::own;
use crate::support::process::{pare, said};
use crate::support::worker::{Bench, Running};

/// A server, a worker, the small classifier and rows to calibrate on.
struct Stage {
    bench: Bench,
    app: App,
    worker: Running,
    model: String,
    rows: String,
}

impl Stage {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let app = App::over(bench.pool().clone(), bench.store.clone(), Limits::default(), HostRule::Loopback).await;
        let worker = bench.start(bench.config());
        let mut form = Form::new().text("name", "tickets");
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            form = form.file(name, &fs::read(own("tickets").join(name)).unwrap());
        }
        let model = app.upload("/v1/models/files", form).await.expect(201).json();
        let rows = fs::read(own("tickets/data/calibration.jsonl")).unwrap();
        let form = Form::new().text("name", "rows").file("rows.jsonl", &rows);
        let rows = app.upload("/v1/datasets/files", form).await.expect(201).json();
        let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
        Self { bench, app, worker, model: id(&model), rows: id(&rows) }
    }

    /// A job's body; `more` is added to it.
    fn body(&self, more: &Value) -> Value {
        let mut body = json!({ "kind": "sensitivity", "model_id": self.model, "calibration_dataset_id": self.rows });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    /// The report of a job that is run to its end.
    async fn report(&self, more: &Value) -> (JobId, Value) {
        let id: JobId = self.app.post("/v1/jobs", &self.body(more)).await.expect(201).id();
        let job = self.bench.end_of(id).await;
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
        (id, self.app.get(&format!("/v1/jobs/{id}/report")).await.expect(200).json())
    }

    async fn notes(&self, id: JobId) -> String {
        self.app.get(&format!("/v1/jobs/{id}/events?limit=200")).await.expect(200).json()["data"].to_string()
    }
}

#[tokio::test]
async fn a_table_is_planned_made_read_and_used_again() {
    let stage = Stage::new().await;
    let bits = json!({ "sensitivity": { "bits": [8, 2], "num_samples": 12 }, "evaluate": { "max_seq_length": 32 } });
    let (id, report) = stage.report(&bits).await;
    let sites = report["result"]["sensitivity"].as_array().unwrap();
    assert_eq!(sites.len(), report["result"]["sites"].as_array().unwrap().len(), "all sites without a recipe");
    for site in sites {
        let levels = site["levels"].as_array().unwrap();
        assert_eq!((&levels[0]["bits"], &levels[1]["bits"], levels.len()), (&json!(2), &json!(8), 2));
        assert!(levels.iter().all(|level| level["kl"].is_f64() && level["bytes"].is_u64()), "{site}");
        assert!(site["weights"]["count"].as_u64().unwrap() > 0);
    }
    assert_eq!(report["provenance"]["evaluation"]["rows"], 12);
    assert_eq!(report["provenance"]["evaluation"]["measured_on"], "held_out_calibration");
    assert_eq!(report["plan"]["sensitivity"]["cells"], 2 * sites.len());
    assert!(report["provenance"].get("table_from").is_none());

    let job = stage.app.get(&format!("/v1/jobs/{id}")).await.expect(200).json();
    assert_eq!((&job["kind"], &job["recipe"]["sensitivity"]["bits"]), (&json!("sensitivity"), &json!([8, 2])));
    let listed = stage.app.get("/v1/jobs?kind=sensitivity").await.expect(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let page = stage.app.get(&format!("/v1/jobs/{id}/report.html")).await.expect(200).body;
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("What each site costs alone") && page.contains("Mean KL of every site"));

    // Asked the same again, under other marks: the table is there
    let mut again = bits.clone();
    again["labels"] = json!({ "again": "yes" });
    let (second, reused) = stage.report(&again).await;
    let from = reused["provenance"]["table_from"].as_str().unwrap();
    assert!(stage.notes(second).await.contains(from), "its log says so");
    assert_eq!(reused["result"], report["result"]);
    // Other bits are other questions
    let other = json!({ "sensitivity": { "bits": [8], "num_samples": 12 }, "evaluate": { "max_seq_length": 32 } });
    let (_, other) = stage.report(&other).await;
    assert!(other["provenance"].get("table_from").is_none());
    let kl = |report: &Value, level: usize| report["result"]["sensitivity"][3]["levels"][level]["kl"].clone();
    assert_eq!(kl(&other, 0), kl(&report, 1), "and have the same answer where they overlap");
    // A retry asks the same as well: its recipe is the one that was written
    let retried = stage.app.post(&format!("/v1/jobs/{id}/retry"), &json!({})).await.expect(201).json();
    assert_eq!(retried["recipe"], job["recipe"]);
    stage.worker.stop().await;
}

#[tokio::test]
async fn a_plan_is_given_and_what_can_not_be_tried_is_refused() {
    let stage = Stage::new().await;
    for path in [format!("/v1/models/{}", stage.model), format!("/v1/datasets/{}", stage.rows)] {
        let found = stage.app.get_with(&path, &[("prefer", "wait=30")]).await.expect(200).json();
        assert_eq!(found["state"], "ready");
    }
    let recipe = json!({
        "version": 1, "stages": [{ "method": "quantize", "targets": ["**.mlp.*"], "params": { "group_size": 32 } }],
    });
    let body = stage.body(&json!({ "recipe": recipe, "sensitivity": { "bits": [4] } }));
    let plan = stage.app.post("/v1/jobs?validate_only=true", &body).await.expect(200).json();
    assert_eq!((&plan["sensitivity"]["bits"], &plan["sensitivity"]["cells"]), (&json!([4]), &json!(8)));
    assert_eq!(plan["evaluate"]["metrics"], json!(["fidelity"]));
    for (more, pointer, code) in [
        (json!({ "sensitivity": { "bits": [15] } }), "/sensitivity/bits/0", "out_of_range"),
        (json!({ "sensitivity": { "bit": [4] } }), "/sensitivity/bit", "unknown_field"),
        (json!({ "recipe_name": "int9" }), "/recipe_name", "unknown_recipe"),
        (json!({ "recipe": { "version": 1, "stages": [] } }), "/recipe/stages", "missing_field"),
        (json!({ "evaluation_dataset_id": stage.rows }), "/evaluation_dataset_id", "unknown_field"),
    ] {
        let answer = stage.app.post("/v1/jobs", &stage.body(&more)).await.expect(422);
        assert_eq!(answer.problems(), [(pointer.to_owned(), code.to_owned())], "{more}");
    }
    let bare = json!({ "kind": "sensitivity", "model_id": stage.model });
    let answer = stage.app.post("/v1/jobs", &bare).await.expect(422);
    assert_eq!(answer.problems(), [("/calibration_dataset_id".to_owned(), "missing_field".to_owned())]);
    stage.worker.stop().await;
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_command_prints_a_table_writes_report_and_page_and_can_be_verified() {
    let folder = tempfile::tempdir().unwrap();
    let (model, rows) = (own("tickets"), own("tickets/data/calibration.jsonl"));
    let recipe = folder.path().join("recipe.json");
    let stages = json!([{ "method": "quantize", "targets": ["**.mlp.down"], "params": { "group_size": 32 } }]);
    fs::write(&recipe, json!({ "version": 1, "stages": stages }).to_string()).unwrap();
    let (out, page) = (folder.path().join("table.json"), folder.path().join("table.html"));
    let asked = ["sensitivity", text(&model), "--calibration", text(&rows), "--recipe", text(&recipe), "--bits", "2,8"];
    let left = ["--num-samples", "8", "--out", text(&out), "--html", text(&page), "--threads", "1"];
    let shown = said(&pare(&[&asked[..], &left[..]].concat(), &[]));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].contains("2 bits") && lines[0].contains("8 bits") && lines[0].contains("mean KL"), "{shown}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("encoder.")).count(), 4, "{shown}");
    assert!(shown.contains("4 sites, each compressed alone at 2, 8 bits"), "{shown}");
    let report: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(report["result"]["sensitivity"].as_array().unwrap().len(), 4);
    assert!(fs::read_to_string(&page).unwrap().contains("What each site costs alone"));

    let verify = ["verify-report", text(&out), "--model", text(&model), "--calibration", text(&rows), "--threads", "1"];
    let quick = said(&pare(&verify, &[]));
    assert!(quick.contains(" 0 differs") && quick.contains("--recompress tries every change again"), "{quick}");
    let whole = said(&pare(&[&verify[..], &["--recompress"]].concat(), &[]));
    assert!(whole.contains(" 0 differs"), "{whole}");
    let mut forged = report;
    forged["result"]["sensitivity"][0]["levels"][0]["kl"] = json!(1e-9);
    fs::write(&out, forged.to_string()).unwrap();
    let found = pare(&[&verify[..], &["--recompress"]].concat(), &[]);
    assert!(!found.status.success(), "a number that was changed is found");
}
