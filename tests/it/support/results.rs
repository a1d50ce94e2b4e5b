//! Succeeded jobs with the reports and files that a test wants.

use bytes::Bytes;
use pare::db;
use pare::db::jobs::{NewJob, NewJobFile};
use pare::id::{DatasetId, JobId, ModelId};
use serde_json::{Value, json};

use super::app::App;
use super::engine::own;

/// A file that a job leaves: role, path, bytes.
pub(crate) type Left<'a> = (&'a str, &'a str, &'a [u8]);

/// A job on a model, by a preset.
pub(crate) fn compress(model: ModelId, evaluation: Option<DatasetId>) -> NewJob {
    NewJob {
        model_id: Some(model),
        recipe_name: Some("int8".to_owned()),
        evaluation_dataset_id: evaluation,
        ..NewJob::default()
    }
}

impl App {
    /// Queues a job.
    pub(crate) async fn queue(&self, new: &NewJob) -> JobId {
        let mut tx = self.pool.begin().await.unwrap();
        let job = db::jobs::enqueue(&mut tx, db::DEFAULT_TENANT, new).await.unwrap();
        tx.commit().await.unwrap();
        job.id
    }

    /// A job that succeeded with that report and those files. No other job may wait.
    pub(crate) async fn result(&self, new: &NewJob, report: &Value, files: &[Left<'_>]) -> JobId {
        let id = self.queue(new).await;
        let claimed = self.claim().await;
        assert_eq!(claimed.job.id, id, "another job waited");
        let mut published = Vec::new();
        for (role, path, bytes) in files {
            let mut staged = self.store.writer().await.unwrap();
            staged.write(Bytes::copy_from_slice(bytes)).await.unwrap();
            let stored = staged.finish().await.unwrap();
            published.push(NewJobFile {
                role: (*role).to_owned(),
                path: (*path).to_owned(),
                format: "safetensors".to_owned(),
                sha256: stored.digest.to_string(),
                size_bytes: stored.size_bytes,
                loaders: Vec::new(),
            });
        }
        let mut tx = self.pool.begin().await.unwrap();
        assert!(db::jobs::finish_succeeded(&mut tx, id, claimed.token, &published, Some(report)).await.unwrap());
        tx.commit().await.unwrap();
        id
    }
}

/// A whole report of a classifier, of that size and accuracy.
pub(crate) fn report(size_bytes: u64, accuracy: f64) -> Value {
    let text = std::fs::read(own("report/compressed.json")).unwrap();
    let mut report: Value = serde_json::from_slice(&text).unwrap();
    let after = &mut report["result"]["after"];
    after["size_bytes"] = json!(size_bytes);
    after["quality"]["accuracy"] =
        json!({"value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02, "n": 2000});
    report
}
