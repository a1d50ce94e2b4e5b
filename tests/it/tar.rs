//! All of a job's files in one archive.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};

use pare::id::JobId;
use pare::store::Digest;
use serde_json::json;

use crate::support::app::App;
use crate::support::results::{Left, compress, report};

/// Paths that ustar has room for, and such that it has not.
fn files() -> Vec<(String, Vec<u8>)> {
    let long = format!("{}/{}", "folder".repeat(20), "x".repeat(120));
    let named = [
        ("config.json", b"{}".to_vec()),
        ("empty", Vec::new()),
        ("model.safetensors", (0..=255).cycle().take(700_000).collect()),
        ("one-block", vec![7; 512]),
        ("sub/modèle 1.txt", b"text".to_vec()),
    ];
    let mut files: Vec<_> = named.into_iter().map(|(path, bytes)| (path.to_owned(), bytes)).collect();
    files.push((long, b"far down".to_vec()));
    files.sort();
    files
}

async fn finished(app: &App) -> JobId {
    let model = app.bare_model().await;
    let files = files();
    let mut left: Vec<Left<'_>> =
        files.iter().map(|(path, bytes)| ("artifact", path.as_str(), bytes.as_slice())).collect();
    left.push(("report", "report.json", b"{\"version\": 1}"));
    left.push(("checkpoint", "hidden", b"secret"));
    app.result(&compress(model, None), &report(1, 0.5), &left).await
}

/// What the machine's own `tar` unpacks.
fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        Command::new("tar").arg("-xf").arg("-").arg("-C").arg(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), archive).unwrap();
    assert!(child.wait().unwrap().success());
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.path().to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn the_archive_holds_artifacts_and_report_and_nothing_else() {
    let app = App::start().await;
    let job = finished(&app).await;
    let path = format!("/v1/jobs/{job}/artifacts.tar");
    let answer = app.get(&path).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-tar");
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"{job}.tar\""));
    let mut expected: BTreeMap<String, Vec<u8>> = files().into_iter().collect();
    expected.insert("report.json".to_owned(), b"{\"version\": 1}".to_vec());
    assert_eq!(unpack(&answer.body), expected);
    let list = app.get(&format!("/v1/jobs/{job}/artifacts")).await.expect(200).json();
    for artifact in list["data"].as_array().unwrap() {
        assert!(expected.contains_key(artifact["path"].as_str().unwrap()), "{artifact}");
    }
}

#[tokio::test]
async fn the_bytes_are_always_the_same() {
    let app = App::start().await;
    let job = finished(&app).await;
    let path = format!("/v1/jobs/{job}/artifacts.tar");
    let (one, two) = (app.get(&path).await.expect(200), app.get(&path).await.expect(200));
    assert_eq!(one.body, two.body);
    let tag = one.header("etag").to_owned();
    app.get_with(&path, &[("if-none-match", &tag)]).await.expect(304);
    let mut archive = ::tar::Archive::new(one.body.as_ref());
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        let owner = (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap());
        assert_eq!((owner, header.mtime().unwrap()), ((0, 0, 0o644), 946_684_800));
        names.push(entry.path().unwrap().to_str().unwrap().to_owned());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, entry.size());
    }
    let mut expected: Vec<String> = files().into_iter().map(|(path, _)| path).collect();
    expected.push("report.json".to_owned());
    assert_eq!(names, expected, "artifacts by path, then the report");
    // another job with the same files: the same archive
    let again = finished(&app).await;
    assert_eq!(app.get(&format!("/v1/jobs/{again}/artifacts.tar")).await.expect(200).body, one.body);
}

#[tokio::test]
async fn without_files_there_is_no_archive() {
    let app = App::start().await;
    let missing = app.get(&format!("/v1/jobs/{}/artifacts.tar", JobId::new())).await;
    assert_eq!(missing.problem(), (404, "not_found".to_owned()));
    let queued = app.queued_job().await;
    let early = app.get(&format!("/v1/jobs/{queued}/artifacts.tar")).await;
    assert_eq!(early.problem(), (404, "artifacts_unavailable".to_owned()));
    assert!(early.json()["detail"].as_str().unwrap().contains("it is queued"));
}

#[tokio::test]
async fn a_lost_blob_is_told_before_the_answer_begins() {
    let app = App::start().await;
    let job = finished(&app).await;
    app.store.delete(&Digest::of(b"far down")).await.unwrap();
    let answer = app.get(&format!("/v1/jobs/{job}/artifacts.tar")).await;
    assert_eq!(answer.problem(), (500, "internal_error".to_owned()));
    assert_eq!(answer.json()["errors"], json!(null));
}
