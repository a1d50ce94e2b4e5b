//! Two servers and two workers on one Postgres and one object store, each killed in turn.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pare::db::Pool;
use serde_json::Value;

use super::client::Client;
use super::{Dice, crashes_and_losses, setting};
use crate::support::cluster::database;
use crate::support::invariants::{Fault, skipped};
use crate::support::program::{Server, Worker};
use crate::support::s3::S3;
use crate::support::worker::until;

/// How long all jobs may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What all four share, and the four.
struct Fleet {
    folder: PathBuf,
    store: String,
    database: String,
    variables: Vec<(String, String)>,
    servers: [Option<Server>; 2],
    workers: [Option<Worker>; 2],
}

impl Fleet {
    fn server(&mut self, index: usize) -> &Server {
        self.servers[index] = None;
        let state = self.folder.join(format!("server-{index}"));
        let arguments = ["--workers", "0", "--store-url", &self.store, "--database-url", &self.database];
        self.servers[index].insert(Server::start(&state, &arguments, &self.variables))
    }

    fn worker(&mut self, index: usize) {
        self.workers[index] = None;
        let state = self.folder.join(format!("worker-{index}"));
        self.workers[index] = Some(Worker::start(&state, &self.store, &self.database, &self.variables));
    }

    async fn start(folder: &Path, s3: &S3, database: &str) -> (Self, [Client; 2]) {
        let store = format!("s3://{}/shared", s3.bucket().await);
        let mut fleet = Self {
            folder: folder.to_owned(),
            store,
            database: database.to_owned(),
            variables: S3::variables(&s3.endpoint),
            servers: [None, None],
            workers: [None, None],
        };
        let clients = [0, 1].map(|index| Client::of(fleet.server(index).base()));
        (0..2).for_each(|index| fleet.worker(index));
        (fleet, clients)
    }
}

async fn count(pool: &Pool, which: &str) -> i64 {
    let query = format!("select count(*) from jobs where {which}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(pool).await.unwrap()
}

/// Submits a job to a server, or to the other one where that is down.
async fn submit(clients: &[Client; 2], first: usize, job: &Value) -> String {
    for index in [first, 1 - first, first, 1 - first] {
        if let Some(made) = clients[index % 2].make("/v1/jobs", job).await {
            return made["id"].as_str().unwrap().to_owned();
        }
    }
    panic!("neither server took a job");
}

/// Kills one of the four while jobs run, leaves it dead while more are submitted, and brings it back.
async fn turn(
    fleet: &mut Fleet,
    clients: &[Client; 2],
    pool: &Pool,
    victim: usize,
    job: &Value,
    more: u64,
) -> Vec<String> {
    until("a job that runs", async || (count(pool, "state = 'running'").await > 0).then_some(())).await;
    let index = victim % 2;
    if victim < 2 {
        fleet.servers[index] = None;
    } else {
        fleet.workers[index] = None;
    }
    let mut told = Vec::new();
    for number in 0..more {
        told.push(submit(clients, number as usize % 2, job).await);
    }
    if victim < 2 {
        clients[index].turn_to(fleet.server(index).base());
    } else {
        fleet.worker(index);
    }
    told
}

async fn run(jobs: u64, rounds: u64) {
    let Some(s3) = S3::find() else { return skipped("F1, F5", "there is no S3 server: PARE_TEST_S3 names one") };
    let jobs = setting("PARE_FAULTS_JOBS", jobs);
    let (db, folder) = (database().await, tempfile::tempdir().unwrap());
    let what = "two servers and two workers on one Postgres and one S3 stand-in; kill -9 of each in turn";
    let mut fault = Fault::begin("F1, F5", what, &db.pool).await;
    let (mut fleet, clients) = Fleet::start(folder.path(), &s3, &db.url).await;
    let job = clients[0].tickets().await;
    let kills = 4 * rounds;
    let mut told = Vec::new();
    for number in 0..jobs % kills {
        told.push(submit(&clients, number as usize % 2, &job).await);
    }
    let mut dice = Dice::seeded(2);
    for kill in 0..kills {
        if told.is_empty() {
            told.push(submit(&clients, 0, &job).await);
        }
        tokio::time::sleep(Duration::from_millis(dice.below(500))).await;
        let more = (jobs / kills).max(2);
        // A job must run when it happens: one that has to be, is submitted first.
        let first = more.min(1);
        for _ in 0..first {
            told.push(submit(&clients, kill as usize % 2, &job).await);
        }
        told.extend(turn(&mut fleet, &clients, &db.pool, kill as usize % 4, &job, more - first).await);
    }
    while (told.len() as u64) < jobs {
        told.push(submit(&clients, told.len() % 2, &job).await);
    }
    let begin = Instant::now();
    while count(&db.pool, "finished_at is null").await > 0 {
        assert!(begin.elapsed() < PATIENCE, "jobs do not end");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(count(&db.pool, "state <> 'succeeded'").await, 0, "every job succeeds");
    assert_eq!(count(&db.pool, "kind = 'compress'").await, told.len() as i64, "each once");
    for id in &told {
        fault.acknowledge(id);
    }
    fault.count("kills", kills);
    fault.count("acknowledged jobs, all succeeded", told.len() as u64);
    let (crashes, losses) = crashes_and_losses(&db.pool).await;
    assert_eq!(crashes, 0);
    fault.count("leases that ran out", losses as u64);
    fleet.workers.into_iter().flatten().for_each(Worker::stop);
    let store = S3::store_at(&fleet.store, &s3.endpoint).await;
    fault.held(&db.pool, &store).await;
    fleet.servers.into_iter().flatten().for_each(Server::stop);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_f05_two_servers_and_two_workers_are_killed_in_turn() {
    run(10, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/faults runs it"]
async fn f01_f05_two_servers_and_two_workers_are_killed_in_turn_under_thirty_jobs() {
    run(30, 2).await;
}
