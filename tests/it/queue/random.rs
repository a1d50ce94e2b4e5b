//! Random histories: workers that claim, stall, crash and come late, owners that cancel, deadlines that pass.
//!
//! Two tests over the same operations. The first runs them one by one beside a model of the queue that fits a screen,
//! and compares after each. The second runs several workers' operations at once and checks what must hold however they
//! interleave:
//!
//! - every acknowledged job reaches a terminal state, and none leaves one;
//! - at most one attempt's files are visible, those of the attempt that succeeded;
//! - a job's log is numbered 1, 2, 3, …;
//! - a tenant never runs more jobs than its limit; revisions never shrink.

mod twin;

use std::collections::HashMap;

use futures::future::join_all;
use pare::db::jobs::{self, Job, JobState};
use pare::db::{DEFAULT_TENANT, Pool};
use pare::id::{JobId, ModelId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::runtime::Runtime;
use uuid::Uuid;

use self::twin::Twin;
use super::{compress, enqueue, let_backoff_pass, let_lease_run_out, logged_states, ready_model, succeed, worker};
use crate::support::cluster::{Database, database};

const WORKERS: usize = 3;
const MAX_RUNNING: usize = 2;

/// One thing that happens. Numbers choose a worker, or one of the jobs so far.
#[derive(Debug, Clone, Copy)]
enum Op {
    Enqueue,
    Claim(usize),
    Beat(usize),
    Note(usize),
    Succeed(usize),
    Fail(usize),
    Crash(usize),
    Release(usize),
    Restart(usize),
    Cancel(usize),
    RunOut(usize),
    Late(usize),
    Reap,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Enqueue),
        6 => (0..WORKERS).prop_map(Op::Claim),
        3 => (0..WORKERS).prop_map(Op::Beat),
        2 => (0..WORKERS).prop_map(Op::Note),
        3 => (0..WORKERS).prop_map(Op::Succeed),
        1 => (0..WORKERS).prop_map(Op::Fail),
        2 => (0..WORKERS).prop_map(Op::Crash),
        1 => (0..WORKERS).prop_map(Op::Release),
        1 => (0..WORKERS).prop_map(Op::Restart),
        2 => (0_usize..8).prop_map(Op::Cancel),
        3 => (0_usize..8).prop_map(Op::RunOut),
        1 => (0_usize..8).prop_map(Op::Late),
        3 => Just(Op::Reap),
    ]
}

async fn all(pool: &Pool) -> HashMap<JobId, Job> {
    let filter = jobs::JobFilter { limit: 10_000, ..jobs::JobFilter::default() };
    let rows = jobs::list(pool, DEFAULT_TENANT, &filter).await.unwrap();
    rows.into_iter().map(|job| (job.id, job)).collect()
}

/// Brings what is left to its end, as any living worker would, and checks what must hold then.
async fn finish(pool: &Pool, terminal_before: &HashMap<JobId, JobState>) {
    sqlx::query("update job_leases set lease_expires_at = now() - interval '1 second'").execute(pool).await.unwrap();
    jobs::reap(pool).await.unwrap();
    let_backoff_pass(pool).await;
    while let Some(claimed) = jobs::claim(pool, &worker()).await.unwrap() {
        assert!(succeed(pool, claimed.job.id, claimed.token).await);
    }
    for (id, job) in all(pool).await {
        assert!(job.state.is_terminal(), "{id} stays {}", job.state);
        assert!(terminal_before.get(&id).is_none_or(|state| *state == job.state), "{id} left a terminal state");
        let states = logged_states(pool, id).await;
        assert_eq!(states.last().map(String::as_str), Some(job.state.as_str()));
        let attempts: Vec<i32> = sqlx::query_scalar("select attempt from job_files where job_id = $1")
            .bind(id.0)
            .fetch_all(pool)
            .await
            .unwrap();
        let expected = if job.state == JobState::Succeeded { vec![job.attempt as i32] } else { vec![] };
        assert_eq!(attempts, expected, "the files of the attempt that succeeded, and no others");
    }
}

/// An empty queue, a ready model, and a low limit.
fn prepared() -> (Runtime, Database, ModelId) {
    let runtime = Runtime::new().unwrap();
    let (db, model) = runtime.block_on(async {
        let db = database().await;
        let model = ready_model(&db.pool).await;
        let limit = sqlx::query("update tenants set max_running = $1").bind(MAX_RUNNING as i32);
        limit.execute(&db.pool).await.unwrap();
        (db, model)
    });
    (runtime, db, model)
}

async fn clear(pool: &Pool) {
    sqlx::query("delete from jobs where kind <> 'validate'").execute(pool).await.unwrap();
}

fn runner(cases: u32) -> TestRunner {
    // Histories are shrunk in memory; nothing is written beside the sources.
    TestRunner::new(Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() })
}

#[test]
fn the_queue_behaves_like_its_model() {
    let (runtime, db, model) = prepared();
    let histories = prop::collection::vec(op(), 1..60);
    let result = runner(40).run(&histories, |history| {
        runtime.block_on(async {
            clear(&db.pool).await;
            let mut twin = Twin::new(&db.pool, model);
            for op in history {
                twin.run(op).await;
            }
            let ended = twin.jobs.iter().filter(|job| job.state.is_terminal());
            finish(&db.pool, &ended.map(|job| (job.id, job.state)).collect()).await;
        });
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn no_interleaving_of_workers_breaks_the_queue() {
    let (runtime, db, model) = prepared();
    let scripts = prop::collection::vec(prop::collection::vec(op(), 5..30), WORKERS..=WORKERS);
    let result = runner(24).run(&scripts, |scripts| {
        runtime.block_on(async {
            clear(&db.pool).await;
            let mut ids = Vec::new();
            for _ in 0..6 {
                ids.push(enqueue(&db.pool, &compress(model)).await);
            }
            let tasks = scripts.into_iter().map(|script| {
                let (pool, ids) = (db.pool.clone(), ids.clone());
                tokio::spawn(async move { follow(&pool, model, &ids, &script).await })
            });
            let over = join_all(tasks).await;
            let mut ended = HashMap::new();
            for seen in over {
                ended.extend(seen.unwrap());
            }
            finish(&db.pool, &ended).await;
        });
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// One worker's script, beside others. The jobs that it saw ended.
async fn follow(pool: &Pool, model: ModelId, ids: &[JobId], script: &[Op]) -> HashMap<JobId, JobState> {
    let me = worker();
    let mut held: Option<(JobId, Uuid)> = None;
    let mut ended = HashMap::new();
    for op in script {
        match (*op, held) {
            (Op::Enqueue, _) => drop(enqueue(pool, &compress(model)).await),
            (Op::Claim(_), _) => {
                let_backoff_pass(pool).await;
                let claimed = jobs::claim(pool, &me).await.unwrap();
                held = claimed.map(|claimed| (claimed.job.id, claimed.token)).or(held);
            }
            (Op::Beat(_), Some((id, token))) => {
                jobs::heartbeat(pool, id, token, Some("loading"), None).await.unwrap();
            }
            (Op::Note(_), Some((id, token))) => {
                jobs::append_event(pool, id, token, "note", &json!({})).await.unwrap();
            }
            (Op::Succeed(_), Some((id, token))) => {
                if succeed(pool, id, token).await {
                    ended.insert(id, JobState::Succeeded);
                }
            }
            (Op::Fail(_), Some((id, token))) => {
                let mut tx = pool.begin().await.unwrap();
                if jobs::finish_failed(&mut tx, id, token, &[]).await.unwrap() {
                    ended.insert(id, JobState::Failed);
                }
                tx.commit().await.unwrap();
            }
            (Op::Crash(_), Some((id, token))) => drop(jobs::crashed(pool, id, token).await.unwrap()),
            (Op::Release(_), Some((id, token))) => drop(jobs::release(pool, id, token).await.unwrap()),
            (Op::Restart(_), _) => drop(jobs::release_all_of(pool, me.host_id).await.unwrap()),
            (Op::Cancel(job), _) => {
                let job = jobs::cancel(pool, DEFAULT_TENANT, ids[job % ids.len()]).await.unwrap().unwrap();
                if job.state.is_terminal() {
                    ended.insert(job.id, job.state);
                }
            }
            (Op::RunOut(job), _) => let_lease_run_out(pool, ids[job % ids.len()]).await,
            (Op::Late(_), _) => {
                let running = "select count(*) from jobs where state in ('running', 'cancelling')";
                let running: i64 = sqlx::query_scalar(running).fetch_one(pool).await.unwrap();
                assert!(running <= MAX_RUNNING as i64, "{running} run");
            }
            (Op::Reap, _) => drop(jobs::reap(pool).await.unwrap()),
            (_, None) => {}
        }
    }
    ended
}
