//! The faults that the service promises to survive, by number: one test or more for each, which breaks something and then
//! asserts what `support::invariants` names. `scripts/faults` runs them all, also those that take minutes;
//! `docs/reliability.md` tells what they found.

mod attempts;
mod cancels;
mod checkpoints;
mod client;
mod cluster;
mod disks;
mod kills;
mod leases;
mod network;
mod postgres;
mod publishing;
mod requests;
mod resume;
mod rolling;
mod stores;
mod storm;
mod uploads;

use std::path::Path;

use http::Method;
use pare::db::Pool;
use pare::db::jobs::Job;
use pare::id::JobId;
use pare::store::{Store, StoreConfig};
use serde_json::{Value, json};

use crate::support::app::{App, Form};
use crate::support::engine::own;
use crate::support::worker::until;

/// A number that an environment variable may change, said aloud: whoever sees a run fail can repeat it.
fn setting(variable: &str, usual: u64) -> u64 {
    let given = std::env::var_os(variable).and_then(|text| text.to_str()?.parse().ok());
    let value = given.unwrap_or(usual);
    println!("{variable}={value}");
    value
}

/// Numbers that only look random: the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn seeded(usual: u64) -> Self {
        Self(setting("PARE_FAULTS_SEED", usual))
    }

    /// A number below `end` (SplitMix64).
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// The store of a state folder.
async fn local(folder: &Path) -> Store {
    Store::open(&StoreConfig::Local(folder.to_owned())).await.unwrap()
}

/// A time of a minute passes without a heartbeat.
async fn let_leases_run_out(pool: &Pool) {
    let query = "update job_leases set lease_expires_at = now() - interval '1 second'";
    sqlx::query(query).execute(pool).await.unwrap();
}

/// The files of the small classifier.
fn tickets() -> Vec<(&'static str, Vec<u8>)> {
    let read = |name: &str| std::fs::read(own("tickets").join(name)).unwrap();
    ["config.json", "tokenizer.json", "model.safetensors"].map(|name| (name, read(name))).into()
}

/// Uploads the small classifier and its test rows; what to post to `/v1/jobs`.
async fn tickets_on(app: &App) -> Value {
    let mut form = Form::new().text("name", "tickets");
    for (name, bytes) in tickets() {
        form = form.file(name, &bytes);
    }
    let model = app.upload("/v1/models/files", form).await.expect(201).json();
    let rows = std::fs::read(own("tickets/data/test.jsonl")).unwrap();
    let form = Form::new().text("name", "rows").file("test.jsonl", &rows);
    let rows = app.upload("/v1/datasets/files", form).await.expect(201).json();
    json!({"model_id": model["id"], "recipe_name": "int8", "evaluation_dataset_id": rows["id"],
        "evaluate": {"max_seq_length": 64, "metrics": ["accuracy"]}})
}

async fn submitted(app: &App, body: &Value) -> JobId {
    app.post("/v1/jobs", body).await.expect(201).id()
}

async fn cancel(app: &App, id: JobId) -> u16 {
    app.send(Method::POST, &format!("/v1/jobs/{id}/cancel"), &[], Vec::new()).await.status.as_u16()
}

async fn find(pool: &Pool, id: JobId) -> Job {
    pare::db::jobs::find(pool, pare::db::DEFAULT_TENANT, id).await.unwrap().unwrap()
}

async fn end_of(pool: &Pool, id: JobId) -> Job {
    until("the job's end", async || Some(find(pool, id).await).filter(|job| job.state.is_terminal())).await
}

/// Waits until every job has ended.
async fn all_ended(pool: &Pool) {
    let query = "select count(*) from jobs where finished_at is null";
    until("the end of all jobs", async || {
        (sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() == 0).then_some(())
    })
    .await;
}

/// How often workers died or went silent under jobs.
async fn crashes_and_losses(pool: &Pool) -> (i64, i64) {
    let query = "select coalesce(sum(crashes), 0)::bigint, coalesce(sum(lost_leases), 0)::bigint from jobs";
    sqlx::query_as(query).fetch_one(pool).await.unwrap()
}
