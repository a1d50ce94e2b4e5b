//! Object stores that lie, fail and go away; a whole service over one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use pare::store::{Digest, Error, Store};

use crate::support::cluster::database;
use crate::support::faulty::{Faulty, Strike};
use crate::support::program::{Server, Worker, output, pare};
use crate::support::proxy::Proxy;
use crate::support::s3::S3;
use crate::support::worker::until;

async fn put(store: &Store, bytes: &'static [u8]) -> Digest {
    let mut staged = store.writer().await.unwrap();
    staged.write(Bytes::from_static(bytes)).await.unwrap();
    staged.finish().await.unwrap().digest
}

#[tokio::test]
async fn wrong_bytes_are_asked_for_once_more_and_never_taken() {
    let faulty = Arc::new(Faulty::default());
    let store = Store::over(faulty.clone(), "p");
    let digest = put(&store, b"the truth").await;
    let folder = tempfile::tempdir().unwrap();

    faulty.strike(Strike::Wrong, 1);
    store.fetch(&digest, &folder.path().join("once")).await.unwrap();
    assert_eq!(std::fs::read(folder.path().join("once")).unwrap(), b"the truth");

    faulty.strike(Strike::Wrong, 2);
    let fetched = store.fetch(&digest, &folder.path().join("twice")).await;
    assert!(matches!(fetched, Err(Error::Corrupt { expected, .. }) if expected == digest), "{fetched:?}");
    assert_eq!(faulty.left(), 0, "it was asked for twice, and no more");

    // Whoever reads it as it comes is cut off before its end.
    faulty.strike(Strike::Wrong, 1);
    let mut bytes = store.read(&digest, None).await.unwrap();
    let mut read = Vec::new();
    let end = loop {
        match bytes.try_next().await {
            Ok(Some(chunk)) => read.extend(chunk),
            end => break end,
        }
    };
    assert!(matches!(end, Err(Error::Corrupt { .. })), "{end:?}");
    assert!(read.len() < b"the truth".len(), "{read:?}");
}

/// A store whose server can go away and come back.
struct Away {
    proxy: Proxy,
    url: String,
}

impl Away {
    async fn new(s3: &S3) -> Self {
        Self { proxy: Proxy::to(s3.address()).await, url: format!("s3://{}/pre/fix", s3.bucket().await) }
    }

    fn variables(&self) -> Vec<(String, String)> {
        S3::variables(&format!("http://{}", self.proxy.address))
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_told_as_such_and_is_used_again_when_it_is_back() {
    let Some(s3) = S3::find() else { return };
    let away = Away::new(&s3).await;
    let store = S3::store_at(&away.url, &format!("http://{}", away.proxy.address)).await;
    let digest = put(&store, b"kept").await;
    store.check().await.unwrap();

    away.proxy.cut();
    let read = store.size_bytes(&digest).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(store.check().await.is_err());

    away.proxy.mend();
    assert_eq!(store.size_bytes(&digest).await.unwrap(), 4);
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_service_says_503_while_its_store_is_away_and_recovers() {
    let Some(s3) = S3::find() else { return };
    let (away, db, folder) = (Away::new(&s3).await, database().await, tempfile::tempdir().unwrap());
    let arguments = ["--workers", "0", "--store-url", &away.url, "--database-url", &db.url];
    let server = Server::start(folder.path(), &arguments, &away.variables());
    let rows = || [("rows.jsonl", b"{\"text\": \"a\"}\n".to_vec())];
    assert_eq!(server.upload("/v1/datasets/files", &rows()).await.0, 201);

    away.proxy.cut();
    let (status, problem) = server.upload("/v1/datasets/files", &rows()).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")), "{problem}");
    assert_eq!(server.get("/readyz").await.0, 503);
    assert_eq!(server.get("/v1/datasets").await.0, 200, "what needs no store goes on");

    away.proxy.mend();
    until("its readiness", async || (server.get("/readyz").await.0 == 200).then_some(())).await;
    assert_eq!(server.upload("/v1/datasets/files", &rows()).await.0, 201);
    server.stop();
}

#[tokio::test]
async fn servers_and_workers_share_one_queue_and_one_bucket() {
    let Some(s3) = S3::find() else { return };
    let (db, folder) = (database().await, tempfile::tempdir().unwrap());
    let url = format!("s3://{}/shared", s3.bucket().await);
    let variables = S3::variables(&s3.endpoint);
    let arguments = ["--workers", "0", "--store-url", &url, "--database-url", &db.url];
    let server = Server::start(&folder.path().join("server"), &arguments, &variables);
    let _worker = Worker::start(&folder.path().join("worker"), &url, &db.url, &variables);
    let (_, job) = server.tickets().await;
    server.succeeded(&job).await;
    let (_, artifacts) = server.get(&format!("/v1/jobs/{job}/artifacts")).await;
    for artifact in artifacts["data"].as_array().unwrap() {
        let path = format!("/v1/artifacts/{}/content", artifact["id"].as_str().unwrap());
        let bytes = server.bytes(&path).await;
        assert_eq!(artifact["sha256"], Digest::of(&bytes).to_string(), "{artifact}");
    }
    assert!(!folder.path().join("server/blobs").exists(), "nothing lies on this machine");

    // A backup of it, and a service made of that on one machine.
    let backup = folder.path().join("backup");
    let mut save = pare("backup", &folder.path().join("none"));
    save.args(["--store-url", &url, "--database-url", &db.url]).envs(variables).arg("--out").arg(&backup);
    let done = output(&mut save);
    assert!(done.status.success(), "{done:?}");
    server.stop();
    let restored = folder.path().join("restored");
    let done = output(pare("restore", &restored).arg(&backup));
    assert!(done.status.success(), "{done:?}");
    let server = Server::start(&restored, &["--workers", "0"], &[]);
    let report = server.get(&format!("/v1/jobs/{job}/report")).await;
    assert_eq!(report.0, 200);
    server.stop();
}

#[tokio::test]
async fn a_job_waits_for_a_store_that_is_away() {
    let Some(s3) = S3::find() else { return };
    let (away, db, folder) = (Away::new(&s3).await, database().await, tempfile::tempdir().unwrap());
    let arguments = ["--store-url", &away.url, "--database-url", &db.url, "--workers", "0"];
    let direct = S3::variables(&s3.endpoint);
    let server = Server::start(&folder.path().join("server"), &arguments, &direct);
    let (_, rows) = server.upload("/v1/datasets/files", &[("rows.jsonl", b"{\"text\": \"a\"}\n".to_vec())]).await;
    let path = format!("/v1/datasets/{}", rows["id"].as_str().unwrap());

    // The worker's way to the store is cut; the server's is not.
    away.proxy.cut();
    let _worker = Worker::start(&folder.path().join("worker"), &away.url, &db.url, &away.variables());
    until("the job's start", async || {
        let (_, jobs) = server.get("/v1/jobs?kind=validate").await;
        (jobs["data"][0]["state"] == "running").then_some(())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(3), std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(server.get(&path).await.1["state"], "validating", "neither done nor failed");
    away.proxy.mend();
    until("the dataset's end", async || (server.get(&path).await.1["state"] == "ready").then_some(())).await;
    server.stop();
}
