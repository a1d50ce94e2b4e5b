//! Servers that are replaced one after the other, behind a balancer and under load.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{all_ended, crashes_and_losses, local};
use crate::support::cluster::database;
use crate::support::invariants::Fault;
use crate::support::program::Server;
use crate::support::worker::until;

/// Sends each request to the next server that says that it is ready.
#[derive(Clone)]
struct Balancer {
    servers: Arc<Mutex<Vec<(String, bool)>>>,
    next: Arc<AtomicU64>,
    http: reqwest::Client,
}

impl Balancer {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { servers: Arc::default(), next: Arc::default(), http }
    }

    fn add(&self, server: &Server) {
        self.servers.lock().unwrap().push((server.base().to_owned(), false));
    }

    fn remove(&self, base: &str) {
        self.servers.lock().unwrap().retain(|(other, _)| other != base);
    }

    fn is_ready(&self, base: &str) -> bool {
        self.servers.lock().unwrap().iter().any(|(other, ready)| other == base && *ready)
    }

    /// Looks at every server, again and again.
    async fn probe(self) {
        loop {
            let all = self.servers.lock().unwrap().clone();
            for (base, _) in all {
                let answer = self.http.get(format!("{base}/readyz")).send().await;
                let ready = answer.is_ok_and(|answer| answer.status() == 200);
                let mut servers = self.servers.lock().unwrap();
                if let Some(server) = servers.iter_mut().find(|(other, _)| *other == base) {
                    server.1 = ready;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn pick(&self) -> Option<String> {
        let ready: Vec<String> =
            self.servers.lock().unwrap().iter().filter(|(_, ready)| *ready).map(|(base, _)| base.clone()).collect();
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        ready.get(next % ready.len().max(1)).cloned()
    }
}

/// Asks until it is told to stop: reads, and now and then a job. What was asked, the jobs, and what failed.
async fn ask(balancer: Balancer, job: Value, stop: Arc<AtomicBool>) -> (u64, Vec<String>, Vec<String>) {
    let (mut asked, mut jobs, mut failed) = (0, Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let Some(base) = balancer.pick() else {
            failed.push("no server is ready".to_owned());
            break;
        };
        let submits = asked % 40 == 0;
        let request = if submits {
            let request = balancer.http.post(format!("{base}/v1/jobs"));
            request.header("content-type", "application/json").body(job.to_string())
        } else {
            balancer.http.get(format!("{base}/v1/jobs"))
        };
        asked += 1;
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
                if submits {
                    jobs.push(body["id"].as_str().unwrap().to_owned());
                }
            }
            Ok(answer) => failed.push(format!("{answer:?}")),
            Err(error) => failed.push(format!("{error:?}")),
        }
        // a client has a rhythm; as fast as it can be is another test's
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (asked, jobs, failed)
}

fn start(state: &Path, store: &str, database: &str) -> Server {
    // as long as the balancer takes to notice on a busy machine
    let arguments = ["--drain-seconds", "4", "--store-url", store, "--database-url", database];
    Server::start(state, &arguments, &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_servers_are_replaced_under_load_and_no_request_fails() {
    let (db, folder) = (database().await, tempfile::tempdir().unwrap());
    let url = format!("file://{}", folder.path().join("store").display());
    let what = "SIGTERM to two servers with workers in turn, each replaced, under requests and jobs through a balancer";
    let mut fault = Fault::begin("F19", what, &db.pool).await;
    let balancer = Balancer::new();
    let mut servers = Vec::new();
    for name in ["a", "b"] {
        let server = start(&folder.path().join(name), &url, &db.url);
        balancer.add(&server);
        servers.push(server);
    }
    let (_, first) = servers[0].tickets().await;
    fault.acknowledge(&first);
    let (_, shown) = servers[0].get(&format!("/v1/jobs/{first}")).await;
    let job = serde_json::json!({"model_id": shown["model_id"], "recipe_name": "int8",
        "evaluation_dataset_id": shown["evaluation_dataset_id"], "evaluate": {"metrics": []}});
    let probing = tokio::spawn(balancer.clone().probe());
    for server in &servers {
        until("its readiness", async || balancer.is_ready(server.base()).then_some(())).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3).map(|_| tokio::spawn(ask(balancer.clone(), job.clone(), stop.clone()))).collect();
    for (index, name) in [(0, "a"), (1, "b")] {
        let old = servers.remove(0);
        let base = old.base().to_owned();
        tokio::task::spawn_blocking(move || old.stop()).await.unwrap();
        balancer.remove(&base);
        let next = start(&folder.path().join(name), &url, &db.url);
        balancer.add(&next);
        until("its readiness", async || balancer.is_ready(next.base()).then_some(())).await;
        servers.insert(servers.len().min(index + 1), next);
    }
    stop.store(true, Ordering::Relaxed);
    let (mut asked, mut jobs) = (0, 0);
    for client in clients {
        let (requests, ids, failed) = client.await.unwrap();
        assert!(failed.is_empty(), "of {requests} requests failed: {}", failed.join("\n"));
        asked += requests;
        jobs += ids.len() as u64;
        for id in &ids {
            fault.acknowledge(id);
        }
    }
    probing.abort();
    fault.count("requests, none of which failed", asked);
    fault.count("jobs", jobs);
    all_ended(&db.pool).await;
    assert_eq!(crashes_and_losses(&db.pool).await, (0, 0));
    let counted = "select count(*) from jobs where attempt <> 1 or state <> 'succeeded'";
    let counted: i64 = sqlx::query_scalar(counted).fetch_one(&db.pool).await.unwrap();
    assert_eq!(counted, 0, "what was given back does not count as an attempt");
    servers.into_iter().for_each(Server::stop);
    fault.held(&db.pool, &local(&folder.path().join("store")).await).await;
}
