//! `kill -9` of server, worker and Postgres at random moments, under jobs and uploads.
//!
//! `PARE_FAULTS_KILLS` says how often, `PARE_FAULTS_SEED` which moments.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pare::db::Pool;
use pare::postgres::{Cluster, DATABASE};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::{Client, Sending};
use super::postgres::inside;
use super::{Dice, local, setting};
use crate::postgres::server_pid;
use crate::support::invariants::Fault;
use crate::support::program::{Server, Worker};
use crate::support::worker::until;
use crate::uploads::pattern;

/// Two parts and a bit.
const FILE_BYTES: usize = (33 << 20) + 7;
/// How long what was acknowledged may take to its end.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A server with its own Postgres, and a worker on it.
struct Stage {
    state: PathBuf,
    worker_state: PathBuf,
    store: String,
    database: String,
    server: Option<Server>,
    worker: Option<Worker>,
}

impl Stage {
    fn new(folder: &Path) -> Self {
        let state = folder.join("server");
        let store = format!("file://{}", state.display());
        let worker_state = folder.join("worker");
        let mut stage = Self { state, worker_state, store, database: String::new(), server: None, worker: None };
        stage.start_server();
        stage.database = Cluster::url_of_running(&stage.state, DATABASE).unwrap();
        stage.start_worker();
        stage
    }

    fn start_server(&mut self) -> &Server {
        self.server = None;
        self.server.insert(Server::start(&self.state, &["--workers", "0"], &[]))
    }

    fn start_worker(&mut self) {
        self.worker = None;
        self.worker = Some(Worker::start(&self.worker_state, &self.store, &self.database, &[]));
    }

    /// Starts the worker again if it has ended, as whatever runs services does: one that starts while Postgres is away says
    /// so and ends.
    fn tend(&mut self) {
        if self.worker.as_mut().is_none_or(Worker::is_gone) {
            self.start_worker();
        }
    }

    /// Kills Postgres, if it is there: its server starts it again. Which process that was.
    fn kill_postgres(&self) -> Option<i32> {
        let number = server_pid(&self.state)?;
        kill_process(Pid::from_raw(number)?, Signal::KILL).is_ok().then_some(number)
    }
}

/// What a client was told.
#[derive(Default)]
struct Told {
    jobs: Vec<String>,
    models: Vec<String>,
    uploads: Vec<Sending>,
}

/// Submits jobs, models and files in parts until it is told to stop, and repeats what nobody acknowledged.
async fn work(client: Client, job: Value, most: u64, mut dice: Dice, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    let config = vec![("config.json", b"{}".to_vec())];
    while !stop.load(Ordering::Relaxed) {
        match dice.below(4) {
            0 if (told.jobs.len() as u64) < most => {
                let made = client.make("/v1/jobs", &job).await;
                told.jobs.extend(made.map(|made| made["id"].as_str().unwrap().to_owned()));
            }
            1 if (told.models.len() as u64) < most => {
                let made = client.form("/v1/models/files", &config).await;
                told.models.extend(made.map(|made| made["id"].as_str().unwrap().to_owned()));
            }
            _ => part(&client, &mut told.uploads, most.div_ceil(4), &mut dice).await,
        }
        tokio::time::sleep(Duration::from_millis(dice.below(200))).await;
    }
    told
}

/// Sends a part of some file that is on its way, or begins another one.
async fn part(client: &Client, uploads: &mut Vec<Sending>, most: u64, dice: &mut Dice) {
    let begun = uploads.len() as u64;
    match uploads.iter_mut().find(|sending| !sending.missing().is_empty()) {
        Some(sending) => {
            let missing = sending.missing();
            let number = missing[dice.below(missing.len() as u64) as usize];
            sending.put(client, number).await;
        }
        None if begun < most => {
            // each file is another one
            let mut data = pattern(FILE_BYTES);
            data[..8].copy_from_slice(&begun.to_le_bytes());
            uploads.extend(Sending::begin(client, data).await);
        }
        None => {}
    }
}

/// Kills somebody so often, each time after a random while, and brings it back. How often whom.
async fn kill(stage: &mut Stage, client: &Client, kills: u64, dice: &mut Dice) -> [u64; 3] {
    let mut killed = [0; 3];
    for _ in 0..kills {
        // the injection itself: a random moment
        tokio::time::sleep(Duration::from_millis(200 + dice.below(1800))).await;
        let victim = dice.below(3) as usize;
        let pause = Duration::from_millis(dice.below(300));
        let mut dead_postgres = None;
        match victim {
            0 => {
                stage.server = None;
                tokio::time::sleep(pause).await;
                client.turn_to(stage.start_server().base());
            }
            1 => {
                stage.worker = None;
                tokio::time::sleep(pause).await;
                stage.start_worker();
            }
            _ => dead_postgres = stage.kill_postgres(),
        }
        killed[victim] += u64::from(victim < 2 || dead_postgres.is_some());
        until("the service's return", async || {
            let serves = client.get("/v1/jobs").await.is_ok_and(|(status, _)| status == 200);
            // a connection may answer once more after its server's death
            let is_another = server_pid(&stage.state).is_some_and(|pid| Some(pid) != dead_postgres);
            (serves && is_another).then_some(())
        })
        .await;
        stage.tend();
    }
    killed
}

/// Ends what was begun: the rest of the parts, then the jobs.
async fn finish(stage: &mut Stage, client: &Client, told: &mut Told, pool: &Pool) {
    for sending in &mut told.uploads {
        let there = sending.received(client).await.unwrap();
        assert!(sending.acknowledged.iter().all(|number| there.contains(number)), "an acknowledged part is gone");
        for number in sending.missing() {
            assert!(sending.put(client, number).await);
        }
        assert!(sending.complete(client).await, "{} is not what was sent", sending.id);
    }
    let begin = Instant::now();
    let live = "select count(*) from jobs where finished_at is null";
    while sqlx::query_scalar::<_, i64>(live).fetch_one(pool).await.unwrap() > 0 {
        assert!(begin.elapsed() < PATIENCE, "jobs do not end");
        stage.tend();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn run(kills: u64) {
    let kills = setting("PARE_FAULTS_KILLS", kills);
    let mut dice = Dice::seeded(1);
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path());
    let what = "kill -9 of server, worker and Postgres at random moments under jobs and uploads in parts";
    let mut fault = Fault::unwatched("F1, F5, F7", what);
    let pool = inside(&stage.state).await;
    fault.watch(&pool).await;
    pool.close().await;
    let client = Client::of(stage.server.as_ref().unwrap().base());
    let job = client.tickets().await;
    let stop = Arc::new(AtomicBool::new(false));
    let working = tokio::spawn(work(client.clone(), job, kills, Dice(dice.below(u64::MAX)), stop.clone()));
    let killed = kill(&mut stage, &client, kills, &mut dice).await;
    stop.store(true, Ordering::Relaxed);
    let mut told = working.await.unwrap();
    let pool = inside(&stage.state).await;
    finish(&mut stage, &client, &mut told, &pool).await;

    let not = "select id || ' is ' || state || coalesce(': ' || error::text, '') from jobs where state <> 'succeeded'";
    let not: Vec<String> = sqlx::query_scalar(not).fetch_all(&pool).await.unwrap();
    assert!(not.is_empty(), "every job succeeds:\n{}", not.join("\n"));
    for id in &told.models {
        let (status, model) = client.get(&format!("/v1/models/{id}")).await.unwrap();
        assert!(status == 200 && model["state"] != "validating", "{model}");
    }
    assert!(!told.jobs.is_empty() && !told.uploads.is_empty(), "nothing was asked for meanwhile");
    for id in &told.jobs {
        fault.acknowledge(id);
    }
    told.uploads.iter().flat_map(Sending::parts).for_each(|part| fault.acknowledge_part(part));
    for (what, number) in ["kills of the server", "kills of the worker", "kills of Postgres"].into_iter().zip(killed) {
        fault.count(what, number);
    }
    fault.count("acknowledged jobs, all succeeded", told.jobs.len() as u64);
    fault.count("acknowledged models", told.models.len() as u64);
    fault.count("acknowledged files in parts", told.uploads.len() as u64);
    stage.worker.take().unwrap().stop();
    fault.held(&pool, &local(&stage.state).await).await;
    pool.close().await;
    stage.server.take().unwrap().stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_f05_f07_anyone_is_killed_at_random_moments() {
    run(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "many minutes: scripts/faults runs it"]
async fn f01_f05_f07_anyone_is_killed_a_hundred_times() {
    run(100).await;
}
