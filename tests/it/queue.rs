//! The queue, against a real Postgres.

mod checkpoints;
mod claiming;
mod ending;
mod inputs;
mod random;

use pare::db::jobs::{self, Claimed, Job, JobState, NewJob, Worker};
use pare::db::{DEFAULT_TENANT, NewFile, Pool, models};
use pare::engine::model::{Dtype, ModelHeader, Support};
use pare::id::{JobId, ModelId};
use serde_json::json;
use uuid::Uuid;

/// A worker with room for everything that these tests queue.
pub(crate) fn worker() -> Worker {
    Worker {
        id: Uuid::now_v7(),
        host_id: Uuid::now_v7(),
        memory_bytes: 1 << 30,
        disk_bytes: 1 << 30,
        devices: vec!["cpu".to_owned()],
    }
}

/// The hash of no file in particular.
pub(crate) fn sha256(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

pub(crate) fn header() -> ModelHeader {
    ModelHeader {
        support: Support::Full,
        family: Some("bert".to_owned()),
        architecture: None,
        spec: None,
        tensors: Vec::new(),
        sites: Vec::new(),
        parameters: 7,
        dtype: Dtype::F32,
        size_bytes: 28,
        files: Vec::new(),
        has_tokenizer: true,
    }
}

/// A model that is still to be checked, with the job that does so in the queue.
pub(crate) async fn validating_model(pool: &Pool) -> ModelId {
    let files = vec![NewFile { path: "model.safetensors".to_owned(), sha256: sha256(1), size_bytes: 28 }];
    let new = models::NewModel { name: "small".to_owned(), files, source_job_id: None };
    models::insert(pool, DEFAULT_TENANT, &new).await.unwrap().id
}

/// A model that was checked; the queue is as empty as before.
pub(crate) async fn ready_model(pool: &Pool) -> ModelId {
    let id = validating_model(pool).await;
    let claimed = claim(pool).await;
    assert_eq!(claimed.job.model_id, Some(id), "the queue was not empty");
    let mut tx = pool.begin().await.unwrap();
    assert!(models::finish(&mut tx, id, &header()).await.unwrap());
    assert!(jobs::finish_succeeded(&mut tx, claimed.job.id, claimed.token, &[], None).await.unwrap());
    tx.commit().await.unwrap();
    id
}

/// What a client would submit.
pub(crate) fn compress(model: ModelId) -> NewJob {
    NewJob { model_id: Some(model), recipe_name: Some("int8".to_owned()), ..NewJob::default() }
}

pub(crate) async fn enqueue(pool: &Pool, new: &NewJob) -> JobId {
    jobs::enqueue(&mut pool.acquire().await.unwrap(), DEFAULT_TENANT, new).await.unwrap().id
}

/// Claims as some worker, and finds a job.
pub(crate) async fn claim(pool: &Pool) -> Claimed {
    jobs::claim(pool, &worker()).await.unwrap().unwrap()
}

pub(crate) async fn find(pool: &Pool, id: JobId) -> Job {
    jobs::find(pool, DEFAULT_TENANT, id).await.unwrap().unwrap()
}

pub(crate) async fn state(pool: &Pool, id: JobId) -> JobState {
    find(pool, id).await.state
}

/// A minute passes without a heartbeat.
pub(crate) async fn let_lease_run_out(pool: &Pool, id: JobId) {
    sqlx::query("update job_leases set lease_expires_at = now() - interval '1 second' where job_id = $1")
        .bind(id.0)
        .execute(pool)
        .await
        .unwrap();
}

/// The deadline comes.
pub(crate) async fn let_deadline_pass(pool: &Pool, id: JobId) {
    sqlx::query("update jobs set deadline_at = now() - interval '1 second' where id = $1")
        .bind(id.0)
        .execute(pool)
        .await
        .unwrap();
}

/// Every back-off is over.
pub(crate) async fn let_backoff_pass(pool: &Pool) {
    sqlx::query("update jobs set run_after = now() where state = 'queued' and run_after > now()")
        .execute(pool)
        .await
        .unwrap();
}

/// A job's log: its numbers must be 1, 2, 3, …; what they say of its state.
pub(crate) async fn logged_states(pool: &Pool, id: JobId) -> Vec<String> {
    let events = jobs::events(pool, id, 0, 10_000).await.unwrap();
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event.seq, expected, "the log has a gap or a number twice");
    }
    let states = events.iter().filter(|event| event.kind == "state");
    states.filter_map(|event| event.body.get("state")?.as_str().map(str::to_owned)).collect()
}

/// A file that a job might leave.
pub(crate) fn artifact(path: &str, n: u8) -> jobs::NewJobFile {
    jobs::NewJobFile {
        role: "artifact".to_owned(),
        path: path.to_owned(),
        format: "safetensors".to_owned(),
        sha256: sha256(n),
        size_bytes: 9,
        loaders: vec!["transformers".to_owned()],
    }
}

/// Ends a job as done, with one file and a report.
pub(crate) async fn succeed(pool: &Pool, id: JobId, token: Uuid) -> bool {
    let mut tx = pool.begin().await.unwrap();
    let report = json!({ "version": 1 });
    let done = jobs::finish_succeeded(&mut tx, id, token, &[artifact("model.safetensors", 2)], Some(&report)).await;
    let done = done.unwrap();
    if done {
        tx.commit().await.unwrap();
    }
    done
}
