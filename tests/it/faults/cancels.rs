//! Jobs that are cancelled wherever they are.

use std::time::{Duration, Instant};

use http::Method;
use pare::db::jobs::JobState;
use pare::http::{HostRule, Limits};
use pare::worker::Config;

use super::publishing::{closed, waiting};
use super::{Dice, all_ended, cancel, end_of, find, submitted, tickets_on};
use crate::support::app::App;
use crate::support::invariants::Fault;
use crate::support::worker::Bench;

async fn over(bench: &Bench) -> App {
    App::over(bench.pool().clone(), bench.store.clone(), Limits::default(), HostRule::Loopback).await
}

#[tokio::test]
async fn f18_a_job_is_cancelled_in_the_queue_while_it_runs_and_too_late() {
    let bench = Bench::new().await;
    let app = over(&bench).await;
    let what = "cancel of a job in the queue, while it runs, and while its results are being told";
    let mut fault = Fault::begin("F18", what, &app.pool).await;
    let body = tickets_on(&app).await;
    let queued = submitted(&app, &body).await;
    assert_eq!(cancel(&app, queued).await, 200);
    assert_eq!(find(&app.pool, queued).await.state, JobState::Cancelled);

    let worker = bench.start(bench.config());
    all_ended(&app.pool).await;
    worker.stop().await;
    let gate = bench.gated();
    let worker = bench.start(Config { program: gate.program.clone(), ..bench.config() });
    let running = submitted(&app, &body).await;
    bench.process(None).await;
    assert!(matches!(cancel(&app, running).await, 200 | 202));
    assert_eq!(end_of(&app.pool, running).await.state, JobState::Cancelled);
    gate.open();

    // Its results are told: the transaction is open, and waits here. A cancel waits for it, and comes too late.
    let lock = closed(&app.pool).await;
    let told = submitted(&app, &body).await;
    waiting(&app.pool, 1).await;
    let path = format!("/v1/jobs/{told}/cancel");
    let late = app.send(Method::POST, &path, &[], Vec::new());
    let release = async {
        waiting(&app.pool, 2).await;
        lock.rollback().await.unwrap();
    };
    let (late, ()) = futures::join!(late, release);
    assert_eq!(late.problem(), (409, "job_finished".to_owned()));
    assert_eq!(end_of(&app.pool, told).await.state, JobState::Succeeded);
    for id in [queued, running, told] {
        fault.acknowledge(&id);
    }
    worker.stop().await;
    fault.held(&app.pool, &app.store).await;
}

#[tokio::test]
async fn f18_jobs_are_cancelled_at_random_moments() {
    let bench = Bench::new().await;
    let app = over(&bench).await;
    let what = "cancel of jobs at random moments of their lives";
    let mut fault = Fault::begin("F18", what, &app.pool).await;
    let mut dice = Dice::seeded(18);
    let worker = bench.start(bench.config());
    let body = tickets_on(&app).await;
    all_ended(&app.pool).await;
    let begin = Instant::now();
    let whole = submitted(&app, &body).await;
    fault.acknowledge(&whole);
    assert_eq!(end_of(&app.pool, whole).await.state, JobState::Succeeded);
    // so that some end before they are cancelled, however fast the machine is
    let most = begin.elapsed().as_millis() as u64 * 3 / 2;
    let (mut cancelled, mut succeeded) = (0, 0);
    for _ in 0..12 {
        let id = submitted(&app, &body).await;
        fault.acknowledge(&id);
        tokio::time::sleep(Duration::from_millis(dice.below(most))).await;
        let answer = cancel(&app, id).await;
        assert!(matches!(answer, 200 | 202 | 409), "{answer}");
        let job = end_of(&app.pool, id).await;
        match job.state {
            JobState::Cancelled => cancelled += 1,
            JobState::Succeeded => succeeded += 1,
            other => panic!("{other:?}: {:?}", job.error),
        }
        let files = app.get(&format!("/v1/jobs/{id}/artifacts")).await.json();
        let files = files["data"].as_array().map_or(0, Vec::len);
        assert_eq!(files > 0, job.state == JobState::Succeeded, "{files} files of a job that is {:?}", job.state);
    }
    fault.count("cancelled", cancelled);
    fault.count("succeeded before", succeeded);
    worker.stop().await;
    fault.held(&app.pool, &app.store).await;
}
