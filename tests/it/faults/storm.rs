//! A thousand clients that follow one job, are cut off, and come again.

use std::fs;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pare::db::jobs::{self, Claimed, Worker};
use pare::db::{self, Pool};
use pare::engine::problem::{Code, Problem};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use uuid::Uuid;

use super::local;
use crate::support::cluster::database;
use crate::support::invariants::Fault;
use crate::support::program::Server;

const CLIENTS: i64 = 1000;
/// What the server may take more for all of them: two buffers and some tasks each.
const MOST_BYTES: u64 = 192 << 20;

/// Memory that a process has, in bytes.
fn resident_bytes(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Lets this process have a connection for each client.
fn many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

async fn claim(pool: &Pool) -> Claimed {
    let worker = Worker {
        id: Uuid::now_v7(),
        host_id: Uuid::now_v7(),
        memory_bytes: 1 << 50,
        disk_bytes: 1 << 50,
        devices: vec!["cpu".to_owned()],
    };
    jobs::claim(pool, &worker).await.unwrap().expect("a job waits")
}

async fn note(pool: &Pool, claimed: &Claimed, number: i64) {
    let body = json!({ "message": number.to_string() });
    assert!(jobs::append_event(pool, claimed.job.id, claimed.token, "note", &body).await.unwrap());
}

/// A stream of a job's log: the numbers of the lines that come.
struct Follower {
    response: reqwest::Response,
    text: String,
}

impl Follower {
    async fn open(http: &reqwest::Client, url: &str, last: i64) -> Self {
        loop {
            let response = http.get(url).header("last-event-id", last.to_string()).send().await.unwrap();
            if response.status() == 200 {
                return Self { response, text: String::new() };
            }
            // until the server has noticed that those before have left
            assert_eq!(response.status(), 503);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The next line's number; `None` at the end.
    async fn next(&mut self) -> Option<i64> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(id) = block.lines().find_map(|line| line.strip_prefix("id: ")) {
                    return Some(id.parse().unwrap());
                }
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

/// All clients at once, each from a line of its own; each has heard one line.
async fn storm(http: &reqwest::Client, url: &str, lines: i64) -> Vec<(i64, Follower)> {
    let open = (0..CLIENTS).map(|number| async move {
        let last = number % lines;
        let mut follower = Follower::open(http, url, last).await;
        assert_eq!(follower.next().await, Some(last + 1), "it goes on where it was");
        (last, follower)
    });
    open.collect::<FuturesUnordered<_>>().collect().await
}

/// Connections of this database that listen for hints.
async fn listeners(pool: &Pool) -> i64 {
    let query = "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'";
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f23_a_thousand_clients_follow_a_job_and_come_again_at_once() {
    many_descriptors();
    let (db, folder) = (database().await, tempfile::tempdir().unwrap());
    let what = "1,000 event streams of one job at once, all cut off, and 1,000 that come again";
    let mut fault = Fault::begin("F23", what, &db.pool).await;
    let server = Server::start(folder.path(), &["--workers", "0", "--database-url", &db.url], &[]);
    let (status, _) = server.upload("/v1/datasets/files", &[("rows.jsonl", b"{\"text\": \"a\"}\n".to_vec())]).await;
    assert_eq!(status, 201);
    let claimed = claim(&db.pool).await;
    fault.acknowledge(&claimed.job.id);
    for number in 0..20 {
        note(&db.pool, &claimed, number).await;
    }
    let lines = db::jobs::events(&db.pool, claimed.job.id, 0, 1000).await.unwrap().len() as i64;
    let url = format!("{}/v1/jobs/{}/events/stream", server.base(), claimed.job.id);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let before = resident_bytes(server.pid());
    let first = storm(&http, &url, lines).await;
    assert_eq!(listeners(&db.pool).await, 1, "one connection listens for all of them");
    drop(first);
    // The places of those that left are given to those that come.
    let second = storm(&http, &url, lines).await;
    let more = resident_bytes(server.pid()).saturating_sub(before);
    assert!(more < MOST_BYTES, "{more} bytes for {CLIENTS} clients");
    assert_eq!(listeners(&db.pool).await, 1);

    let problems = [Problem::new("", Code::Internal, "it was a test")];
    let mut tx = db.pool.begin().await.unwrap();
    assert!(jobs::finish_failed(&mut tx, claimed.job.id, claimed.token, &problems).await.unwrap());
    tx.commit().await.unwrap();
    let rest = second.into_iter().map(|(last, mut follower)| async move {
        let mut expected = last + 2;
        while let Some(number) = follower.next().await {
            assert_eq!(number, expected, "after {last}");
            expected += 1;
        }
        assert_eq!(expected, lines + 2, "after {last}: the end is told");
    });
    rest.collect::<FuturesUnordered<_>>().collect::<Vec<()>>().await;
    fault.count("streams", 2 * CLIENTS as u64);
    fault.count("listening connection", 1);
    fault.count("MiB more memory of the server", more >> 20);
    server.stop();
    fault.held(&db.pool, &local(folder.path()).await).await;
}
