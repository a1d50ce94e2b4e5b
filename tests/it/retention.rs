//! What a retention deletes, and what it spares.

use pare::db::jobs::{self, JobKind, NewJob, NewJobFile};
use pare::db::models::{NewModel, files};
use pare::db::{DEFAULT_TENANT, NewFile, blobs, models};
use pare::id::{JobId, ModelId};
use pare::store::{Digest, Stored};
use pare::worker::Config;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::worker::{Bench, until};

const OTHER: Uuid = Uuid::from_u128(2);

async fn run(bench: &Bench, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(bench.pool()).await.unwrap();
}

async fn blob(bench: &Bench, bytes: &'static [u8]) -> Stored {
    let mut staged = bench.store.writer().await.unwrap();
    staged.write(bytes.into()).await.unwrap();
    staged.finish().await.unwrap()
}

async fn model(bench: &Bench, tenant: Uuid, bytes: &'static [u8], source: Option<JobId>) -> ModelId {
    let stored = blob(bench, bytes).await;
    let file = NewFile { path: "w".into(), sha256: stored.digest.to_string(), size_bytes: stored.size_bytes };
    let new = NewModel { name: "m".into(), files: vec![file], source_job_id: source };
    models::insert(bench.pool(), tenant, &new).await.unwrap().id
}

/// A job that ended so many days ago, and was submitted a year ago.
async fn ended(bench: &Bench, tenant: Uuid, days: u32, left: &'static [u8]) -> JobId {
    let stored = blob(bench, left).await;
    let model_id = Some(model(bench, tenant, b"original", None).await);
    let mut tx = bench.pool().begin().await.unwrap();
    let new = NewJob { model_id, recipe_name: Some("int8".into()), ..NewJob::default() };
    let id = jobs::enqueue(&mut tx, tenant, &new).await.unwrap().id;
    blobs::insert(&mut tx, &stored.digest.to_string(), stored.size_bytes).await.unwrap();
    tx.commit().await.unwrap();
    run(
        bench,
        format!(
            "update jobs set state = 'succeeded', started_at = now(), created_at = now() - interval '1 year',
                finished_at = now() - interval '{days} days' where id = '{}'",
            id.0
        ),
    )
    .await;
    let file = artifact(&stored);
    run(
        bench,
        format!(
            "insert into job_files (id, tenant_id, job_id, attempt, role, path, format, sha256, size_bytes)
            values (gen_random_uuid(), '{tenant}', '{}', 1, 'artifact', '{}', 'bin', decode('{}', 'hex'), {})",
            id.0, file.path, file.sha256, file.size_bytes
        ),
    )
    .await;
    id
}

fn artifact(stored: &Stored) -> NewJobFile {
    NewJobFile {
        role: "artifact".into(),
        path: "w".into(),
        format: "bin".into(),
        sha256: stored.digest.to_string(),
        size_bytes: stored.size_bytes,
        loaders: Vec::new(),
    }
}

async fn is_there(bench: &Bench, tenant: Uuid, id: JobId) -> bool {
    jobs::find(bench.pool(), tenant, id).await.unwrap().is_some()
}

#[tokio::test]
async fn old_results_of_every_tenant_go_and_what_was_made_of_them_stays() {
    let bench = Bench::new().await;
    run(&bench, format!("insert into tenants (id, name) values ('{OTHER}', 'other')")).await;
    let old = ended(&bench, DEFAULT_TENANT, 8, b"old result").await;
    let foreign = ended(&bench, OTHER, 8, b"foreign result").await;
    let young = ended(&bench, DEFAULT_TENANT, 6, b"young result").await;
    let source = ended(&bench, DEFAULT_TENANT, 8, b"source of an export").await;
    let made_of = ended(&bench, OTHER, 8, b"kept as a model").await;
    let made = model(&bench, OTHER, b"kept as a model", Some(made_of)).await;
    let mut tx = bench.pool().begin().await.unwrap();
    let export =
        NewJob { kind: JobKind::Export, source_job_id: Some(source), memory_bytes: 1 << 60, ..NewJob::default() };
    let export = jobs::enqueue(&mut tx, DEFAULT_TENANT, &export).await.unwrap().id;
    tx.commit().await.unwrap();
    // validations must not be what this worker is busy with; blobs must be old enough to be collected
    run(&bench, "update jobs set memory_bytes = 1::bigint << 60 where state = 'queued'".to_owned()).await;
    run(&bench, "update blobs set published_at = now() - interval '2 days'".to_owned()).await;

    let worker = bench.start(Config { retention_days: Some(7), ..bench.config() });
    let gone = [(DEFAULT_TENANT, old), (OTHER, foreign), (OTHER, made_of)];
    for (tenant, id) in gone {
        until("an old job's end", async || (!is_there(&bench, tenant, id).await).then_some(())).await;
    }
    let bytes = [b"old result".as_slice(), b"foreign result"].map(Digest::of);
    for digest in bytes {
        until("the blob's end", async || bench.store.size_bytes(&digest).await.is_err().then_some(())).await;
    }
    worker.stop().await;
    assert!(is_there(&bench, DEFAULT_TENANT, young).await, "it ended six days ago, however long ago it was submitted");
    assert!(is_there(&bench, DEFAULT_TENANT, source).await, "a job that waits works on its result");
    assert!(is_there(&bench, DEFAULT_TENANT, export).await);
    let kept = models::find(bench.pool(), OTHER, made).await.unwrap().unwrap();
    assert_eq!((kept.source_job_id, files(bench.pool(), made).await.unwrap().len()), (None, 1));
    for bytes in [b"kept as a model".as_slice(), b"young result", b"source of an export", b"original"] {
        assert_eq!(bench.store.size_bytes(&Digest::of(bytes)).await.unwrap(), bytes.len() as u64);
    }
}

#[tokio::test]
async fn many_old_jobs_go_in_one_round() {
    let bench = Bench::new().await;
    let one = ended(&bench, DEFAULT_TENANT, 8, b"x").await;
    let copy = format!(
        "insert into jobs (id, tenant_id, kind, state, model_id, recipe_name, deadline_at, started_at, finished_at)
        select gen_random_uuid(), tenant_id, kind, state, model_id, recipe_name, deadline_at, started_at, finished_at
        from jobs, generate_series(1, 250) where id = '{}'",
        one.0
    );
    run(&bench, copy).await;
    let mut deleted = Vec::new();
    loop {
        let count = jobs::delete_ended(bench.pool(), 7, 100).await.unwrap();
        deleted.push(count);
        if count == 0 {
            break;
        }
    }
    assert_eq!(deleted, [100, 100, 51, 0]);
}
