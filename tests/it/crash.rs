//! What happens to jobs when processes die, hang, or outgrow their memory.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pare::db::jobs::{self, JobState};
use pare::db::workers;
use pare::db::{DEFAULT_TENANT, UploadState, datasets};
use pare::worker::{Config, Timing};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::AssertSqlSafe;

use crate::support::cluster::PARE;
use crate::support::worker::{Bench, kill, processes_below, rows, until, write_program};

#[tokio::test]
async fn a_job_is_done_and_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let worker = bench.start(bench.config());
    let id = bench.submit(rows(10)).await;
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 1, 0), "{:?}", job.error);
    let dataset = datasets::find(bench.pool(), DEFAULT_TENANT, job.dataset_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(dataset.state, UploadState::Ready);
    assert_eq!(dataset.summary.unwrap().rows, 10);
    bench.cleared().await;
    worker.stop().await;
    assert_eq!(workers::list(bench.pool()).await.unwrap(), [], "a worker that ended is no worker");
}

#[tokio::test]
async fn what_is_invalid_is_told_as_such() {
    let bench = Bench::new().await;
    let worker = bench.start(bench.config());
    let id = bench.submit("{\"text\": 1}\nnonsense\n").await;
    let job = bench.end_of(id).await;
    let dataset = datasets::find(bench.pool(), DEFAULT_TENANT, job.dataset_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(dataset.state, UploadState::Invalid);
    assert!(!dataset.errors.is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn a_killed_process_is_tried_again_and_a_second_time_is_the_last() {
    let bench = Bench::new().await;
    let gate = bench.gated();
    let worker = bench.start(Config { program: gate.program.clone(), ..bench.config() });

    let lucky = bench.submit(rows(3)).await;
    kill(bench.process(None).await);
    until("the second attempt", async || (bench.job(lucky).await.attempt == 2).then_some(())).await;
    gate.open();
    let job = bench.end_of(lucky).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 2, 1), "{:?}", job.error);
    let events = jobs::events(bench.pool(), lucky, 0, 100).await.unwrap();
    let crash = events.iter().find(|event| event.kind == "crash").expect("the log tells of the crash");
    assert!(crash.body["status"].as_str().unwrap().contains("signal: 9"), "{:?}", crash.body);
    worker.stop().await;

    // Its gate stays shut.
    let bench = Bench::new().await;
    let worker = bench.start(Config { program: bench.gated().program, ..bench.config() });
    let unlucky = bench.submit(rows(3)).await;
    let first = bench.process(None).await;
    kill(first);
    kill(bench.process(Some(first)).await);
    let job = bench.end_of(unlucky).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Failed, 2, 2));
    assert_eq!(job.error.unwrap()["code"], "worker_crashed");
    bench.cleared().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_process_that_outgrows_its_limit_fails_its_job_at_once() {
    let bench = Bench::new().await;
    let limit = 8 << 20;
    let worker = bench.start(Config { memory_bytes: limit, ..bench.config() });
    // A hash a row alone is more than the limit.
    let id = bench.submit(rows(400_000)).await;
    sqlx::query(AssertSqlSafe(format!("update jobs set memory_bytes = 0 where id = '{}'", id.0)))
        .execute(bench.pool())
        .await
        .unwrap();
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Failed, 1, 0), "{:?}", job.error);
    let error = job.error.unwrap();
    assert_eq!(error["code"], "out_of_memory");
    let detail = error["detail"].as_str().unwrap();
    let numbers: Vec<u64> =
        detail.split_whitespace().filter_map(|word| word.trim_end_matches(':').parse().ok()).collect();
    assert!(matches!(numbers[..], [needed, allowed] if needed > allowed && allowed == limit), "{detail}");
    worker.stop().await;
}

#[tokio::test]
async fn an_allocation_that_fails_counts_as_too_much_memory() {
    let bench = Bench::new().await;
    let program = bench.folder.path().join("allocates");
    write_program(&program, "#!/bin/sh\necho 'memory allocation of 999999999999 bytes failed' >&2\nkill -ABRT $$\n");
    let worker = bench.start(Config { program, ..bench.config() });
    let id = bench.submit(rows(1)).await;
    let error = bench.end_of(id).await.error.unwrap();
    assert_eq!(error["code"], "out_of_memory");
    assert!(error["detail"].as_str().unwrap().contains("999999999999"), "{error}");
    worker.stop().await;
}

#[tokio::test]
async fn a_running_job_is_cancelled_even_if_its_process_does_not_listen() {
    let bench = Bench::new().await;
    let program = bench.folder.path().join("stubborn");
    write_program(&program, "#!/bin/sh\ntrap '' TERM\nwhile :; do /bin/sleep 0.05; done\n");
    let worker = bench.start(Config { program, ..bench.config() });
    let id = bench.submit(rows(1)).await;
    bench.process(None).await;
    jobs::cancel(bench.pool(), DEFAULT_TENANT, id).await.unwrap().unwrap();
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.crashes), (JobState::Cancelled, 0));
    bench.cleared().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_job_ends_with_its_deadline() {
    let bench = Bench::new().await;
    let worker = bench.start(Config { program: bench.gated().program, ..bench.config() });
    let id = bench.submit(rows(1)).await;
    bench.process(None).await;
    sqlx::query(AssertSqlSafe(format!("update jobs set deadline_at = now() where id = '{}'", id.0)))
        .execute(bench.pool())
        .await
        .unwrap();
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.error.unwrap()["code"].as_str()), (JobState::Expired, Some("deadline_exceeded")));
    bench.cleared().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_ends_gives_its_job_back_uncounted() {
    let bench = Bench::new().await;
    let gate = bench.gated();
    let worker = bench.start(Config { program: gate.program.clone(), ..bench.config() });
    let id = bench.submit(rows(1)).await;
    bench.process(None).await;
    worker.stop().await;
    let job = bench.job(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Queued, 0, 0));
    bench.cleared().await;
    let worker = bench.start(bench.config());
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 1));
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_was_taken_away_is_dropped_and_not_written_to() {
    let bench = Bench::new().await;
    let worker = bench.start(Config { program: bench.gated().program, ..bench.config() });
    let id = bench.submit(rows(1)).await;
    bench.process(None).await;
    // As if another worker had it now.
    for table in
        ["update jobs set lease_token = $1 where id = $2", "update job_leases set token = $1 where job_id = $2"]
    {
        sqlx::query(table).bind(uuid::Uuid::nil()).bind(id.0).execute(bench.pool()).await.unwrap();
    }
    let before = bench.job(id).await;
    bench.cleared().await;
    worker.stop().await;
    let after = bench.job(id).await;
    assert_eq!((after.state, after.attempt, after.revision), (JobState::Running, 1, before.revision));
}

#[tokio::test]
async fn a_lease_that_can_not_be_renewed_is_not_trusted_for_long() {
    let bench = Bench::new().await;
    let timing = Timing { trust: Duration::from_millis(700), ..bench.config().timing };
    let worker = bench.start(Config { program: bench.gated().program, timing, ..bench.config() });
    let id = bench.submit(rows(1)).await;
    bench.process(None).await;
    // Whoever renews waits for this lock.
    let mut lock = bench.pool().begin().await.unwrap();
    sqlx::query("lock table job_leases in exclusive mode").execute(&mut *lock).await.unwrap();
    bench.cleared().await;
    lock.rollback().await.unwrap();
    assert_eq!(bench.job(id).await.state, JobState::Running, "only time gives it back");
    worker.stop().await;
}

#[tokio::test]
async fn a_jobs_process_has_no_environment_and_no_descriptor_of_ours() {
    let bench = Bench::new().await;
    let worker = bench.start(bench.config());
    let _canary = fs::File::open(PARE).unwrap();
    let id = bench.submit(rows(300_000)).await;
    // The program itself, as soon as it is there; held still while we look.
    let pid = bench.process(None).await;
    kill_process(pid, Signal::STOP).unwrap();
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap();
    assert_eq!(environment, b"RAYON_NUM_THREADS=1\0");
    // What a shell handed this process open, it hands on; all that is ours closes itself.
    let ours: HashSet<_> =
        descriptors("self").into_iter().filter(|(n, _)| closes_itself(*n)).map(|(_, target)| target).collect();
    for (number, target) in descriptors(&pid.as_raw_nonzero().to_string()) {
        if number < 3 {
            assert!(target.starts_with("pipe:"), "{number} is {target}");
        } else {
            // One anonymous inode serves every epoll and eventfd of the machine.
            assert!(
                target.starts_with("anon_inode:") || !ours.contains(&target),
                "{number} is {target}, which is ours"
            );
        }
    }
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let group = status.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap().to_owned();
    assert_eq!(group, pid.as_raw_nonzero().to_string(), "it leads a group of its own");
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(bench.end_of(id).await.state, JobState::Succeeded);
    worker.stop().await;
}

/// Whether one of our descriptors has `O_CLOEXEC`.
fn closes_itself(number: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default().trim();
    u32::from_str_radix(flags, 8).is_ok_and(|flags| flags & 0o2_000_000 != 0)
}

fn descriptors(pid: &str) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
            Some((path.file_name()?.to_str()?.parse().ok()?, target))
        })
        .collect()
}

/// The real program, killed when a test fails.
struct Program(Child);

impl Program {
    fn start(bench: &Bench, arguments: &[&str]) -> Self {
        let state = bench.folder.path().join("store");
        let mut command = Command::new(PARE);
        command.args(arguments).arg("--state-dir").arg(state).args(["--memory-limit", "1GiB", "--log", "warn"]);
        Self(command.env("DATABASE_URL", &bench.database.url).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn server(bench: &Bench) -> Self {
        let mut server = Self::start(bench, &["serve", "--listen", "127.0.0.1:0"]);
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
        server
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_that_is_killed_loses_no_job() {
    let bench = Bench::new().await;
    let scratch = bench.folder.path().join("store/scratch");
    let server = Program::server(&bench);
    let id = bench.submit(rows(300_000)).await;
    let process = until("a job's process", async || processes_below(&scratch).pop()).await;
    // Held still, so that the job can't end before its server does.
    kill_process(process, Signal::STOP).unwrap();
    drop(server);
    until("the end of the job's process", async || processes_below(&scratch).is_empty().then_some(())).await;
    assert_eq!(bench.job(id).await.state, JobState::Running, "nobody could say that it is not");

    let mut server = Program::server(&bench);
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 2, 0), "{:?}", job.error);
    server.signal(Signal::TERM);
    assert!(server.0.wait().unwrap().success());
}

#[tokio::test]
async fn a_worker_that_was_paused_and_replaced_publishes_nothing() {
    let bench = Bench::new().await;
    let store = format!("file://{}", bench.folder.path().join("store").display());
    let scratch = bench.folder.path().join("store/scratch");
    let paused = Program::start(&bench, &["work", "--store-url", &store]);
    let id = bench.submit(rows(300_000)).await;
    until("a job's process", async || processes_below(&scratch).pop()).await;
    paused.signal(Signal::STOP);
    // Its process does its work meanwhile, and waits to be heard.
    sqlx::query("update job_leases set lease_expires_at = now() - interval '1 second'")
        .execute(bench.pool())
        .await
        .unwrap();

    let worker = bench.start(bench.config());
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", job.error);
    worker.stop().await;

    paused.signal(Signal::CONT);
    until("the late worker's giving up", async || (fs::read_dir(&scratch).unwrap().count() == 0).then_some(())).await;
    assert_eq!(bench.job(id).await, job, "what was told stays");
    let attempts = jobs::attempts(bench.pool(), id).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("lost"), Some("succeeded")]);
}
