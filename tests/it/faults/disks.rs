//! Disks that fill up: real ones, small, in memory. Skipped, saying so, where mounting is not allowed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use pare::db::jobs::JobState;
use pare::postgres::{Cluster, DATABASE};
use pare::store::{Error, Store, StoreConfig};
use pare::worker::Config;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{all_ended, local};
use crate::support::cluster::config;
use crate::support::invariants::{Fault, skipped};
use crate::support::program::Server;
use crate::support::worker::{Bench, rows, until};

/// A disk of that size. Dropped, it is gone.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self { folder });
        }
        skipped("F9", "mounting is not allowed here");
        None
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes what is free, but for so many bytes.
    fn fill(&self, but: u64) -> PathBuf {
        let path = self.path().join("filler");
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        let mut left = (disk.f_bavail * disk.f_frsize).saturating_sub(but);
        let mut file = fs::File::create(&path).unwrap();
        let block = vec![0; 1 << 16];
        while left > 0 {
            let length = left.min(block.len() as u64) as usize;
            match file.write(&block[..length]) {
                Ok(written) => left -= written as u64,
                Err(_) => break, // full
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is on the way out.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn f09_a_service_whose_disk_fills_up_refuses_bytes_keeps_its_database_and_recovers() {
    let Some(disk) = Disk::new(600) else { return };
    let state = disk.path().join("state");
    let server = Server::start(&state, &["--disk-reserve", "64MiB"], &[]);
    let what = "a disk of 600 MiB under a whole service is filled up into its reserve of 64 MiB";
    let pool = pare::db::connect(&Cluster::url_of_running(&state, DATABASE).unwrap(), 3).await.unwrap();
    let mut fault = Fault::begin("F9", what, &pool).await;
    let (model, job) = server.tickets().await;
    fault.acknowledge(&job);
    server.succeeded(&job).await;
    let (_, job) = server.get(&format!("/v1/jobs/{job}")).await;
    let rows = || [("rows.jsonl", rows(10).into_bytes())];

    // Half of the reserve is taken, by whoever else writes there.
    let filler = disk.fill(32 << 20);
    let (status, problem) = server.upload("/v1/datasets/files", &rows()).await;
    assert_eq!((status, problem["code"].as_str()), (507, Some("insufficient_storage")), "{problem}");
    // The database takes rows all the same.
    let again = json!({"model_id": model, "recipe_name": "int8",
        "evaluation_dataset_id": job["evaluation_dataset_id"], "evaluate": {"metrics": []}});
    let (status, again) = server.post("/v1/jobs", &again).await;
    assert_eq!(status, 201, "{again}");
    fault.acknowledge(&again["id"].as_str().unwrap());
    let path = format!("/v1/jobs/{}", again["id"].as_str().unwrap());
    let waits = until("the reason", async || {
        let (_, shown) = server.get(&path).await;
        (shown["waiting_reason"] == "no_worker_with_disk").then_some(shown)
    })
    .await;
    assert_eq!((&waits["state"], &waits["attempt"]), (&json!("queued"), &json!(0)), "{waits}");

    // Room again, and nobody has to be told.
    fs::remove_file(filler).unwrap();
    server.succeeded(again["id"].as_str().unwrap()).await;
    let (status, rows) = server.upload("/v1/datasets/files", &rows()).await;
    assert_eq!(status, 201, "{rows}");
    all_ended(&pool).await;
    fault.held(&pool, &local(&state).await).await;
    server.stop();
}

#[tokio::test]
async fn f09_an_upload_that_would_go_into_the_reserve_leaves_nothing_behind() {
    let Some(disk) = Disk::new(64) else { return };
    let store = Store::open(&StoreConfig::Local(disk.path().join("store"))).await.unwrap().keeping_free(32 << 20);
    let mut staged = store.writer().await.unwrap();
    let chunk = Bytes::from(vec![7; 1 << 20]);
    let mut taken = 0;
    let refused = loop {
        match staged.write(chunk.clone()).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full(_)), "{refused:?}");
    // Two batches of a mebibyte are on their way to the disk, which does not show them yet.
    assert!((20..=34).contains(&taken), "{taken} MiB of 32 were taken");
    drop(staged);
    until("the staged bytes' end", async || {
        (fs::read_dir(disk.path().join("store/staging")).unwrap().count() == 0).then_some(())
    })
    .await;
    // The space is free once the batch that was on its way has let go of the file.
    until("room", async || {
        let mut staged = store.writer().await.ok()?;
        staged.write(chunk.clone()).await.ok()?;
        staged.finish().await.ok()
    })
    .await;
}

#[tokio::test]
async fn f09_a_job_that_fills_its_scratch_space_fails_as_such_and_the_next_one_runs() {
    let Some(disk) = Disk::new(4) else { return };
    let bench = Bench::new().await;
    let what = "a disk of 4 MiB under the scratch folder is filled up by a job; the next one is small";
    let mut fault = Fault::begin("F9", what, bench.pool()).await;
    let worker = bench.start(Config { scratch: disk.path().join("scratch"), ..bench.config() });
    let large = bench.submit(rows(200_000)).await;
    fault.acknowledge(&large);
    let job = bench.end_of(large).await;
    assert_eq!((job.state, job.crashes), (JobState::Failed, 0));
    assert_eq!(job.error.unwrap()["code"], "insufficient_storage");
    let small = bench.submit(rows(10)).await;
    let job = bench.end_of(small).await;
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    worker.stop().await;
    fault.acknowledge(&small);
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f09_a_worker_below_its_reserve_takes_no_job_until_there_is_room() {
    let Some(disk) = Disk::new(16) else { return };
    let bench = Bench::new().await;
    let what = "a disk of 16 MiB under the scratch folder is filled up into the worker's reserve, and emptied";
    let mut fault = Fault::begin("F9", what, bench.pool()).await;
    let scratch = disk.path().join("scratch");
    let worker = bench.start(Config { scratch, disk_reserve_bytes: 8 << 20, ..bench.config() });
    let filler = disk.fill(4 << 20);
    let id = bench.submit(rows(10)).await;
    until("the reason", async || {
        (bench.job(id).await.waiting_reason.as_deref() == Some("no_worker_with_disk")).then_some(())
    })
    .await;
    assert_eq!(bench.job(id).await.attempt, 0);
    fs::remove_file(filler).unwrap();
    assert_eq!(bench.end_of(id).await.state, JobState::Succeeded);
    worker.stop().await;
    fault.acknowledge(&id);
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f09_a_private_postgres_whose_own_disk_was_full_comes_back_with_every_row() {
    let Some(disk) = Disk::new(128) else { return };
    let cluster = Cluster::start(config(disk.path().join("state"))).await.unwrap();
    let url = cluster.url(DATABASE);
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let begin = "create table kept (n integer); insert into kept values (42)";
    sqlx::raw_sql(begin).execute(&mut conn).await.unwrap();
    let filler = disk.fill(0);
    let much = "insert into kept select n from generate_series(1, 4000000) n";
    assert!(sqlx::raw_sql(much).execute(&mut conn).await.is_err(), "there is no room for that");
    fs::remove_file(filler).unwrap();
    until("its return", async || {
        let mut conn = PgConnection::connect(&url).await.ok()?;
        sqlx::raw_sql("insert into kept values (43)").execute(&mut conn).await.ok()
    })
    .await;
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let kept: Vec<i32> = sqlx::query_scalar("select n from kept order by n").fetch_all(&mut conn).await.unwrap();
    assert_eq!(kept, [42, 43]);
    cluster.stop().await.unwrap();
}
