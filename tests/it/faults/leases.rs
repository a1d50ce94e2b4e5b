//! Workers that are killed, paused or replaced while they hold a job.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pare::db::jobs::{self, JobState};
use pare::id::JobId;
use rustix::process::{Pid, Signal, kill_process};

use super::{crashes_and_losses, let_leases_run_out};
use crate::support::invariants::Fault;
use crate::support::program::{Server, Worker};
use crate::support::worker::{Bench, processes_below, rows, until};

/// A `pare work` on a bench's database and store; its scratch folder.
fn work(bench: &Bench, name: &str) -> (Worker, PathBuf) {
    let store = format!("file://{}", bench.folder.path().join("store").display());
    let state = bench.folder.path().join(name);
    (Worker::start(&state, &store, &bench.database.url, &[]), state.join("scratch"))
}

/// A `pare serve` with a worker, likewise.
fn serve(bench: &Bench) -> (Server, PathBuf) {
    let state = bench.folder.path().join("store");
    let server = Server::start(&state, &["--database-url", &bench.database.url], &[]);
    (server, state.join("scratch"))
}

/// Waits for a job's process, and holds it still, so that the job can't end before what is to come. Not before it locked itself
/// in: held still in its first moments, before it asked to die with its parent, it could not do so.
async fn hold_process(scratch: &std::path::Path) {
    let is_locked = |process: &Pid| {
        let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap_or_default();
        status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"]))
    };
    let process = until("a job's process", async || processes_below(scratch).into_iter().find(is_locked)).await;
    kill_process(process, Signal::STOP).unwrap();
}

async fn outcomes(bench: &Bench, id: JobId) -> Vec<Option<String>> {
    jobs::attempts(bench.pool(), id).await.unwrap().into_iter().map(|attempt| attempt.outcome).collect()
}

async fn no_process(scratch: &std::path::Path) {
    until("the end of the job's process", async || processes_below(scratch).is_empty().then_some(())).await;
}

#[tokio::test]
async fn f01_a_worker_is_killed_and_another_one_does_its_job() {
    let bench = Bench::new().await;
    let what = "kill -9 of `pare work` under a job; the lease is let run out, and another worker takes the job";
    let mut fault = Fault::begin("F1", what, bench.pool()).await;
    let (killed, scratch) = work(&bench, "killed");
    let id = bench.submit(rows(300_000)).await;
    fault.acknowledge(&id);
    hold_process(&scratch).await;
    drop(killed);
    no_process(&scratch).await;
    assert_eq!(bench.job(id).await.state, JobState::Running, "nobody could say that it is not");
    assert!(fs::read_dir(&scratch).unwrap().count() > 0, "its folder lies there");

    let worker = bench.start(bench.config());
    let_leases_run_out(bench.pool()).await;
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", job.error);
    assert_eq!(crashes_and_losses(bench.pool()).await, (0, 1));
    worker.stop().await;
    let (again, scratch) = work(&bench, "killed");
    until("an empty scratch folder", async || (fs::read_dir(&scratch).ok()?.count() == 0).then_some(())).await;
    again.stop();
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f01_a_server_with_its_worker_is_killed_and_started_again() {
    let bench = Bench::new().await;
    let what = "kill -9 of `pare serve` with its worker under a job; it starts again and takes its job back at once";
    let mut fault = Fault::begin("F1", what, bench.pool()).await;
    let (server, scratch) = serve(&bench);
    let id = bench.submit(rows(300_000)).await;
    fault.acknowledge(&id);
    hold_process(&scratch).await;
    drop(server);
    no_process(&scratch).await;
    assert_eq!(bench.job(id).await.state, JobState::Running, "nobody could say that it is not");

    let (server, _) = serve(&bench);
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 2, 0), "{:?}", job.error);
    server.stop();
    fault.held(bench.pool(), &bench.store).await;
}

/// Pauses a worker until its lease is over and somebody else has done its job, and lets it go on.
async fn paused(bench: &Bench, fault: &mut Fault, lease_is_over: impl AsyncFnOnce()) {
    let (late, scratch) = work(bench, "late");
    let id = bench.submit(rows(300_000)).await;
    fault.acknowledge(&id);
    until("a job's process", async || processes_below(&scratch).pop()).await;
    late.signal(Signal::STOP);
    // Its process does its work meanwhile, and waits to be heard.
    let worker = bench.start(bench.config());
    lease_is_over().await;
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", job.error);
    worker.stop().await;

    late.signal(Signal::CONT);
    until("the late worker's giving up", async || (fs::read_dir(&scratch).unwrap().count() == 0).then_some(())).await;
    assert_eq!(bench.job(id).await, job, "what was told stays");
    let outcomes: Vec<_> = outcomes(bench, id).await.into_iter().flatten().collect();
    assert_eq!(outcomes, ["lost", "succeeded"]);
    late.stop();
}

#[tokio::test]
async fn f03_a_worker_that_was_paused_and_replaced_publishes_nothing() {
    let bench = Bench::new().await;
    let what = "SIGSTOP of a worker whose process finishes its work meanwhile; its lease is let run out; SIGCONT";
    let mut fault = Fault::begin("F3", what, bench.pool()).await;
    paused(&bench, &mut fault, async || let_leases_run_out(bench.pool()).await).await;
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
#[ignore = "a lease lasts a minute: scripts/faults runs it"]
async fn f03_a_worker_that_was_paused_for_longer_than_its_lease_publishes_nothing() {
    let bench = Bench::new().await;
    let what = "SIGSTOP of a worker until its lease has run out by itself (60 s); SIGCONT";
    let mut fault = Fault::begin("F3", what, bench.pool()).await;
    let begin = Instant::now();
    paused(&bench, &mut fault, async || {}).await;
    assert!(begin.elapsed() > Duration::from_secs(45), "nobody took the job away before its time");
    fault.count("seconds until another one had done it", begin.elapsed().as_secs());
    fault.held(bench.pool(), &bench.store).await;
}
