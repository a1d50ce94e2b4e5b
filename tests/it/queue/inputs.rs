//! Jobs and the models and datasets that they work on.

use pare::db::jobs::{self, JobKind, JobState, NewJob};
use pare::db::{Conflict, DEFAULT_TENANT, Error, ListFilter, NewFile, Pool, UploadState, datasets, models, recipes};
use pare::engine::data::DatasetSummary;
use pare::engine::problem::{Code, Problem};
use pare::id::{DatasetId, ModelId};
use serde_json::json;
use uuid::Uuid;

use super::{
    claim, compress, enqueue, find, header, let_deadline_pass, ready_model, sha256, state, validating_model, worker,
};
use crate::support::cluster::database;

async fn validating_dataset(pool: &Pool) -> DatasetId {
    let files = vec![NewFile { path: "test.jsonl".to_owned(), sha256: sha256(7), size_bytes: 70 }];
    datasets::insert(pool, DEFAULT_TENANT, &datasets::NewDataset { name: "test".to_owned(), files }).await.unwrap().id
}

fn summary() -> DatasetSummary {
    DatasetSummary {
        format: "jsonl".to_owned(),
        rows: 2,
        labels: Vec::new(),
        words: 9,
        duplicates: 0,
        row_hashes: vec!["00".to_owned(), "01".to_owned()],
        ..DatasetSummary::default()
    }
}

#[tokio::test]
async fn a_model_comes_with_its_files_and_the_job_that_checks_it() {
    let db = database().await;
    let id = validating_model(&db.pool).await;
    let model = models::find(&db.pool, DEFAULT_TENANT, id).await.unwrap().unwrap();
    assert_eq!((model.state, model.size_bytes, model.header), (UploadState::Validating, 28, None));
    let files = models::files(&db.pool, id).await.unwrap();
    assert_eq!((files.len(), files[0].path.as_str(), files[0].sha256.clone()), (1, "model.safetensors", sha256(1)));
    let job = claim(&db.pool).await.job;
    assert_eq!((job.kind, job.model_id), (JobKind::Validate, Some(id)));
    assert_eq!(models::find(&db.pool, Uuid::now_v7(), id).await.unwrap(), None, "another tenant does not see it");

    let twice = NewFile { path: "a".to_owned(), sha256: sha256(1), size_bytes: 1 };
    let new = models::NewModel { name: "x".to_owned(), files: vec![twice.clone(), twice], source_job_id: None };
    let refused = models::insert(&db.pool, DEFAULT_TENANT, &new).await;
    assert!(matches!(refused, Err(Error::Conflict(Conflict::Exists { .. }))), "{refused:?}");
    let page = ListFilter { limit: 10, before: None };
    assert_eq!(models::list(&db.pool, DEFAULT_TENANT, &page).await.unwrap().len(), 1, "nothing of it stays");
}

#[tokio::test]
async fn a_job_waits_for_what_it_works_on_and_then_runs() {
    let db = database().await;
    let (model, dataset) = (validating_model(&db.pool).await, validating_dataset(&db.pool).await);
    let id = enqueue(&db.pool, &NewJob { evaluation_dataset_id: Some(dataset), ..compress(model) }).await;
    assert_eq!(find(&db.pool, id).await.waiting_reason.as_deref(), Some("model_validating"));
    for _ in 0..2 {
        assert_eq!(claim(&db.pool).await.job.kind, JobKind::Validate);
    }
    assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None);

    let mut conn = db.pool.acquire().await.unwrap();
    assert!(models::finish(&mut conn, model, &header()).await.unwrap());
    assert_eq!(find(&db.pool, id).await.waiting_reason.as_deref(), Some("dataset_validating"));
    assert_eq!(jobs::claim(&db.pool, &worker()).await.unwrap(), None);
    assert!(datasets::finish(&mut conn, dataset, &summary()).await.unwrap());
    assert_eq!(claim(&db.pool).await.job.id, id);
    let stored = models::find(&db.pool, DEFAULT_TENANT, model).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.header), (UploadState::Ready, Some(header())));
    let stored = datasets::find(&db.pool, DEFAULT_TENANT, dataset).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.summary), (UploadState::Ready, Some(summary())));
    assert!(!models::finish(&mut conn, model, &header()).await.unwrap(), "only once");
}

#[tokio::test]
async fn a_job_fails_when_its_model_or_dataset_turns_out_invalid() {
    let db = database().await;
    let (model, dataset) = (validating_model(&db.pool).await, validating_dataset(&db.pool).await);
    let other = validating_model(&db.pool).await;
    let of_model = enqueue(&db.pool, &compress(model)).await;
    let of_reference =
        enqueue(&db.pool, &NewJob { reference_model_id: Some(model), kind: JobKind::Evaluate, ..compress(other) })
            .await;
    let of_dataset = enqueue(&db.pool, &NewJob { training_dataset_id: Some(dataset), ..compress(other) }).await;
    let untouched = enqueue(&db.pool, &compress(other)).await;

    let wrong = [Problem::new("/files/model.safetensors", Code::SafetensorsTruncated, "it ends at byte 3")];
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(models::reject(&mut conn, model, &wrong).await.unwrap());
    assert!(datasets::reject(&mut conn, dataset, &wrong).await.unwrap());
    for (id, code) in [(of_model, "model_invalid"), (of_reference, "model_invalid"), (of_dataset, "dataset_invalid")] {
        let job = find(&db.pool, id).await;
        assert_eq!((job.state, job.error.unwrap()["code"].as_str()), (JobState::Failed, Some(code)));
    }
    assert_eq!(state(&db.pool, untouched).await, JobState::Queued);
    let stored = models::find(&db.pool, DEFAULT_TENANT, model).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.errors.as_slice()), (UploadState::Invalid, wrong.as_slice()));

    // One that was queued while the model was rejected is found by the next round.
    let late = enqueue(&db.pool, &compress(model)).await;
    assert_eq!(jobs::reap(&db.pool).await.unwrap(), 1);
    assert_eq!(state(&db.pool, late).await, JobState::Failed);
}

#[tokio::test]
async fn a_validation_that_ends_without_an_answer_makes_its_model_invalid() {
    let db = database().await;
    let model_state = async |id| models::find(&db.pool, DEFAULT_TENANT, id).await.unwrap().unwrap().state;
    let job_of = async |model: ModelId| {
        let filter = jobs::JobFilter {
            kind: Some(JobKind::Validate),
            model_id: Some(model),
            limit: 1,
            ..jobs::JobFilter::default()
        };
        jobs::list(&db.pool, DEFAULT_TENANT, &filter).await.unwrap()[0].id
    };

    let cancelled = validating_model(&db.pool).await;
    jobs::cancel(&db.pool, DEFAULT_TENANT, job_of(cancelled).await).await.unwrap();
    assert_eq!(model_state(cancelled).await, UploadState::Invalid);

    let expired = validating_model(&db.pool).await;
    let_deadline_pass(&db.pool, job_of(expired).await).await;
    jobs::reap(&db.pool).await.unwrap();
    assert_eq!(model_state(expired).await, UploadState::Invalid);

    let crashed = validating_model(&db.pool).await;
    let waiting = enqueue(&db.pool, &compress(crashed)).await;
    for _ in 0..2 {
        let held = claim(&db.pool).await;
        assert_eq!(held.job.model_id, Some(crashed));
        jobs::crashed(&db.pool, held.job.id, held.token).await.unwrap();
    }
    assert_eq!(model_state(crashed).await, UploadState::Invalid);
    assert_eq!(state(&db.pool, waiting).await, JobState::Failed);

    let failed = validating_model(&db.pool).await;
    let held = claim(&db.pool).await;
    let wrong = [Problem::new("", Code::OutOfMemory, "needs 3 bytes, may use 2")];
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(jobs::finish_failed(&mut conn, held.job.id, held.token, &wrong).await.unwrap());
    let stored = models::find(&db.pool, DEFAULT_TENANT, failed).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.errors.as_slice()), (UploadState::Invalid, wrong.as_slice()));
}

#[tokio::test]
async fn a_model_in_use_stays_and_a_deleted_one_lets_its_files_go() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let id = enqueue(&db.pool, &compress(model)).await;
    let used = models::delete(&db.pool, DEFAULT_TENANT, model).await;
    assert!(matches!(used, Err(Error::Conflict(Conflict::InUse { job, .. })) if job == id.0), "{used:?}");
    jobs::cancel(&db.pool, DEFAULT_TENANT, id).await.unwrap();
    assert!(models::delete(&db.pool, DEFAULT_TENANT, model).await.unwrap());
    assert!(!models::delete(&db.pool, DEFAULT_TENANT, model).await.unwrap());
    assert_eq!(models::find(&db.pool, DEFAULT_TENANT, model).await.unwrap(), None);
    assert_eq!(find(&db.pool, id).await.model_id, Some(model), "its jobs still name it");

    let mut conn = db.pool.acquire().await.unwrap();
    let dead = pare::db::blobs::list_unreferenced(&mut conn, -1.0, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    let late = jobs::enqueue(&mut conn, DEFAULT_TENANT, &compress(model)).await;
    assert!(matches!(&late, Err(Error::Conflict(Conflict::Missing { column })) if column == "model_id"), "{late:?}");
}

#[tokio::test]
async fn a_job_must_name_what_its_kind_needs() {
    let db = database().await;
    let model = ready_model(&db.pool).await;
    let mut conn = db.pool.acquire().await.unwrap();
    let no_recipe = NewJob { recipe_name: None, ..compress(model) };
    let no_model = NewJob { model_id: None, ..compress(model) };
    let no_source = NewJob { kind: JobKind::Export, ..NewJob::default() };
    let rules = ["jobs_compress_has_recipe", "jobs_model_where_one_is_needed", "jobs_export_has_source"];
    for (new, expected) in [no_recipe, no_model, no_source].iter().zip(rules) {
        let refused = jobs::enqueue(&mut conn, DEFAULT_TENANT, new).await;
        assert!(
            matches!(&refused, Err(Error::Conflict(Conflict::Refused { rule })) if rule == expected),
            "{refused:?}"
        );
    }
    let stranger = jobs::enqueue(&mut conn, Uuid::now_v7(), &compress(model)).await;
    assert!(matches!(stranger, Err(Error::Conflict(Conflict::Missing { .. }))), "{stranger:?}");
}

#[tokio::test]
async fn a_recipe_of_the_same_name_is_its_next_version() {
    let db = database().await;
    let store = async |recipe| recipes::insert(&db.pool, DEFAULT_TENANT, "mine", &recipe).await.unwrap();
    let (one, two) = (json!({ "version": 1, "seed": 1 }), json!({ "version": 1, "b": 0, "a": 1.50 }));
    assert_eq!(store(one).await.version, 1);
    assert_eq!(store(two.clone()).await.version, 2);
    let found = recipes::find_by_name(&db.pool, DEFAULT_TENANT, "mine").await.unwrap().unwrap();
    assert_eq!((found.version, &found.recipe), (2, &two));
    let written: String = sqlx::query_scalar("select recipe::text from recipes where name = 'mine' and version = 2")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(written, two.to_string(), "kept as written, to the byte");
    let page = ListFilter { limit: 10, before: None };
    assert_eq!(recipes::list(&db.pool, DEFAULT_TENANT, &page).await.unwrap(), [found]);
    let recipe = json!({ "version": 1 });
    let many = (0..6).map(|_| recipes::insert(&db.pool, DEFAULT_TENANT, "raced", &recipe));
    let mut versions: Vec<u32> =
        futures::future::join_all(many).await.into_iter().map(|r| r.unwrap().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let db = database().await;
    pare::db::check_schema(&db.pool).await.unwrap();
    pare::db::migrate(&db.pool).await.unwrap();
    sqlx::query("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'x', true, '', 0)")
        .execute(&db.pool)
        .await
        .unwrap();
    let refused = pare::db::check_schema(&db.pool).await;
    assert!(matches!(&refused, Err(Error::Schema(why)) if why.contains("9999")), "{refused:?}");
    assert!(pare::db::migrate(&db.pool).await.is_err());
}
