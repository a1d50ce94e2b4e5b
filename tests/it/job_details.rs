//! What is told of jobs beside their state: attempts, the time that is left, when they were submitted, who runs them.

use std::time::Duration;

use pare::db::jobs::{self, Crash};
use pare::worker::Config;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::app::App;
use crate::support::results::compress;
use crate::support::worker::{Bench, rows, until, write_program};

async fn shown(app: &App, id: pare::id::JobId) -> Value {
    app.get(&format!("/v1/jobs/{id}")).await.expect(200).json()
}

#[tokio::test]
async fn each_start_of_a_job_is_shown_with_its_outcome() {
    let app = App::start().await;
    let id = app.queued_job().await;
    assert_eq!(shown(&app, id).await["attempts"], json!([]));
    let first = app.claim().await;
    let running = shown(&app, id).await;
    assert_eq!((running["attempts"][0]["number"].as_u64(), running["attempts"][0].get("outcome")), (Some(1), None));
    assert_eq!(jobs::crashed(&app.pool, id, first.token).await.unwrap(), Crash::Requeued);
    let second = app.claim().await;
    let mut tx = app.pool.begin().await.unwrap();
    assert!(jobs::finish_succeeded(&mut tx, id, second.token, &[], None).await.unwrap());
    tx.commit().await.unwrap();
    let ended = shown(&app, id).await;
    let outcomes: Vec<&str> =
        ended["attempts"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["crashed", "succeeded"]);
    assert!(ended["attempts"][1]["ended_at"].is_string() && ended["attempts"][1]["worker_id"].is_string());
    assert!(app.get("/v1/jobs").await.json()["data"][0].get("attempts").is_none(), "lists are without");
}

#[tokio::test]
async fn the_time_that_is_left_is_shown_where_the_worker_knows_it() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let claimed = app.claim().await;
    let beat = async |progress: Value| {
        jobs::heartbeat(&app.pool, id, claimed.token, Some("compressing"), Some(&progress)).await.unwrap();
        shown(&app, id).await
    };
    let early = beat(json!({"done": 1, "total": 9, "unit": "sites"})).await;
    assert_eq!((early["progress"]["done"].as_u64(), early.get("eta_seconds")), (Some(1), None));
    let later = beat(json!({"done": 5, "total": 9, "unit": "sites", "eta_seconds": 12})).await;
    assert_eq!(later["eta_seconds"], 12);
    assert_eq!(later["progress"], json!({"done": 5, "total": 9, "unit": "sites"}));
    assert_eq!(app.get("/v1/jobs").await.expect(200).json()["data"][0]["eta_seconds"], 12);
}

/// A process that counts to a thousand, slowly.
#[tokio::test]
async fn a_worker_tells_the_pace_of_its_job() {
    let bench = Bench::new().await;
    let program = bench.folder.path().join("counts");
    let line = r#"{"type":"progress","done":'$i',"total":1000,"unit":"rows"}"#;
    let count = format!("i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo '{line}'; /bin/sleep 0.05; done");
    write_program(&program, &format!("#!/bin/sh\n{count}\n"));
    let mut config = Config { program, ..bench.config() };
    config.timing.progress = Duration::from_millis(100);
    let worker = bench.start(config);
    let id = bench.submit(rows(1)).await;
    let progress = until("an estimate", async || {
        let progress = bench.job(id).await.progress?;
        progress.get("eta_seconds").is_some().then_some(progress)
    })
    .await;
    let (done, left) = (progress["done"].as_u64().unwrap(), progress["eta_seconds"].as_u64().unwrap());
    // a pause of 50 ms between two units is a floor, however busy the machine is
    assert!(left >= (1000 - done) / 20, "{progress}");
    jobs::cancel(bench.pool(), pare::db::DEFAULT_TENANT, id).await.unwrap().unwrap();
    bench.end_of(id).await;
    worker.stop().await;
}

#[tokio::test]
async fn jobs_are_found_by_when_they_were_submitted() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let mut ids = Vec::new();
    for day in 1..=3 {
        let id = app.queue(&compress(model, None)).await;
        let at = format!("update jobs set created_at = '2026-01-0{day}T12:00:00Z' where id = '{}'", id.0);
        sqlx::query(AssertSqlSafe(at)).execute(&app.pool).await.unwrap();
        ids.push(json!(id));
    }
    let found = async |query: &str| -> Vec<Value> {
        let list = app.get(&format!("/v1/jobs?{query}")).await.expect(200).json();
        list["data"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect()
    };
    assert_eq!(found("created_after=2026-01-01T12:00:00Z").await, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(found("created_before=2026-01-02T12:00:00Z").await, [ids[0].clone()]);
    let between = "created_after=2026-01-01T13:00:00%2B00:00&created_before=2026-01-03T00:00:00Z";
    assert_eq!(found(between).await, [ids[1].clone()]);
    for bad in ["created_after=yesterday", "created_before=2026-01-01", "created_after=2026-01-01T12:00:00+00:00"] {
        assert_eq!(app.get(&format!("/v1/jobs?{bad}")).await.problem(), (400, "query_invalid".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn workers_are_listed_with_what_they_have() {
    let app = App::start().await;
    assert_eq!(app.get("/v1/workers").await.expect(200).json(), json!({"data": [], "next_cursor": null}));
    let beat = pare::db::workers::Beat {
        id: uuid::Uuid::now_v7(),
        host_id: uuid::Uuid::now_v7(),
        host: "here".to_owned(),
        version: "0.1.0".to_owned(),
        memory_bytes: 5,
        disk_bytes: 6,
        devices: vec!["cpu".to_owned()],
        capabilities: json!({"threads": 2}),
    };
    pare::db::workers::beat(&app.pool, &beat).await.unwrap();
    let list = app.get("/v1/workers").await.expect(200).json();
    let worker = &list["data"][0];
    assert_eq!((worker["host"].as_str(), worker["is_live"].as_bool()), (Some("here"), Some(true)));
    assert_eq!((worker["memory_bytes"].as_u64(), worker["running"].as_u64()), (Some(5), Some(0)));
    let silent = "update workers set heartbeat_at = now() - interval '5 minutes'";
    sqlx::query(silent).execute(&app.pool).await.unwrap();
    assert_eq!(app.get("/v1/workers").await.json()["data"][0]["is_live"], false);
}
