//! How jobs end, and how they come back.

use chrono::{DateTime, TimeDelta, Utc};
use pare::db::jobs::{self, Crash, Heartbeat, JobState};
use pare::db::{Conflict, DEFAULT_TENANT, Error, Pool};
use pare::engine::problem::{Code, Problem};
use pare::id::JobId;
use serde_json::{Value, json};

use super::{
    artifact, claim, compress, enqueue, find, let_backoff_pass, let_deadline_pass, let_lease_run_out, logged_states,
    ready_model, state, succeed, worker,
};
use crate::support::cluster::database;

async fn running(pool: &Pool) -> (JobId, jobs::Claimed) {
    let model = ready_model(pool).await;
    let id = enqueue(pool, &compress(model)).await;
    let held = claim(pool).await;
    assert_eq!(held.job.id, id);
    (id, held)
}

async fn outcomes(pool: &Pool, id: JobId) -> Vec<Option<String>> {
    jobs::attempts(pool, id).await.unwrap().into_iter().map(|attempt| attempt.outcome).collect()
}

#[tokio::test]
async fn files_report_and_state_become_visible_together_or_not_at_all() {
    let db = database().await;
    let (id, held) = running(&db.pool).await;
    let files = [artifact("model.safetensors", 3), artifact("config.json", 4)];
    let report = json!({ "version": 1, "result": { "b": 1, "a": 0.1 } });

    let mut tx = db.pool.begin().await.unwrap();
    assert!(jobs::finish_succeeded(&mut tx, id, held.token, &files, Some(&report)).await.unwrap());
    assert_eq!(state(&db.pool, id).await, JobState::Running, "others see nothing before the commit");
    assert!(jobs::files(&db.pool, DEFAULT_TENANT, id).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
    let beat = jobs::heartbeat(&db.pool, id, held.token, None, None).await.unwrap();
    assert_ne!(beat, Heartbeat::Lost, "and after a rollback the job is still held");

    let mut tx = db.pool.begin().await.unwrap();
    assert!(jobs::finish_succeeded(&mut tx, id, held.token, &files, Some(&report)).await.unwrap());
    tx.commit().await.unwrap();
    let stored = jobs::files(&db.pool, DEFAULT_TENANT, id).await.unwrap();
    assert_eq!(stored.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["config.json", "model.safetensors"]);
    assert_eq!(stored[1].sha256, super::sha256(3));
    assert_eq!(jobs::file(&db.pool, DEFAULT_TENANT, stored[1].id).await.unwrap().as_ref(), Some(&stored[1]));
    let read = jobs::report(&db.pool, DEFAULT_TENANT, id).await.unwrap().unwrap();
    assert_eq!(read, report);
    let written: String =
        sqlx::query_scalar("select report::text from jobs where id = $1").bind(id).fetch_one(&db.pool).await.unwrap();
    assert_eq!(written, report.to_string(), "kept as written, to the byte");
    assert_eq!(outcomes(&db.pool, id).await, [Some("succeeded".to_owned())]);
    assert!(!succeed(&db.pool, id, held.token).await, "only once");
}

#[tokio::test]
async fn the_second_crash_fails_a_job_and_lost_leases_do_not_count() {
    let db = database().await;
    let (id, held) = running(&db.pool).await;
    assert_eq!(jobs::crashed(&db.pool, id, held.token).await.unwrap(), Crash::Requeued);
    for lost in 0..3 {
        let_backoff_pass(&db.pool).await;
        claim(&db.pool).await;
        let_lease_run_out(&db.pool, id).await;
        assert_eq!(jobs::reap(&db.pool).await.unwrap(), 1, "lease {lost}");
        assert_eq!(find(&db.pool, id).await.crashes, 1);
    }
    let_backoff_pass(&db.pool).await;
    let held = claim(&db.pool).await;
    assert_eq!(held.attempt, 5);
    assert_eq!(jobs::crashed(&db.pool, id, held.token).await.unwrap(), Crash::Failed);
    let job = find(&db.pool, id).await;
    assert_eq!((job.state, job.crashes), (JobState::Failed, 2));
    assert_eq!(job.error.unwrap()["code"], "worker_crashed");
    let expected = ["crashed", "lost", "lost", "lost", "failed"].map(|outcome| Some(outcome.to_owned()));
    assert_eq!(outcomes(&db.pool, id).await, expected);
}

#[tokio::test]
async fn each_lost_lease_waits_twice_as_long_up_to_five_minutes() {
    let db = database().await;
    let (id, _) = running(&db.pool).await;
    let mut pauses = Vec::new();
    for _ in 0..11 {
        let_lease_run_out(&db.pool, id).await;
        jobs::reap(&db.pool).await.unwrap();
        let job = find(&db.pool, id).await;
        let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&db.pool).await.unwrap();
        // The transaction that set it began a little earlier: round up.
        let pause: TimeDelta = job.run_after - now;
        pauses.push((pause.num_milliseconds() + 999) / 1000);
        let expected = if pause > TimeDelta::zero() { Some("backoff") } else { None };
        assert!(job.waiting_reason.as_deref() == expected || job.waiting_reason.as_deref() == Some("no_worker"));
        assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None, "not before its time");
        let_backoff_pass(&db.pool).await;
        claim(&db.pool).await;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[tokio::test]
async fn a_released_job_has_its_attempt_back_and_runs_at_once() {
    let db = database().await;
    let (id, held) = running(&db.pool).await;
    assert!(jobs::release(&db.pool, id, held.token).await.unwrap());
    let job = find(&db.pool, id).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
    let again = claim(&db.pool).await;
    assert_eq!((again.job.id, again.attempt), (id, 1));
    assert_eq!(outcomes(&db.pool, id).await, [None]);
}

#[tokio::test]
async fn a_host_that_starts_again_gets_its_own_jobs_back_at_once_and_no_others() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let (mine, theirs) = (worker(), worker());
    let mut held = Vec::new();
    for owner in [&mine, &mine, &theirs] {
        let id = enqueue(&db.pool, &compress(model)).await;
        assert_eq!(jobs::claim(&db.pool, owner).await.unwrap().unwrap().job.id, id);
        held.push(id);
    }
    jobs::cancel(&db.pool, DEFAULT_TENANT, held[1]).await.unwrap();
    assert_eq!(jobs::release_all_of(&db.pool, mine.host_id).await.unwrap(), 2);
    assert_eq!(state(&db.pool, held[0]).await, JobState::Queued);
    assert_eq!(state(&db.pool, held[1]).await, JobState::Cancelled, "it had been asked to stop");
    assert_eq!(state(&db.pool, held[2]).await, JobState::Running);
    assert_eq!(claim(&db.pool).await.job.id, held[0], "without a pause");
}

#[tokio::test]
async fn cancel_does_what_each_state_asks_for() {
    let db = database().await;
    let cancel = async |id| jobs::cancel(&db.pool, DEFAULT_TENANT, id).await.unwrap().unwrap();
    let model = ready_model(&db.pool).await;

    let queued = enqueue(&db.pool, &compress(model)).await;
    assert_eq!(cancel(queued).await.state, JobState::Cancelled);
    let once = find(&db.pool, queued).await;
    assert_eq!(cancel(queued).await, once, "again changes nothing");
    assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None);

    let id = enqueue(&db.pool, &compress(model)).await;
    let held = claim(&db.pool).await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(!jobs::finish_cancelled(&mut conn, id, held.token).await.unwrap(), "nobody asked");
    assert_eq!(cancel(id).await.state, JobState::Cancelling);
    let beat = jobs::heartbeat(&db.pool, id, held.token, None, None).await.unwrap();
    assert_eq!(beat, Heartbeat::Held { cancel_requested: true, deadline_passed: false });
    assert!(jobs::finish_cancelled(&mut conn, id, held.token).await.unwrap());
    assert_eq!(state(&db.pool, id).await, JobState::Cancelled);
    assert_eq!(logged_states(&db.pool, id).await, ["queued", "running", "cancelling", "cancelled"]);

    // One that was done before the request reached it stays done; one whose worker is gone is cancelled.
    let done = enqueue(&db.pool, &compress(model)).await;
    let held = claim(&db.pool).await;
    cancel(done).await;
    assert!(succeed(&db.pool, done, held.token).await);
    assert_eq!(cancel(done).await.state, JobState::Succeeded);
    let abandoned = enqueue(&db.pool, &compress(model)).await;
    claim(&db.pool).await;
    cancel(abandoned).await;
    let_lease_run_out(&db.pool, abandoned).await;
    jobs::reap(&db.pool).await.unwrap();
    assert_eq!(state(&db.pool, abandoned).await, JobState::Cancelled);
    let crashed = enqueue(&db.pool, &compress(model)).await;
    let held = claim(&db.pool).await;
    cancel(crashed).await;
    assert_eq!(jobs::crashed(&db.pool, crashed, held.token).await.unwrap(), Crash::Cancelled);
    assert_eq!(jobs::cancel(&db.pool, DEFAULT_TENANT, JobId::new()).await.unwrap(), None);
}

#[tokio::test]
async fn a_deadline_ends_a_job_wherever_it_is() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let queued = enqueue(&db.pool, &compress(model)).await;
    let_deadline_pass(&db.pool, queued).await;
    assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None, "too late to begin");
    assert_eq!(jobs::reap(&db.pool).await.unwrap(), 1);
    let job = find(&db.pool, queued).await;
    assert_eq!((job.state, job.error.unwrap()["code"].as_str()), (JobState::Expired, Some("deadline_exceeded")));

    let held_one = enqueue(&db.pool, &compress(model)).await;
    let held = claim(&db.pool).await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(!jobs::finish_expired(&mut conn, held_one, held.token).await.unwrap(), "there is time left");
    let_deadline_pass(&db.pool, held_one).await;
    let beat = jobs::heartbeat(&db.pool, held_one, held.token, None, None).await.unwrap();
    assert_eq!(beat, Heartbeat::Held { cancel_requested: false, deadline_passed: true });
    assert_eq!(jobs::reap(&db.pool).await.unwrap(), 0, "its worker ends it");
    assert!(jobs::finish_expired(&mut conn, held_one, held.token).await.unwrap());
    assert_eq!(state(&db.pool, held_one).await, JobState::Expired);

    let lost = enqueue(&db.pool, &compress(model)).await;
    claim(&db.pool).await;
    let_deadline_pass(&db.pool, lost).await;
    let_lease_run_out(&db.pool, lost).await;
    assert_eq!(jobs::reap(&db.pool).await.unwrap(), 1);
    assert_eq!(state(&db.pool, lost).await, JobState::Expired, "not queued once more");
}

#[tokio::test]
async fn a_failed_job_says_everything_that_is_wrong() {
    let db = database().await;
    let (id, held) = running(&db.pool).await;
    jobs::heartbeat(&db.pool, id, held.token, Some("evaluating"), None).await.unwrap();
    // A NUL is what a hostile file can bring into a message.
    let problems = [
        Problem::new("/recipe/stages/0", Code::OutOfRange, "bits \u{0} must be 4 or 8"),
        Problem::new("", Code::LabelUnknown, "spam"),
    ];
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(jobs::finish_failed(&mut conn, id, held.token, &problems).await.unwrap());
    let job = find(&db.pool, id).await;
    assert_eq!((job.state, job.phase.as_deref()), (JobState::Failed, Some("evaluating")));
    let error = job.error.unwrap();
    assert_eq!(
        (error["code"].as_str(), &error["detail"]),
        (Some("out_of_range"), &Value::from("bits \u{fffd} must be 4 or 8"))
    );
    assert_eq!(error["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_visible_change_grows_the_revision() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let id = enqueue(&db.pool, &compress(model)).await;
    let mut last = find(&db.pool, id).await.revision;
    let mut grew = async |what: &str| {
        let now = find(&db.pool, id).await.revision;
        assert!(now > last, "{what}: {now} after {last}");
        last = now;
    };
    let held = claim(&db.pool).await;
    grew("claim").await;
    for done in 0..3 {
        jobs::heartbeat(&db.pool, id, held.token, Some("loading"), Some(&json!({ "done": done }))).await.unwrap();
        grew("progress").await;
    }
    jobs::release(&db.pool, id, held.token).await.unwrap();
    grew("release").await;
    let held = claim(&db.pool).await;
    grew("second claim").await;
    jobs::cancel(&db.pool, DEFAULT_TENANT, id).await.unwrap();
    grew("cancel").await;
    assert!(succeed(&db.pool, id, held.token).await);
    grew("success").await;
}

#[tokio::test]
async fn only_a_job_that_has_ended_can_be_deleted() {
    let db = database().await;
    let (id, held) = running(&db.pool).await;
    let live = jobs::delete(&db.pool, DEFAULT_TENANT, id).await;
    assert!(matches!(live, Err(Error::Conflict(Conflict::JobIsLive { state: "running" }))), "{live:?}");
    assert!(succeed(&db.pool, id, held.token).await);
    let mut conn = db.pool.acquire().await.unwrap();
    let before = pare::db::blobs::list_unreferenced(&mut conn, -1.0, 10).await.unwrap();
    assert!(jobs::delete(&db.pool, DEFAULT_TENANT, id).await.unwrap());
    assert!(!jobs::delete(&db.pool, DEFAULT_TENANT, id).await.unwrap());
    let after = pare::db::blobs::list_unreferenced(&mut conn, -1.0, 10).await.unwrap();
    assert_eq!((before.len(), after.len()), (0, 1), "its artifact is let go, and nothing else");
    assert!(!pare::db::blobs::forget(&mut conn, &after[0].sha256, 3600.0).await.unwrap(), "too young");
    assert!(pare::db::blobs::forget(&mut conn, &after[0].sha256, -1.0).await.unwrap());
    assert!(!pare::db::blobs::exists(&mut conn, &after[0].sha256).await.unwrap());
}
