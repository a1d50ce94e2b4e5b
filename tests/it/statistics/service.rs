//! Jobs that use statistics of earlier ones, over HTTP, Postgres, a store and a real process.

use std::fs;

use pare::db::jobs::{self, JobState};
use pare::db::{DEFAULT_TENANT, statistics};
use pare::http::{HostRule, Limits};
use pare::id::JobId;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use super::recipe;
use crate::support::app::{App, Form};
use crate::support::engine::own;
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
        let model = upload_model(&app).await;
        let rows = upload_rows(&app, "printer").await;
        Self { bench, app, worker, model, rows }
    }

    async fn job(&self, model: &str, rows: &str, recipe: &Value) -> JobId {
        let body = json!({ "model_id": model, "calibration_dataset_id": rows, "recipe": recipe });
        let id = self.app.post("/v1/jobs", &body).await.expect(201).id();
        let job = self.bench.end_of(id).await;
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
        id
    }

    /// Runs one, and says whether it used an earlier job's statistics.
    async fn reuses(&self, model: &str, rows: &str, recipe: &Value) -> bool {
        let id = self.job(model, rows, recipe).await;
        let told = &self.report(id).await["provenance"]["statistics"];
        let is_reused = told["is_reused"].as_bool().unwrap_or_else(|| panic!("it says nothing: {told}"));
        assert_eq!(self.notes(id).await.contains("are used again"), is_reused);
        is_reused
    }

    async fn report(&self, id: JobId) -> Value {
        self.app.get(&format!("/v1/jobs/{id}/report")).await.expect(200).json()
    }

    async fn notes(&self, id: JobId) -> String {
        let events = jobs::events(self.bench.pool(), id, 0, 1000).await.unwrap();
        events.iter().filter_map(|line| line.body["message"].as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Keys and files of all that is kept.
    async fn kept(&self) -> Vec<(String, String)> {
        let query =
            "select encode(key_sha256, 'hex') as k, encode(sha256, 'hex') as s from statistics order by created_at";
        let rows = sqlx::query(query).fetch_all(self.bench.pool()).await.unwrap();
        rows.iter().map(|row| (row.get("k"), row.get("s"))).collect()
    }

    async fn intermediate(&self) -> (u64, u64) {
        let usage = self.app.get("/v1/usage").await.expect(200).json();
        let group = &usage["intermediate"];
        (group["count"].as_u64().unwrap(), group["size_bytes"].as_u64().unwrap())
    }
}

async fn upload_model(app: &App) -> String {
    let mut form = Form::new().text("name", "tickets");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        form = form.file(name, &fs::read(own("tickets").join(name)).unwrap());
    }
    let made = app.upload("/v1/models/files", form).await.expect(201).json();
    made["id"].as_str().unwrap().to_owned()
}

async fn upload_rows(app: &App, word: &str) -> String {
    let rows: String = (0..40).map(|i| format!("a ticket about {word} {i} that is out of paper {}\n", i * 7)).collect();
    let form = Form::new().text("name", word).file("rows.txt", rows.as_bytes());
    let made = app.upload("/v1/datasets/files", form).await.expect(201).json();
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_second_job_uses_what_the_first_one_took() {
    let stage = Stage::new().await;
    let Stage { model, rows, .. } = &stage;
    let first = stage.job(model, rows, &recipe(8, "block.**", 1, 16)).await;
    let report = stage.report(first).await;
    let told = &report["provenance"]["statistics"];
    assert_eq!(told["is_reused"], false);
    let kept = stage.kept().await;
    assert_eq!(kept, [(told["key"].as_str().unwrap().to_owned(), told["sha256"].as_str().unwrap().to_owned())]);
    let (count, size_bytes) = stage.intermediate().await;
    assert!(count == 1 && size_bytes > 0);
    let files = jobs::files(stage.bench.pool(), DEFAULT_TENANT, first).await.unwrap();
    assert!(files.iter().all(|file| file.path != "statistics.safetensors"), "they are no file of the job's");

    let second = stage.job(model, rows, &recipe(4, "block.**", 1, 16)).await;
    let again = stage.report(second).await;
    assert_eq!(again["provenance"]["statistics"], json!({"key": kept[0].0, "sha256": kept[0].1, "is_reused": true}));
    let notes = stage.notes(second).await;
    assert!(notes.contains(&format!("its statistics {} are used again", kept[0].1)), "{notes}");
    assert_eq!(stage.kept().await, kept);
    // The very same job without them: equal bytes
    sqlx::query("delete from statistics").execute(stage.bench.pool()).await.unwrap();
    let alone = stage.report(stage.job(model, rows, &recipe(4, "block.**", 1, 16)).await).await;
    assert_eq!(alone["provenance"]["statistics"]["is_reused"], false);
    assert_eq!(alone["result"], again["result"]);
    assert_eq!(stage.kept().await, kept, "the same sums under the same key");

    // Under another seed, other rows, and as another tenant there are none
    assert!(!stage.reuses(model, rows, &recipe(4, "block.**", 2, 16)).await);
    let other_rows = upload_rows(&stage.app, "scanner").await;
    assert!(!stage.reuses(model, &other_rows, &recipe(4, "block.**", 1, 16)).await);
    assert_eq!(stage.kept().await.len(), 3);
    let find = async |tenant| statistics::find(stage.bench.pool(), tenant, &kept[0].0).await.unwrap();
    assert_eq!(find(Uuid::now_v7()).await, None);
    assert_eq!(find(DEFAULT_TENANT).await.as_ref(), Some(&kept[0].1));
    stage.worker.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_never_used_and_is_mended_by_the_next_job() {
    let stage = Stage::new().await;
    let Stage { model, rows, .. } = &stage;
    let eight = recipe(8, "block.**", 1, 16);
    assert!(!stage.reuses(model, rows, &eight).await);
    let (_, sha256) = stage.kept().await.remove(0);
    let blob = stage.bench.folder.path().join("store/blobs").join(&sha256[..2]).join(&sha256[2..]);
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    // another file under that name: what is linked elsewhere stays
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, bytes).unwrap();
    let id = stage.job(model, rows, &eight).await;
    assert!(stage.notes(id).await.contains("their file is damaged. They are taken anew"), "{}", stage.notes(id).await);
    assert_eq!(stage.report(id).await["provenance"]["statistics"]["is_reused"], false);
    assert!(stage.reuses(model, rows, &eight).await, "the same bytes lie there again");
    fs::remove_file(&blob).unwrap();
    let id = stage.job(model, rows, &eight).await;
    assert!(stage.notes(id).await.contains("the store lacks their file"), "{}", stage.notes(id).await);
    assert!(stage.reuses(model, rows, &eight).await);
    stage.worker.stop().await;
}

#[tokio::test]
async fn they_go_with_the_model_and_with_the_data() {
    let stage = Stage::new().await;
    let eight = recipe(8, "block.**", 1, 16);
    let other_model = upload_model(&stage.app).await;
    let other_rows = upload_rows(&stage.app, "scanner").await;
    assert!(!stage.reuses(&stage.model, &stage.rows, &eight).await);
    assert!(stage.reuses(&other_model, &stage.rows, &eight).await, "a model with the same files is the same model");
    assert!(!stage.reuses(&other_model, &other_rows, &eight).await);
    let delete = async |path: String| {
        stage.app.send(http::Method::DELETE, &path, &[], Vec::new()).await.expect(204);
    };
    let (_, bytes) = stage.intermediate().await;
    delete(format!("/v1/models/{}", stage.model)).await;
    assert_eq!(stage.kept().await.len(), 1);
    let (count, left) = stage.intermediate().await;
    assert!(count == 1 && left < bytes);
    delete(format!("/v1/datasets/{other_rows}")).await;
    assert_eq!((stage.kept().await.len(), stage.intermediate().await), (0, (0, 0)));
    let usage = stage.app.get("/v1/usage").await.expect(200).json();
    assert!(usage["collectable_bytes"].as_u64().unwrap() >= bytes, "{usage}");
    stage.worker.stop().await;
}

/// Another tenant with the same model and data takes its own.
#[tokio::test]
async fn tenants_do_not_share_them() {
    let stage = Stage::new().await;
    let eight = recipe(8, "block.**", 1, 16);
    assert!(!stage.reuses(&stage.model, &stage.rows, &eight).await);
    let tenant = Uuid::now_v7();
    let pool = stage.bench.pool();
    sqlx::query("insert into tenants (id, name) values ($1, 'other')").bind(tenant).execute(pool).await.unwrap();
    // Its model, data and job are the first one's in all but whose they are
    let (model, rows) = (upload_model(&stage.app).await, upload_rows(&stage.app, "printer").await);
    stage.job(&model, &rows, &json!({"version": 1, "stages": [{"method": "quantize"}]})).await;
    for (table, id) in [("models", &model), ("datasets", &rows)] {
        let query = format!("update {table} set tenant_id = $1 where id = $2");
        let id: Uuid = id[4..].parse().unwrap();
        sqlx::query(sqlx::AssertSqlSafe(query)).bind(tenant).bind(id).execute(pool).await.unwrap();
    }
    let new = jobs::NewJob {
        kind: jobs::JobKind::Compress,
        model_id: Some(model.parse().unwrap()),
        calibration_dataset_id: Some(rows.parse().unwrap()),
        recipe: Some(eight),
        ..jobs::NewJob::default()
    };
    let mut conn = pool.acquire().await.unwrap();
    let id = jobs::enqueue(&mut conn, tenant, &new).await.unwrap().id;
    drop(conn);
    let ended = async || jobs::find(pool, tenant, id).await.unwrap().filter(|job| job.state.is_terminal());
    let job = crate::support::worker::until("the job's end", ended).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    assert!(!stage.notes(id).await.contains("used again"));
    let kept = stage.kept().await;
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0], kept[1], "the same sums, once for each tenant");
    let (count, _) = stage.intermediate().await;
    assert_eq!(count, 1, "each sees its own");
    stage.worker.stop().await;
}
