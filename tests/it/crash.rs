//! What happens to jobs when processes end, do not listen, or outgrow their memory. `faults` has what is broken on purpose.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use pare::db::jobs::{self, JobState};
use pare::db::workers;
use pare::db::{DEFAULT_TENANT, UploadState, datasets};
use pare::worker::{Config, Timing};
use rustix::process::{Signal, kill_process};

use crate::support::cluster::PARE;
use crate::support::worker::{Bench, rows, write_program};

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
