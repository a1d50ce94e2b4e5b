//! Who gets which job, and that nobody else does.

use std::collections::HashMap;

use futures::StreamExt;
use futures::future::join_all;
use pare::db::jobs::{self, Heartbeat, NewJob, Worker};
use pare::db::{DEFAULT_TENANT, Pool, workers};
use pare::id::{JobId, ModelId};
use serde_json::json;
use uuid::Uuid;

use super::{claim, compress, enqueue, find, let_backoff_pass, logged_states, ready_model, state, succeed, worker};
use crate::support::cluster::database;

async fn tenant(pool: &Pool, name: &str, max_running: i32) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query("insert into tenants (id, name, max_running) values ($1, $2, $3)")
        .bind(id)
        .bind(name)
        .bind(max_running)
        .execute(pool)
        .await
        .unwrap();
    id
}

/// A ready model of another tenant.
async fn model_of(pool: &Pool, tenant: Uuid) -> ModelId {
    let id = ModelId::new();
    sqlx::query(
        "insert into models (id, tenant_id, name, state, header, size_bytes) values ($1, $2, 'm', 'ready', $3, 1)",
    )
    .bind(id.0)
    .bind(tenant)
    .bind(sqlx::types::Json(super::header()))
    .execute(pool)
    .await
    .unwrap();
    id
}

async fn enqueue_for(pool: &Pool, tenant: Uuid, model: ModelId) -> JobId {
    jobs::enqueue(&mut pool.acquire().await.unwrap(), tenant, &compress(model)).await.unwrap().id
}

#[tokio::test]
async fn smaller_priority_goes_first_then_age() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let late = enqueue(&db.pool, &NewJob { priority: 5, ..compress(model) }).await;
    let first = enqueue(&db.pool, &compress(model)).await;
    let second = enqueue(&db.pool, &compress(model)).await;
    let urgent = enqueue(&db.pool, &NewJob { priority: -1, ..compress(model) }).await;
    for expected in [urgent, first, second, late] {
        assert_eq!(claim(&db.pool).await.job.id, expected);
    }
    assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None);
}

#[tokio::test]
async fn tenants_take_turns_however_many_jobs_one_has_queued() {
    let db = database().await;
    let (many, few) = (tenant(&db.pool, "many", 100).await, tenant(&db.pool, "few", 100).await);
    let (model_many, model_few) = (model_of(&db.pool, many).await, model_of(&db.pool, few).await);
    for _ in 0..6 {
        enqueue_for(&db.pool, many, model_many).await;
    }
    for _ in 0..3 {
        enqueue_for(&db.pool, few, model_few).await;
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(claim(&db.pool).await.job.tenant_id);
    }
    assert_eq!(order, [many, few, many, few, many, few]);
}

#[tokio::test]
async fn a_tenant_never_runs_more_than_its_limit() {
    let db = database().await;
    let small = tenant(&db.pool, "small", 2).await;
    let model = model_of(&db.pool, small).await;
    for _ in 0..8 {
        enqueue_for(&db.pool, small, model).await;
    }
    // All at once: a limit that is only counted and not serialized lets more than two through.
    let claims = join_all((0..8).map(|_| async { jobs::claim(&db.pool, &worker()).await.unwrap() })).await;
    let mut held: Vec<_> = claims.into_iter().flatten().collect();
    assert_eq!(held.len(), 2);
    let one = held.pop().unwrap();
    assert!(succeed(&db.pool, one.job.id, one.token).await);
    assert!(jobs::claim(&db.pool, &worker()).await.unwrap().is_some());
    assert!(jobs::claim(&db.pool, &worker()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_claimers_at_once_never_get_the_same_job() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let mut queued = Vec::new();
    for _ in 0..60 {
        queued.push(enqueue(&db.pool, &compress(model)).await);
    }
    let claimers = (0..4).map(|_| {
        let pool = db.pool.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(claimed) = jobs::claim(&pool, &worker()).await.unwrap() {
                mine.push(claimed.job.id);
            }
            mine
        })
    });
    let mut claimed: Vec<JobId> = join_all(claimers).await.into_iter().flat_map(Result::unwrap).collect();
    claimed.sort_unstable();
    queued.sort_unstable();
    assert_eq!(claimed, queued, "each job once, none left out");
}

#[tokio::test]
async fn a_job_goes_only_where_it_fits_and_says_what_it_waits_for() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let big = enqueue(&db.pool, &NewJob { memory_bytes: 2 << 30, ..compress(model) }).await;
    let reason = async |id| find(&db.pool, id).await.waiting_reason;
    assert_eq!(reason(big).await.as_deref(), Some("no_worker"));

    let small = worker();
    beat(&db.pool, &small).await;
    assert_eq!(reason(big).await.as_deref(), Some("no_worker_with_memory"));
    assert_eq!(jobs::claim(&db.pool, &small).await.unwrap(), None);

    let large = Worker { memory_bytes: 4 << 30, ..worker() };
    beat(&db.pool, &large).await;
    assert_eq!(reason(big).await, None, "nothing stands in its way");
    let next = enqueue(&db.pool, &compress(model)).await;
    assert_eq!(reason(next).await.as_deref(), Some("behind"));

    let cuda = enqueue(&db.pool, &NewJob { device: Some("cuda".to_owned()), ..compress(model) }).await;
    assert_eq!(reason(cuda).await.as_deref(), Some("no_worker_with_device"));
    let wide = enqueue(&db.pool, &NewJob { disk_bytes: 2 << 30, ..compress(model) }).await;
    assert_eq!(reason(wide).await.as_deref(), Some("no_worker_with_disk"));

    assert_eq!(jobs::claim(&db.pool, &large).await.unwrap().unwrap().job.id, big);
    sqlx::query("update workers set heartbeat_at = now() - interval '2 minutes'").execute(&db.pool).await.unwrap();
    assert_eq!(reason(next).await.as_deref(), Some("no_worker"), "a silent worker is none");
}

async fn beat(pool: &Pool, worker: &Worker) {
    let beat = workers::Beat {
        id: worker.id,
        host_id: worker.host_id,
        host: "here".to_owned(),
        version: "0".to_owned(),
        memory_bytes: worker.memory_bytes,
        disk_bytes: worker.disk_bytes,
        devices: worker.devices.clone(),
        capabilities: json!({}),
    };
    workers::beat(pool, &beat).await.unwrap();
    let row = workers::list(pool).await.unwrap().into_iter().find(|row| row.beat.id == worker.id).unwrap();
    assert!(row.live && row.beat == beat);
}

#[tokio::test]
async fn a_worker_that_finds_nothing_does_not_wait_for_one_that_claims() {
    let db = database().await;
    let mut other = db.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock($1)").bind(0x7061_7265_0001_i64).execute(&mut *other).await.unwrap();
    // Would hang here if it took the lock to find that the queue is empty.
    assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None);

    let model = super::validating_model(&db.pool).await;
    enqueue(&db.pool, &compress(model)).await;
    sqlx::query("update jobs set run_after = now() + interval '1 hour' where kind = 'validate'")
        .execute(&db.pool)
        .await
        .unwrap();
    assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None, "jobs that nobody may claim yet are nothing");
}

#[tokio::test]
async fn a_late_worker_can_write_nothing() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let id = enqueue(&db.pool, &compress(model)).await;
    let late = claim(&db.pool).await;
    super::let_lease_run_out(&db.pool, id).await;
    assert_eq!(jobs::reap(&db.pool).await.unwrap(), 1);
    let_backoff_pass(&db.pool).await;
    let now = claim(&db.pool).await;
    assert_eq!((now.job.id, now.attempt), (id, 2));
    assert_ne!(now.token, late.token);
    let before = find(&db.pool, id).await;

    let heartbeat = jobs::heartbeat(&db.pool, id, late.token, Some("loading"), Some(&json!({ "done": 1 }))).await;
    assert_eq!(heartbeat.unwrap(), Heartbeat::Lost);
    assert!(!jobs::append_event(&db.pool, id, late.token, "note", &json!({})).await.unwrap());
    assert!(!succeed(&db.pool, id, late.token).await);
    assert_eq!(jobs::crashed(&db.pool, id, late.token).await.unwrap(), jobs::Crash::Lost);
    assert!(!jobs::release(&db.pool, id, late.token).await.unwrap());
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(!jobs::finish_failed(&mut conn, id, late.token, &[]).await.unwrap());
    assert!(!jobs::finish_cancelled(&mut conn, id, late.token).await.unwrap());
    assert!(!jobs::finish_expired(&mut conn, id, late.token).await.unwrap());
    drop(conn);

    assert_eq!(find(&db.pool, id).await, before, "nothing of it arrived");
    assert!(jobs::files(&db.pool, DEFAULT_TENANT, id).await.unwrap().is_empty());
    assert!(succeed(&db.pool, id, now.token).await);
    assert_eq!(logged_states(&db.pool, id).await, ["queued", "running", "queued", "running", "succeeded"]);
}

#[tokio::test]
async fn a_heartbeat_renews_the_lease_and_counts_only_what_is_new() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let id = enqueue(&db.pool, &compress(model)).await;
    let held = claim(&db.pool).await;
    let beat = async |phase, progress| jobs::heartbeat(&db.pool, id, held.token, phase, progress).await.unwrap();
    let good = Heartbeat::Held { cancel_requested: false, deadline_passed: false };
    let progress = json!({ "done": 1, "total": 2, "unit": "sites" });

    let start = find(&db.pool, id).await.revision;
    assert_eq!(beat(None, None).await, good);
    assert_eq!(find(&db.pool, id).await.revision, start, "a heartbeat alone is no change");
    assert_eq!(beat(Some("loading"), Some(&progress)).await, good);
    let job = find(&db.pool, id).await;
    assert_eq!(
        (job.phase.as_deref(), job.progress.as_ref(), job.revision),
        (Some("loading"), Some(&progress), start + 1)
    );
    assert_eq!(beat(Some("loading"), Some(&progress)).await, good);
    assert_eq!(find(&db.pool, id).await.revision, start + 1, "nor is the same again");
    assert_eq!(beat(Some("evaluating"), None).await, good);
    assert_eq!(find(&db.pool, id).await.progress, None, "a new phase starts from nothing");

    // Nobody has taken the job yet, so it goes on.
    super::let_lease_run_out(&db.pool, id).await;
    assert_eq!(beat(None, None).await, good);
    assert_eq!(jobs::reap(&db.pool).await.unwrap(), 0);
    assert_eq!(state(&db.pool, id).await, jobs::JobState::Running);
}

#[tokio::test]
async fn listeners_hear_of_each_change_of_state_and_of_nothing_else() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let mut listener = sqlx::postgres::PgListener::connect_with(&db.pool).await.unwrap();
    listener.listen("pare_jobs").await.unwrap();
    let mut hints = Box::pin(pare::db::listen(db.pool.clone()));
    // Only once the stream listens, which the first hint proves, can it be held to hear every one.
    let waiter = tokio::spawn(async move { hints.next().await });
    let id = enqueue(&db.pool, &compress(model)).await;
    let held = claim(&db.pool).await;
    for done in 0..3 {
        jobs::heartbeat(&db.pool, id, held.token, None, Some(&json!({ "done": done }))).await.unwrap();
    }
    jobs::append_event(&db.pool, id, held.token, "note", &json!({})).await.unwrap();
    assert!(succeed(&db.pool, id, held.token).await);
    for _ in ["queued", "running", "succeeded"] {
        assert_eq!(listener.recv().await.unwrap().payload(), id.0.to_string());
    }
    // A mark of our own behind them: nothing else was said before it.
    sqlx::query("select pg_notify('pare_jobs', 'mark')").execute(&db.pool).await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "mark");

    let ended = async {
        while !waiter.is_finished() {
            jobs::cancel(&db.pool, DEFAULT_TENANT, enqueue(&db.pool, &compress(model)).await).await.unwrap();
        }
        waiter.await.unwrap()
    };
    assert!(ended.await.is_some());
    let counts = sqlx::query_scalar::<_, i64>("select count(*) from jobs").fetch_one(&db.pool).await.unwrap();
    assert!(counts > 1);
}

#[tokio::test]
async fn a_page_of_jobs_is_what_was_asked_for() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let mut ids = HashMap::new();
    for (name, labels) in [("a", json!({ "team": "x" })), ("b", json!({ "team": "y" })), ("c", json!({ "team": "x" }))]
    {
        ids.insert(name, enqueue(&db.pool, &NewJob { labels, ..compress(model) }).await);
    }
    let list = async |filter: jobs::JobFilter| {
        let jobs = jobs::list(&db.pool, DEFAULT_TENANT, &filter).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    let all = jobs::JobFilter { limit: 10, ..jobs::JobFilter::default() };
    assert_eq!(list(all.clone()).await, [ids["c"], ids["b"], ids["a"]], "newest first, and no validate");
    let labelled = jobs::JobFilter { label: Some(("team".to_owned(), "x".to_owned())), ..all.clone() };
    assert_eq!(list(labelled.clone()).await, [ids["c"], ids["a"]]);
    assert_eq!(list(jobs::JobFilter { before: Some(ids["c"].0), ..labelled }).await, [ids["a"]]);
    assert_eq!(list(jobs::JobFilter { limit: 1, ..all.clone() }).await, [ids["c"]]);
    let validate = jobs::JobFilter { kind: Some(jobs::JobKind::Validate), ..all.clone() };
    assert_eq!(list(validate).await.len(), 1);
    let running = jobs::JobFilter { state: Some(jobs::JobState::Running), ..all };
    assert!(list(running).await.is_empty());
    let other = jobs::list(&db.pool, Uuid::now_v7(), &jobs::JobFilter { limit: 10, ..Default::default() }).await;
    assert!(other.unwrap().is_empty(), "another tenant sees none of it");
}
