//! Large files in parts, over real HTTP.

mod command;
mod content;
mod ending;
mod faults;
mod made;
mod parts;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use object_store::memory::InMemory;
use pare::http::{HostRule, Limits};
use pare::store::{Digest, Store};
use serde_json::{Value, json};

use crate::support::app::{Answer, App};
use crate::support::cluster;

/// Small parts, so that small files have many.
const PART: usize = 64 << 10;

fn limits() -> Limits {
    Limits { part_bytes: PART as u64, ..Limits::default() }
}

async fn start() -> App {
    App::with(limits(), HostRule::Loopback).await
}

/// Runs one case over a local store and an object store.
async fn over_both_stores<F: Future<Output = ()>>(case: impl Fn(App) -> F) {
    case(start().await).await;
    let pool = cluster::database().await.pool;
    let store = Store::over(Arc::new(InMemory::new()), "some/prefix");
    case(App::over(pool, store, limits(), HostRule::Loopback).await).await;
}

/// Bytes that differ from part to part.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn begin(app: &App, size_bytes: usize) -> String {
    let body = json!({"filename": "model.safetensors", "size_bytes": size_bytes});
    app.post("/v1/uploads", &body).await.expect(201).json()["id"].as_str().unwrap().to_owned()
}

async fn put(app: &App, id: &str, number: usize, bytes: &[u8]) -> Answer {
    let headers = [("content-type", "application/octet-stream")];
    app.send(Method::PUT, &format!("/v1/uploads/{id}/parts/{number}"), &headers, bytes.to_vec()).await
}

async fn put_with(app: &App, id: &str, number: usize, bytes: &[u8], header: (&str, &str)) -> Answer {
    app.send(Method::PUT, &format!("/v1/uploads/{id}/parts/{number}"), &[header], bytes.to_vec()).await
}

async fn complete(app: &App, id: &str) -> Answer {
    app.send(Method::POST, &format!("/v1/uploads/{id}/complete"), &[], Vec::new()).await
}

async fn look(app: &App, id: &str) -> Value {
    app.get(&format!("/v1/uploads/{id}")).await.expect(200).json()
}

/// Uploads a whole file.
async fn uploaded(app: &App, data: &[u8]) -> String {
    let id = begin(app, data.len()).await;
    for (number, part) in data.chunks(PART).enumerate() {
        put(app, &id, number, part).await.expect(204);
    }
    complete(app, &id).await.expect(200);
    id
}

/// The folder of an upload's own bytes.
fn folder(app: &App, id: &str) -> PathBuf {
    app.folder.as_ref().unwrap().path().join("uploads").join(id.strip_prefix("upl_").unwrap())
}

fn content_digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Digest::of(bytes).as_bytes()))
}

fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
