//! Object stores that are away, slow, break off, and lie.

use std::sync::Arc;

use pare::db::blobs;
use pare::db::jobs::JobState;
use pare::http::{HostRule, Limits};
use pare::store::Store;

use super::{end_of, submitted, tickets_on};
use crate::support::app::{App, Form};
use crate::support::cluster::database;
use crate::support::faulty::{Faulty, Strike};
use crate::support::invariants::Fault;
use crate::support::worker::{self, Bench, rows, until};

#[tokio::test]
async fn f10_jobs_outlast_a_store_that_is_away_slow_or_breaks_off() {
    let faulty = Arc::new(Faulty::default());
    let store = Store::over(faulty.clone(), "some/prefix");
    let app = App::over(database().await.pool, store.clone(), Limits::default(), HostRule::Loopback).await;
    let what =
        "an object store that refuses (503), is slow, breaks off in the middle, and gives wrong bytes once, under jobs";
    let mut fault = Fault::begin("F10", what, &app.pool).await;
    let scratch = tempfile::tempdir().unwrap();
    let worker = worker::start(&app.pool, &store, worker::config(scratch.path().join("scratch")));
    let body = tickets_on(&app).await;
    let first = submitted(&app, &body).await;
    fault.acknowledge(&first);
    assert_eq!(end_of(&app.pool, first).await.state, JobState::Succeeded);
    for (strike, times) in [(Strike::Away, 3), (Strike::Slow, 3), (Strike::Short, 2), (Strike::Wrong, 1)] {
        faulty.strike(strike, times);
        let id = submitted(&app, &body).await;
        fault.acknowledge(&id);
        let job = end_of(&app.pool, id).await;
        let outcome = (job.state, job.attempt, job.crashes);
        assert_eq!(outcome, (JobState::Succeeded, 1, 0), "{strike:?}: {:?}", job.error);
        assert_eq!(faulty.left(), 0, "{strike:?}");
    }
    fault.count("failures injected", 9);
    worker.stop().await;
    fault.held(&app.pool, &store).await;
}

#[tokio::test]
async fn f10_bytes_that_stay_wrong_fail_the_job_and_are_never_used() {
    let faulty = Arc::new(Faulty::default());
    let mut bench = Bench::new().await;
    bench.store = Store::over(faulty.clone(), "p");
    let what = "an object store that gives wrong bytes both times it is asked; a job, and a server's readiness";
    let mut fault = Fault::begin("F10", what, bench.pool()).await;
    let id = bench.submit(rows(10)).await;
    fault.acknowledge(&id);
    faulty.strike(Strike::Wrong, 2);
    let worker = bench.start(bench.config());
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Failed, 1, 0));
    assert_eq!(job.error.unwrap()["code"], "storage_damaged");
    assert_eq!(faulty.left(), 0, "it was asked for once more, and no more");
    worker.stop().await;

    let app = App::over(bench.pool().clone(), bench.store.clone(), Limits::default(), HostRule::Loopback).await;
    faulty.strike(Strike::Away, u32::MAX);
    let form = || Form::new().text("name", "x").file("rows.jsonl", b"{\"text\": \"a\"}\n");
    let refused = app.upload("/v1/datasets/files", form()).await;
    assert_eq!(refused.problem(), (503, "unavailable".to_owned()));
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    app.get("/v1/datasets").await.expect(200);
    assert_eq!(app.get("/readyz").await.problem().0, 503);
    faulty.strike(Strike::Away, 0);
    app.get("/readyz").await.expect(200);
    fault.held(bench.pool(), &bench.store).await;
}

/// The collector's connection is lost while the store deletes. Its answer comes late, to somebody who knows of nothing
/// any more; meanwhile the same bytes are stored again.
#[tokio::test]
async fn f11_a_blob_that_is_being_deleted_is_named_by_nobody() {
    let faulty = Arc::new(Faulty::default());
    let mut bench = Bench::new().await;
    bench.store = Store::over(faulty.clone(), "p");
    let what = "the collector's connection is lost while the store deletes a blob; the same bytes are stored meanwhile";
    let fault = Fault::begin("F11", what, bench.pool()).await;
    let bytes = bytes::Bytes::from_static(b"nobody names this");
    let put = async || {
        let mut staged = bench.store.writer().await.unwrap();
        staged.write(bytes.clone()).await.unwrap();
        staged.finish().await.unwrap()
    };
    let name = async || {
        let mut tx = bench.pool().begin().await.unwrap();
        blobs::insert(&mut tx, &put().await.digest.to_string(), bytes.len() as u64).await?;
        tx.commit().await.map_err(pare::db::Error::from)
    };
    let run = async |statement: &'static str| sqlx::query(statement).execute(bench.pool()).await.unwrap();
    name().await.unwrap();
    let digest = put().await.digest;
    run("update blobs set published_at = now() - interval '25 hours'").await;

    let gate = faulty.hold_deletes();
    let worker = bench.start(bench.config());
    let deleting = "select count(*) from pg_stat_activity a join removals r on true
        where a.datname = current_database() and a.state = 'idle in transaction'";
    let count = async |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(bench.pool()).await.unwrap();
    until("a delete", async || (count(deleting).await == 1).then_some(())).await;
    run("select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction'")
    .await;
    assert!(matches!(name().await, Err(pare::db::Error::Removing)), "it is named while it is being deleted");
    gate.add_permits(1);
    until("the late delete", async || bench.store.size_bytes(&digest).await.is_err().then_some(())).await;
    assert!(name().await.is_err(), "whether the delete has landed is not known yet");
    worker.stop().await;

    run("update removals set begun_at = begun_at - interval '1 hour'").await;
    name().await.expect("it must have landed by now");
    let worker = bench.start(bench.config());
    until("its end", async || (count("select count(*) from removals").await == 0).then_some(())).await;
    worker.stop().await;
    bench.store.size_bytes(&digest).await.expect("it is young, so it is spared");
    gate.add_permits(100);
    fault.held(bench.pool(), &bench.store).await;
}
