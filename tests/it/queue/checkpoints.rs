//! The rows of what a job has left on its way.

use pare::db::jobs::{self, Checkpoint, NewCheckpoint};
use pare::db::{DEFAULT_TENANT, FileRow, NewFile, Pool, blobs};
use pare::engine::problem::{Code, Problem};
use pare::id::JobId;
use serde_json::json;
use uuid::Uuid;

use super::{
    artifact, claim, compress, enqueue, find, let_backoff_pass, let_deadline_pass, let_lease_run_out, ready_model,
    sha256, succeed,
};
use crate::support::cluster::database;

/// Files by name and number.
fn step(step: u64, files: &[(&str, u8)]) -> NewCheckpoint {
    let file = |(path, n): &(&str, u8)| NewFile { path: (*path).to_owned(), sha256: sha256(*n), size_bytes: 5 };
    NewCheckpoint { step, key: sha256(99), files: files.iter().map(file).collect() }
}

async fn keep(pool: &Pool, id: JobId, token: Uuid, new: &NewCheckpoint) -> bool {
    let mut tx = pool.begin().await.unwrap();
    let held = jobs::keep_checkpoint(&mut tx, id, token, new).await.unwrap();
    tx.commit().await.unwrap();
    held
}

/// The step and the files that the next attempt would be given.
async fn kept(pool: &Pool, id: JobId) -> Option<(u64, Vec<(String, String)>)> {
    let Checkpoint { step, key, files } = jobs::checkpoint(pool, id).await.unwrap()?;
    assert_eq!(key, sha256(99));
    let name = |FileRow { path, sha256, size_bytes }| {
        assert_eq!(size_bytes, 5);
        (path, sha256)
    };
    Some((step, files.into_iter().map(name).collect()))
}

fn named(files: &[(&str, u8)]) -> Vec<(String, String)> {
    files.iter().map(|(path, n)| ((*path).to_owned(), sha256(*n))).collect()
}

async fn count(pool: &Pool, table: &str) -> i64 {
    let query = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn the_newest_is_the_one_that_is_there() {
    let db = database().await;
    let id = enqueue(&db.pool, &compress(ready_model(&db.pool).await)).await;
    let held = claim(&db.pool).await;
    assert_eq!(kept(&db.pool, id).await, None);
    assert!(keep(&db.pool, id, held.token, &step(1, &[("a", 11), ("b", 12)])).await);
    assert_eq!(kept(&db.pool, id).await, Some((1, named(&[("a", 11), ("b", 12)]))));
    let before = jobs::files(&db.pool, DEFAULT_TENANT, id).await.unwrap();
    assert!(keep(&db.pool, id, held.token, &step(2, &[("b", 12), ("c", 13)])).await);
    assert_eq!(kept(&db.pool, id).await, Some((2, named(&[("b", 12), ("c", 13)]))));
    let after = jobs::files(&db.pool, DEFAULT_TENANT, id).await.unwrap();
    assert_eq!(after[0], before[1], "what stays is not written again");
    assert!(keep(&db.pool, id, held.token, &step(3, &[("b", 14)])).await);
    assert_eq!(kept(&db.pool, id).await, Some((3, named(&[("b", 14)]))), "other bytes under the same name");
    let events = jobs::events(&db.pool, id, 0, 100).await.unwrap();
    let steps: Vec<_> = events.into_iter().filter(|line| line.kind == "checkpoint").map(|line| line.body).collect();
    let line = |step, files, size| json!({"step": step, "files": files, "size_bytes": size});
    assert_eq!(steps, [line(1, 2, 10), line(2, 2, 10), line(3, 1, 5)]);
    assert!(keep(&db.pool, id, held.token, &step(4, &[])).await);
    assert_eq!(kept(&db.pool, id).await, None, "no files are nothing to go on from");
}

#[tokio::test]
async fn whoever_lost_the_job_changes_nothing() {
    let db = database().await;
    let id = enqueue(&db.pool, &compress(ready_model(&db.pool).await)).await;
    let late = claim(&db.pool).await;
    assert!(keep(&db.pool, id, late.token, &step(1, &[("a", 11)])).await);
    let_lease_run_out(&db.pool, id).await;
    assert_eq!(jobs::reap(&db.pool).await.unwrap(), 1);
    assert!(!keep(&db.pool, id, late.token, &step(2, &[("b", 12)])).await, "nobody's");
    let_backoff_pass(&db.pool).await;
    let held = claim(&db.pool).await;
    assert!(!keep(&db.pool, id, late.token, &step(2, &[("b", 12)])).await, "another's");
    assert_eq!(kept(&db.pool, id).await, Some((1, named(&[("a", 11)]))));
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(!blobs::exists(&mut conn, &sha256(12)).await.unwrap(), "nor is a blob told of");
    let lines = jobs::events(&db.pool, id, 0, 100).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.kind == "checkpoint").count(), 1);
    assert!(keep(&db.pool, id, held.token, &step(2, &[("a", 11), ("b", 12)])).await);
    assert_eq!(kept(&db.pool, id).await, Some((2, named(&[("a", 11), ("b", 12)]))));
}

/// Every way in which a job can end.
#[tokio::test]
async fn it_goes_with_the_job_whatever_its_end_is() {
    let db = database().await;
    let pool = &db.pool;
    let model = ready_model(pool).await;
    let problems = [Problem::new("", Code::Internal, "so")];
    let ends =
        ["succeeded", "failed", "crashed", "cancelled", "expired", "cancelled in the queue", "expired in the queue"];
    for end in ends {
        let id = enqueue(pool, &compress(model)).await;
        let mut token = claim(pool).await.token;
        assert!(keep(pool, id, token, &step(1, &[("a", 11), ("b", 12)])).await);
        assert!(jobs::release(pool, id, token).await.unwrap());
        assert!(kept(pool, id).await.is_some(), "a job that comes back keeps it");
        if !end.ends_with("queue") {
            token = claim(pool).await.token;
        }
        let mut tx = pool.begin().await.unwrap();
        match end {
            "succeeded" => assert!(succeed(pool, id, token).await),
            "failed" => assert!(jobs::finish_failed(&mut tx, id, token, &problems).await.unwrap()),
            "crashed" => {
                assert_eq!(jobs::crashed(pool, id, token).await.unwrap(), jobs::Crash::Requeued);
                assert!(kept(pool, id).await.is_some());
                token = claim(pool).await.token;
                assert_eq!(jobs::crashed(pool, id, token).await.unwrap(), jobs::Crash::Failed);
            }
            "cancelled" => {
                jobs::cancel(pool, DEFAULT_TENANT, id).await.unwrap();
                assert!(kept(pool, id).await.is_some(), "it runs still");
                assert!(jobs::finish_cancelled(&mut tx, id, token).await.unwrap());
            }
            "expired" => {
                let_deadline_pass(pool, id).await;
                assert!(jobs::finish_expired(&mut tx, id, token).await.unwrap());
            }
            "cancelled in the queue" => drop(jobs::cancel(pool, DEFAULT_TENANT, id).await.unwrap()),
            _ => {
                let_deadline_pass(pool, id).await;
                assert_eq!(jobs::reap(pool).await.unwrap(), 1);
            }
        }
        tx.commit().await.unwrap();
        assert!(find(pool, id).await.state.is_terminal(), "{end}");
        assert_eq!(kept(pool, id).await, None, "{end}");
        assert_eq!(count(pool, "job_checkpoints").await, 0, "{end}");
        assert_eq!(count(pool, "job_files where role = 'checkpoint'").await, 0, "{end}");
    }
    let kept = jobs::files(pool, DEFAULT_TENANT, first(pool).await).await.unwrap();
    assert_eq!(kept.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), [artifact("model.safetensors", 2).path]);
    let mut conn = pool.acquire().await.unwrap();
    let dead = blobs::list_unreferenced(&mut conn, 0.0, 10).await.unwrap();
    let mut dead: Vec<String> = dead.into_iter().map(|blob| blob.sha256).collect();
    dead.sort();
    assert_eq!(dead, [sha256(11), sha256(12)], "its blobs are collected in time");
}

/// The job that succeeded.
async fn first(pool: &Pool) -> JobId {
    let query = "select id from jobs where state = 'succeeded' and kind = 'compress'";
    JobId(sqlx::query_scalar(query).fetch_one(pool).await.unwrap())
}
