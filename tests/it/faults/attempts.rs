//! Jobs whose process dies, is poison, outgrows its memory, or hangs.

use std::fs;
use std::time::{Duration, Instant};

use pare::db::jobs::{self, JobState};
use pare::worker::Config;
use sqlx::AssertSqlSafe;

use super::crashes_and_losses;
use crate::support::invariants::Fault;
use crate::support::worker::{Bench, kill, rows, until, write_program};

#[tokio::test]
async fn f02_a_jobs_process_is_killed_and_tried_again_at_once() {
    let bench = Bench::new().await;
    let what = "kill -9 of a job's process; its worker lives and tries again without waiting for the lease";
    let mut fault = Fault::begin("F2", what, bench.pool()).await;
    let gate = bench.gated();
    let worker = bench.start(Config { program: gate.program.clone(), ..bench.config() });
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    let first = bench.process(None).await;
    kill(first);
    bench.process(Some(first)).await;
    gate.open();
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", job.error);
    assert_eq!(crashes_and_losses(bench.pool()).await, (1, 0));
    let events = jobs::events(bench.pool(), id, 0, 100).await.unwrap();
    let crash = events.iter().find(|event| event.kind == "crash").expect("the log tells of the crash");
    assert!(crash.body["status"].as_str().unwrap().contains("signal: 9"), "{:?}", crash.body);
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f15_a_poison_job_fails_the_second_time_and_others_go_on() {
    let bench = Bench::new().await;
    let what = "a job that kills its process every time; seven others on the same worker, of which two may run at once";
    let mut fault = Fault::begin("F15", what, bench.pool()).await;
    let program = bench.folder.path().join("poisoned");
    // It has no PATH. It runs in its job's folder, where its input lies.
    let text = format!(
        "#!/bin/sh\nread -r input < input.json\ncase \"$input\" in *poison*) kill -SEGV $$;; esac\n\
         exec '{}' \"$@\"\n",
        crate::support::cluster::PARE
    );
    write_program(&program, &text);
    sqlx::query("update tenants set max_running = 2").execute(bench.pool()).await.unwrap();
    let mut others = vec![bench.submit_named("before.jsonl", rows(3)).await];
    let poison = bench.submit_named("poison.jsonl", rows(4)).await;
    for count in 5..11 {
        others.push(bench.submit_named("after.jsonl", rows(count)).await);
    }
    // There are jobs for more slots than may be used.
    let worker = bench.start(Config { program, slots: 4, ..bench.config() });
    fault.acknowledge(&poison);
    let job = bench.end_of(poison).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Failed, 2, 2));
    assert_eq!(job.error.unwrap()["code"], "worker_crashed");
    for id in others {
        fault.acknowledge(&id);
        let job = bench.end_of(id).await;
        assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 1, 0), "{:?}", job.error);
    }
    bench.cleared().await;
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f16_a_process_that_outgrows_its_limit_fails_its_job_at_once() {
    let bench = Bench::new().await;
    let what = "a job that needs more memory than its limit of 8 MiB; the next job on the same worker";
    let mut fault = Fault::begin("F16", what, bench.pool()).await;
    let limit = 8 << 20;
    let worker = bench.start(Config { memory_bytes: limit, ..bench.config() });
    // A hash a row alone is more than the limit.
    let id = bench.submit(rows(400_000)).await;
    fault.acknowledge(&id);
    let claimable = "update jobs set memory_bytes = 0";
    sqlx::query(claimable).execute(bench.pool()).await.unwrap();
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Failed, 1, 0), "{:?}", job.error);
    let error = job.error.unwrap();
    assert_eq!(error["code"], "out_of_memory");
    let detail = error["detail"].as_str().unwrap();
    let numbers: Vec<u64> =
        detail.split_whitespace().filter_map(|word| word.trim_end_matches(':').parse().ok()).collect();
    assert!(matches!(numbers[..], [needed, allowed] if needed > allowed && allowed == limit), "{detail}");
    // Worker and database are there still.
    let small = bench.submit(rows(3)).await;
    fault.acknowledge(&small);
    sqlx::query("update jobs set memory_bytes = 0 where finished_at is null").execute(bench.pool()).await.unwrap();
    assert_eq!(bench.end_of(small).await.state, JobState::Succeeded);
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f17_a_job_that_hangs_ends_with_its_deadline_by_force() {
    let bench = Bench::new().await;
    let what = "a process that does nothing and ignores SIGTERM; its deadline passes";
    let mut fault = Fault::begin("F17", what, bench.pool()).await;
    let (program, told) = (bench.folder.path().join("stubborn"), bench.folder.path().join("told"));
    let ready = bench.folder.path().join("ready");
    let trap = format!("trap ': > \"{}\"' TERM\n: > \"{}\"", told.display(), ready.display());
    let text = format!("#!/bin/sh\n{trap}\nwhile :; do /bin/sleep 0.05; done\n");
    write_program(&program, &text);
    let mut config = Config { program, ..bench.config() };
    config.timing.stall = Duration::from_millis(200);
    let grace = config.timing.grace;
    let worker = bench.start(config);
    let id = bench.submit(rows(1)).await;
    fault.acknowledge(&id);
    until("its trap", async || ready.exists().then_some(())).await;
    until("a word of its silence", async || {
        let log = jobs::events(bench.pool(), id, 0, 100).await.unwrap();
        log.iter().any(|event| event.kind == "stall").then_some(())
    })
    .await;
    let begin = Instant::now();
    let passed = format!("update jobs set deadline_at = now() where id = '{}'", id.0);
    sqlx::query(AssertSqlSafe(passed)).execute(bench.pool()).await.unwrap();
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.error.unwrap()["code"].as_str()), (JobState::Expired, Some("deadline_exceeded")));
    assert!(begin.elapsed() >= grace, "it was given time to end");
    assert!(fs::exists(told).unwrap(), "it was asked before it was killed");
    bench.cleared().await;
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}
