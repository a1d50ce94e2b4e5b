//! Workers that are cut off from their database, and servers that have no connection to it left.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pare::db;
use pare::db::jobs::JobState;
use pare::http::{HostRule, Limits};
use pare::worker::{Config, Timing};
use sqlx::postgres::PgPoolOptions;

use super::let_leases_run_out;
use crate::support::app::App;
use crate::support::invariants::Fault;
use crate::support::proxy::Proxy;
use crate::support::worker::{self, Bench, rows, until};

/// How long a request waits for a connection here.
const SHORT: Duration = Duration::from_millis(300);

/// A way to the database that can be cut; what a worker at its end has.
async fn way_to(bench: &Bench) -> (Proxy, db::Pool) {
    let (proxy, url) = Proxy::to_database(bench.pool()).await;
    let pool = db::connect(&url, 6).await.unwrap();
    (proxy, pool)
}

async fn cut_off(name: &'static str, what: &'static str, cut: impl Fn(&Proxy)) {
    let bench = Bench::new().await;
    let mut fault = Fault::begin(name, what, bench.pool()).await;
    let (proxy, pool) = way_to(&bench).await;
    let gate = bench.gated();
    let timing =
        Timing { trust: Duration::from_millis(1500), answer: Duration::from_millis(500), ..bench.config().timing };
    let far = worker::start(&pool, &bench.store, Config { program: gate.program.clone(), timing, ..bench.config() });
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    bench.process(None).await;
    let begin = Instant::now();
    cut(&proxy);
    // It kills the process by its own clock, long before anyone else may have the job.
    bench.cleared().await;
    fault.count("ms until its process was killed", begin.elapsed().as_millis() as u64);
    assert_eq!(bench.job(id).await.state, JobState::Running, "nobody was told of it");

    let_leases_run_out(bench.pool()).await;
    let near = bench.start(Config { scratch: bench.folder.path().join("near"), ..bench.config() });
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 2, 0), "{:?}", job.error);
    near.stop().await;

    // What was on its way arrives now, late.
    proxy.mend();
    gate.open();
    let next = bench.submit(rows(4)).await;
    fault.acknowledge(&next);
    assert_eq!(bench.end_of(next).await.state, JobState::Succeeded, "it works again");
    assert_eq!(bench.job(id).await, job, "what was told stays");
    far.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f04_a_worker_loses_its_connections() {
    let what = "all connections of a worker to Postgres are cut, and new ones refused, until another did its job";
    cut_off("F4", what, Proxy::cut).await;
}

#[tokio::test]
async fn f04_a_worker_hears_nothing_any_more() {
    let what = "connections of a worker to Postgres stay open and carry nothing, until another did its job";
    cut_off("F4", what, Proxy::silence).await;
}

#[tokio::test]
async fn f24_without_a_free_connection_requests_are_shed_and_heartbeats_are_not() {
    let bench = Bench::new().await;
    let what = "every connection for requests is held, under a running job and 40 requests";
    let mut fault = Fault::begin("F24", what, bench.pool()).await;
    // as in `pare serve`: a pool for requests, another for the worker
    let pool =
        PgPoolOptions::new().max_connections(3).acquire_timeout(SHORT).connect(&bench.database.url).await.unwrap();
    let app = App::beside(pool.clone(), Limits::default(), HostRule::Loopback).await;
    let gate = bench.gated();
    let worker = bench.start(Config { program: gate.program.clone(), ..bench.config() });
    let id = bench.submit(Bytes::from(rows(3))).await;
    fault.acknowledge(&id);
    bench.process(None).await;
    // the listener for hints may have one already
    let mut held = Vec::new();
    while let Ok(conn) = pool.acquire().await {
        held.push(conn);
    }
    assert!(!held.is_empty());
    let expiry = async || {
        let query = "select lease_expires_at from job_leases where job_id = $1";
        let query = sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>(query).bind(id.0);
        query.fetch_one(bench.pool()).await.unwrap()
    };
    let before = expiry().await;
    let started = Instant::now();
    let requests = (0..40).map(|_| app.get("/v1/jobs"));
    for answer in futures::future::join_all(requests).await {
        assert_eq!(answer.problem(), (503, "unavailable".to_owned()));
        assert_eq!(answer.header("retry-after"), "2");
    }
    fault.count("requests answered 503", 40);
    // each waits for a connection once, all at the same time; the rest is a slow machine's
    assert!(started.elapsed() < SHORT + Duration::from_secs(10), "{:?}", started.elapsed());
    app.get("/healthz").await.expect(200);
    until("a heartbeat", async || (expiry().await > before).then_some(())).await;
    drop(held);
    app.get("/v1/jobs").await.expect(200);
    gate.open();
    assert_eq!(bench.end_of(id).await.state, JobState::Succeeded);
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}
