//! Backups of real services: made while they run, brought back, refused when damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pare::db::backup::Snapshot;
use pare::db::{self, blobs};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::cluster::database;
use crate::support::program::{Server, output, pare};

/// A service with a model and a finished job, saved while it ran.
struct Saved {
    folder: tempfile::TempDir,
    model: String,
    job: String,
    shown: Value,
    report: Value,
}

impl Saved {
    async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let server = Server::start(&folder.path().join("state"), &[], &[]);
        let (model, job) = server.tickets().await;
        let shown = server.succeeded(&job).await;
        let (_, report) = server.get(&format!("/v1/jobs/{job}/report")).await;
        let saved = Self { folder, model, job, shown, report };
        let done = output(pare("backup", &saved.state()).arg("--out").arg(saved.backup()));
        assert!(done.status.success(), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stdout).starts_with("saved "), "{done:?}");
        // Saved or not: the service goes on, and ends like any other.
        assert_eq!(server.get("/readyz").await.0, 200);
        server.stop();
        saved
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    /// Restores into a new folder, which must not work; what was said.
    fn refused(&self, into: &str) -> String {
        let done = output(pare("restore", &self.folder.path().join(into)).arg(self.backup()));
        assert!(!done.status.success(), "{done:?}");
        assert!(!self.folder.path().join(into).join("postgres/data").exists(), "nothing was begun");
        String::from_utf8_lossy(&done.stderr).into_owned()
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&fs::read(self.backup().join("manifest.json")).unwrap()).unwrap()
    }
}

/// The largest blob of a backup.
fn largest_blob(backup: &Path) -> PathBuf {
    let list = fs::read_to_string(backup.join("blobs.txt")).unwrap();
    let blobs = list.lines().map(|line| line.split_once(' ').unwrap());
    let (sha256, _) = blobs.max_by_key(|(_, size)| size.parse::<u64>().unwrap()).unwrap();
    backup.join("blobs").join(&sha256[..2]).join(&sha256[2..])
}

#[tokio::test]
async fn a_restored_service_is_the_one_that_was_saved() {
    let saved = Saved::make().await;
    let manifest = saved.manifest();
    assert_eq!(manifest["migration"], json!(db::newest_migration()));
    assert!(manifest["blobs"].as_u64().unwrap() >= 6, "model, rows, artifacts, report: {manifest}");
    assert_eq!(manifest["rows"]["models"], json!(1), "{manifest}");

    let restored = saved.folder.path().join("restored");
    let done = output(pare("restore", &restored).arg(saved.backup()));
    assert!(done.status.success(), "{done:?}");
    let server = Server::start(&restored, &[], &[]);
    let (status, model) = server.get(&format!("/v1/models/{}", saved.model)).await;
    assert_eq!((status, &model["state"]), (200, &json!("ready")), "{model}");
    assert_eq!(server.get(&format!("/v1/jobs/{}", saved.job)).await.1, saved.shown);
    assert_eq!(server.get(&format!("/v1/jobs/{}/report", saved.job)).await.1, saved.report);
    let (_, artifacts) = server.get(&format!("/v1/jobs/{}/artifacts", saved.job)).await;
    let artifacts = artifacts["data"].as_array().unwrap();
    assert!(!artifacts.is_empty());
    for artifact in artifacts {
        let path = format!("/v1/artifacts/{}/content", artifact["id"].as_str().unwrap());
        let hash: String = Sha256::digest(server.bytes(&path).await).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(artifact["sha256"], json!(hash), "{artifact}");
    }
    // It is a service: it takes and does new work.
    let (_, again) = server.tickets().await;
    server.succeeded(&again).await;
    server.stop();

    // What is there is never written over.
    let done = output(pare("restore", &restored).arg(saved.backup()));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("is not empty"), "{said}");
    let done = output(pare("backup", &restored).arg("--out").arg(saved.backup()));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("is not empty"), "{said}");

    // At rest it is saved just as well.
    let second = saved.folder.path().join("second");
    let done = output(pare("backup", &restored).arg("--out").arg(&second));
    assert!(done.status.success() && second.join("manifest.json").is_file(), "{done:?}");
}

#[tokio::test]
async fn a_backup_that_is_not_sound_is_refused_by_name() {
    let saved = Saved::make().await;
    // One bit of one blob.
    let blob = largest_blob(&saved.backup());
    let name =
        format!("{}{}", blob.parent().unwrap().file_name().unwrap().display(), blob.file_name().unwrap().display());
    let sound = fs::read(&blob).unwrap();
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    fs::write(&blob, flipped).unwrap();
    let said = saved.refused("a");
    assert!(said.contains("damaged") && said.contains(&name), "{said}");
    fs::remove_file(&blob).unwrap();
    let said = saved.refused("a");
    assert!(said.contains(&format!("blob {name} is not there")), "{said}");
    fs::write(&blob, sound).unwrap();

    // A bit of the dump.
    let dump = saved.backup().join("database.dump");
    let sound = fs::read(&dump).unwrap();
    fs::write(&dump, &sound[..sound.len() - 1]).unwrap();
    assert!(saved.refused("a").contains("database.dump has"));
    fs::write(&dump, sound).unwrap();

    // One that a newer program made.
    let path = saved.backup().join("manifest.json");
    let manifest = saved.manifest();
    for (field, value) in [("migration", json!(9999)), ("format", json!(2))] {
        let mut newer = manifest.clone();
        newer[field] = value;
        newer["version"] = json!("7.8.9");
        newer["unheard_of"] = json!({});
        fs::write(&path, newer.to_string()).unwrap();
        let said = saved.refused("a");
        assert!(said.contains("7.8.9") && said.contains("too old"), "{said}");
    }
    // One that was cut short.
    fs::remove_file(&path).unwrap();
    let said = saved.refused("a");
    assert!(said.contains("no finished backup"), "{said}");
    fs::write(&path, manifest.to_string()).unwrap();

    let done = output(pare("restore", &saved.folder.path().join("a")).arg(saved.backup()));
    assert!(done.status.success(), "it was sound but for that: {done:?}");
}

#[tokio::test]
async fn a_blob_that_the_store_lost_is_named_and_no_backup_is_made() {
    let saved = Saved::make().await;
    let blob = largest_blob(&saved.backup());
    let name = blob.strip_prefix(saved.backup()).unwrap();
    fs::remove_file(saved.state().join(name)).unwrap();
    let out = saved.folder.path().join("out");
    let done = output(pare("backup", &saved.state()).arg("--out").arg(&out));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("there is no blob"), "{said}");
    assert!(!out.join("manifest.json").exists(), "an unfinished backup is none");
}

#[tokio::test]
async fn nothing_is_collected_while_a_backup_is_made() {
    let db = database().await;
    let mut snapshot = Snapshot::take(&db.url).await.unwrap();
    let mut tx = db.pool.begin().await.unwrap();
    assert!(!blobs::may_collect(&mut tx).await.unwrap());
    tx.rollback().await.unwrap();
    assert_eq!(snapshot.blobs().await.unwrap(), []);
    snapshot.end().await.unwrap();
    let mut tx = db.pool.begin().await.unwrap();
    assert!(blobs::may_collect(&mut tx).await.unwrap());

    // One backup waits for the blob that is being collected, and a backup that dies holds nothing.
    let url = db.url.clone();
    let waiting = tokio::spawn(async move { Snapshot::take(&url).await.unwrap() });
    tx.commit().await.unwrap();
    drop(waiting.await.unwrap());
    let mut tx = db.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(123563833360393)").execute(&mut *tx).await.unwrap();
}

#[tokio::test]
async fn a_folder_without_a_service_is_not_saved() {
    let state = tempfile::tempdir().unwrap();
    let out = state.path().join("out");
    let done = output(pare("backup", state.path()).arg("--out").arg(&out));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("--state-dir"), "{said}");
    assert!(!out.exists());
}

#[tokio::test]
async fn an_interrupted_backup_harms_nothing() {
    let saved = Saved::make().await;
    let out = saved.folder.path().join("out");
    // At rest, so that it starts a server first: it is interrupted long before its end.
    let mut backup = pare("backup", &saved.state()).arg("--out").arg(&out).spawn().unwrap();
    let cluster = saved.state().join("postgres/data/postmaster.pid");
    crate::support::worker::until("the database's start", async || cluster.exists().then_some(())).await;
    rustix::process::kill_process(rustix::process::Pid::from_child(&backup), Signal::TERM).unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(4), "interrupted");
    assert!(!out.join("manifest.json").exists());
    let server = Server::start(&saved.state(), &[], &[]);
    assert_eq!(server.get("/readyz").await.0, 200);
    server.stop();
}
