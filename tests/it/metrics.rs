//! What Prometheus, balancers and people who read logs see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pare::db::jobs;
use pare::http::{HostRule, Limits, State, serve};
use pare::store::{Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::support::app::App;
use crate::support::cluster::database;
use crate::support::process::Program;
use crate::support::worker::{Bench, until};

/// Samples by name with labels. Fails on lines that are not of the text format, and on samples without a type.
fn read(text: &str) -> BTreeMap<String, f64> {
    let mut types = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            assert!(words.len() == 3 && ["HELP", "TYPE"].contains(&words[0]), "{line}");
            if words[0] == "TYPE" {
                assert!(types.insert(words[1].to_owned()), "two types: {line}");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let base = name.split('{').next().unwrap();
        let is_typed = ["", "_bucket", "_sum", "_count"]
            .iter()
            .any(|end| base.strip_suffix(end).is_some_and(|base| types.contains(base)));
        assert!(is_typed, "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

async fn scrape(app: &App) -> (String, BTreeMap<String, f64>) {
    let answer = app.get("/metrics").await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let samples = read(&text);
    (text, samples)
}

/// Tests of one process share its counters: they only ever tell what was added.
fn added(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, name: &str) -> f64 {
    let value = |samples: &BTreeMap<String, f64>| samples.get(name).copied().unwrap_or(0.0);
    value(after) - value(before)
}

#[tokio::test]
async fn requests_jobs_and_the_queue_are_counted_without_ids() {
    let app = App::start().await;
    let (_, before) = scrape(&app).await;
    assert_eq!(before["pare_queue_depth"], 0.0);
    assert_eq!(before["pare_db_up"], 1.0);
    assert_eq!(before[&format!("pare_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
    let job = app.queued_job().await;
    app.get(&format!("/v1/jobs/{job}")).await.expect(200);
    app.get("/v1/jobs/job_nonsense").await.expect(404);
    app.get(&format!("/v1/{job}")).await.expect(404);
    app.send(http::Method::from_bytes(b"BREW").unwrap(), "/v1/jobs", &[], Vec::new()).await.expect(405);
    sqlx::query("update jobs set run_after = now() - interval '90 seconds' where state = 'queued'")
        .execute(&app.pool)
        .await
        .unwrap();

    let (text, after) = scrape(&app).await;
    for (labels, count) in [
        ("method=\"GET\",route=\"/v1/jobs/{job_id}\",status=\"2xx\"", 1.0),
        ("method=\"GET\",route=\"/v1/jobs/{job_id}\",status=\"4xx\"", 1.0),
        ("method=\"GET\",route=\"none\",status=\"4xx\"", 1.0),
        ("method=\"other\",route=\"/v1/jobs\",status=\"4xx\"", 1.0),
        ("method=\"POST\",route=\"/v1/models/files\",status=\"2xx\"", 1.0),
    ] {
        assert!(added(&before, &after, &format!("pare_http_requests_total{{{labels}}}")) >= count, "{labels}\n{text}");
    }
    let duration = "pare_http_request_duration_seconds_count{method=\"GET\",route=\"/v1/jobs/{job_id}\"}";
    assert!(added(&before, &after, duration) >= 2.0, "{text}");
    assert!(added(&before, &after, "pare_http_received_bytes_total") > 100.0);
    assert!(added(&before, &after, "pare_http_sent_bytes_total") > 100.0);
    assert_eq!(after["pare_jobs{kind=\"compress\",state=\"queued\"}"], 1.0);
    assert_eq!(after["pare_jobs{kind=\"validate\",state=\"succeeded\"}"], 1.0);
    assert_eq!(after["pare_queue_depth"], 1.0);
    assert!((90.0..600.0).contains(&after["pare_queue_oldest_wait_seconds"]), "{text}");
    assert!(after["pare_db_acquire_seconds"] < 3.0);
    let connections = after["pare_db_connections{state=\"idle\"}"] + after["pare_db_connections{state=\"in_use\"}"];
    assert!(connections >= 1.0);

    assert!(!text.contains(&job.to_string()) && !text.contains(&job.0.to_string()), "an id is among the labels");
    let routes = text.lines().filter(|line| line.contains("route=\"/")).count();
    assert!(routes > 0 && !text.contains("nonsense"));
}

#[tokio::test]
async fn what_the_process_counts_is_there_without_a_database() {
    let app = App::start().await;
    app.get("/v1/models").await.expect(200);
    app.pool.close().await;
    assert_eq!(app.get("/v1/models").await.status, 503);
    let (_, samples) = scrape(&app).await;
    assert_eq!(samples["pare_db_up"], 0.0);
    assert!(samples.keys().any(|name| name.starts_with("pare_http_requests_total")));
}

#[tokio::test]
async fn health_and_counters_do_not_wait_for_a_database_that_hangs() {
    let app = App::start().await;
    app.get("/v1/models").await.expect(200);
    // every connection is held: whoever wants one waits for ten seconds
    let mut held = Vec::new();
    while let Ok(connection) = tokio::time::timeout(Duration::from_millis(500), app.pool.acquire()).await {
        held.push(connection.unwrap());
    }
    let quick = Duration::from_secs(8);
    tokio::time::timeout(quick, app.get("/healthz")).await.expect("health is quick").expect(200);
    let (_, samples) = tokio::time::timeout(quick, scrape(&app)).await.expect("the counters are quick");
    assert_eq!(samples["pare_db_up"], 0.0);
}

#[tokio::test]
async fn a_late_workers_writes_are_counted() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let claimed = app.claim().await;
    let before = read(&pare::telemetry::metrics::render());
    let stranger = Uuid::now_v7();
    let beat = jobs::heartbeat(&app.pool, id, stranger, None, None).await.unwrap();
    assert_eq!(beat, jobs::Heartbeat::Lost);
    assert!(!jobs::append_event(&app.pool, id, stranger, "note", &serde_json::json!({})).await.unwrap());
    assert!(!jobs::release(&app.pool, id, stranger).await.unwrap());
    assert!(jobs::release(&app.pool, id, claimed.token).await.unwrap());
    let after = read(&pare::telemetry::metrics::render());
    for write in ["heartbeat", "event", "end"] {
        assert!(added(&before, &after, &format!("pare_fenced_writes_total{{write=\"{write}\"}}")) >= 1.0, "{write}");
    }
}

#[tokio::test]
async fn a_worker_process_shows_its_own_counters() {
    let bench = Bench::new().await;
    let store = format!("file://{}", bench.folder.path().join("store").display());
    let state = bench.folder.path().join("state");
    let id = bench.submit("{\"text\": \"a\"}\n").await;
    let arguments = ["work", "--metrics-listen", "127.0.0.1:0", "--memory-limit", "1GiB", "--log-format", "json"];
    let variables = [
        ("DATABASE_URL", bench.database.url.as_str()),
        ("STORE_URL", &store),
        ("PARE_STATE_DIR", state.to_str().unwrap()),
    ];
    let worker = Program::start(bench.folder.path(), &arguments, &variables);
    bench.end_of(id).await;
    let lines = worker.log();
    let line = lines.lines().find(|line| line.contains("showing metrics")).expect("the log names the address");
    let address = serde_json::from_str::<serde_json::Value>(line).unwrap()["address"].as_str().unwrap().to_owned();
    let samples = until("the attempt's count", async || {
        let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        Some(read(&text))
            .filter(|samples| samples.contains_key("pare_attempts_total{kind=\"validate\",ending=\"done\"}"))
    })
    .await;
    assert_eq!(samples["pare_claims_total{kind=\"validate\"}"], 1.0);
    assert_eq!(samples["pare_attempt_duration_seconds_count{kind=\"validate\"}"], 1.0);
    let losses = samples.get("pare_lease_losses_total").copied().unwrap_or_default();
    assert_eq!(losses, 0.0, "the end of a job is no loss of its lease");
    assert!(worker.stop());
}

#[tokio::test]
async fn readiness_tells_of_workers_and_space() {
    let app = App::start().await;
    let ready = app.get("/readyz").await.expect(200).json();
    assert_eq!(ready["workers"], serde_json::json!({"live": 0}));
    assert!(ready["disk_free_bytes"].as_u64().unwrap() > 0);
    let beat = |seccomp: bool| pare::db::workers::Beat {
        id: Uuid::now_v7(),
        host_id: Uuid::now_v7(),
        host: "h".to_owned(),
        version: "0".to_owned(),
        memory_bytes: 1,
        disk_bytes: 1,
        devices: vec!["cpu".to_owned()],
        capabilities: serde_json::json!({ "sandbox": pare::worker::Sandbox { seccomp, ..Default::default() } }),
    };
    for seccomp in [true, true, false] {
        pare::db::workers::beat(&app.pool, &beat(seccomp)).await.unwrap();
    }
    let ready = app.get("/readyz").await.expect(200).json();
    assert_eq!((&ready["workers"]["live"], &ready["sandbox"]), (&3.into(), &serde_json::json!(["none", "partial"])));
    assert!(ready["workers"]["last_heartbeat_at"].is_string());
}

/// A server that was told to stop says so first, still answers, and then takes no more connections.
#[tokio::test]
async fn a_server_that_goes_says_so_before_it_stops() {
    let database = database().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreConfig::Local(folder.path().to_owned())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    // long enough for the requests below on a busy machine
    let limits = Limits { linger: Duration::from_secs(3), ..Limits::default() };
    let state = State::new(database.pool.clone(), store, limits, HostRule::Loopback);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, state, async {
        let _ = stopped.await;
    }));
    let _ = rustls::crypto::ring::default_provider().install_default();
    // a connection for each request, as a balancer's probes have
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let status =
        async |path: &str| client.get(format!("{base}{path}")).send().await.map(|answer| answer.status().as_u16());
    assert_eq!(status("/readyz").await.unwrap(), 200);
    stop.send(()).unwrap();
    let answer = until("the word that it goes", async || {
        let answer = client.get(format!("{base}/readyz")).send().await.unwrap();
        (answer.status() == 503).then_some(answer)
    })
    .await;
    assert!(answer.headers().contains_key("retry-after"));
    let problem: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["errors"][0]["pointer"], "/draining");
    assert_eq!(status("/healthz").await.unwrap(), 200);
    assert_eq!(status("/v1/models").await.unwrap(), 200);
    tokio::time::timeout(Duration::from_secs(30), server).await.expect("it ends").unwrap().unwrap();
    assert!(status("/healthz").await.is_err(), "nobody listens any more");
}
