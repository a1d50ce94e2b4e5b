//! What the stored bytes must be.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use pare::db::{DEFAULT_TENANT, Pool, blobs, uploads, usage};
use pare::store::{Digest, Store};
use sqlx::Row;
use uuid::Uuid;

use super::Part;

async fn read(store: &Store, digest: &Digest, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let stream = store.read(digest, range).await.unwrap_or_else(|error| panic!("{digest}: {error}"));
    let chunks: Vec<bytes::Bytes> = stream.try_collect().await.unwrap_or_else(|error| panic!("{digest}: {error}"));
    chunks.concat()
}

/// I2: every visible file is what its row says. How many.
pub(super) async fn visible_files(pool: &Pool, store: &Store, fault: &str) -> usize {
    let query = "select path, encode(sha256, 'hex') as sha256, size_bytes from job_files";
    let files = sqlx::query(query).fetch_all(pool).await.unwrap();
    for file in &files {
        let (path, size_bytes): (String, i64) = (file.get("path"), file.get("size_bytes"));
        let digest: Digest = file.get::<String, _>("sha256").parse().unwrap();
        let found = read(store, &digest, None).await;
        assert_eq!(Digest::of(&found), digest, "{fault} I2: {path} is other bytes than its row says");
        assert_eq!(found.len() as i64, size_bytes, "{fault} I2: {path}");
    }
    files.len()
}

/// I6: every acknowledged part is in the file that its upload became. How many.
pub(super) async fn parts(pool: &Pool, store: &Store, fault: &str, parts: &[Part]) -> usize {
    for part in parts {
        let id: Uuid = part.upload.strip_prefix("upl_").unwrap().parse().unwrap();
        let query = "select state, encode(sha256, 'hex') as sha256 from uploads where id = $1";
        let row = sqlx::query(query).bind(id).fetch_one(pool).await.unwrap();
        let (state, sha256): (String, Option<String>) = (row.get("state"), row.get("sha256"));
        let what = format!("{fault} I6: part {} of {}, which is {state}", part.number, part.upload);
        let digest: Digest = sha256.unwrap_or_else(|| panic!("{what}")).parse().unwrap();
        let range = part.offset_bytes as u64..(part.offset_bytes + part.size_bytes) as u64;
        assert_eq!(Digest::of(&read(store, &digest, Some(range)).await), part.sha256, "{what}");
    }
    parts.len()
}

/// I5: collects at once what would be collected in time; then rows and store must be the same. Blobs, their bytes, and how
/// many were collected before.
pub(super) async fn accounted(pool: &Pool, store: &Store, fault: &str) -> (usize, u64, u64) {
    let collected = collect(pool, store).await;
    let rows =
        sqlx::query("select encode(sha256, 'hex') as sha256, size_bytes from blobs").fetch_all(pool).await.unwrap();
    let accounted: BTreeMap<String, u64> =
        rows.iter().map(|row| (row.get("sha256"), row.get::<i64, _>("size_bytes") as u64)).collect();
    let blobs: Vec<_> = store.list().try_collect().await.unwrap();
    let stored: BTreeMap<String, u64> = blobs.iter().map(|blob| (blob.digest.to_string(), blob.size_bytes)).collect();
    assert_eq!(stored, accounted, "{fault} I5: the store (left) is not what the rows say (right)");
    for blob in &blobs {
        assert_eq!(Digest::of(&read(store, &blob.digest, None).await), blob.digest, "{fault} I5: damaged bytes");
    }
    let total: u64 = stored.values().sum();
    let usage = usage::usage(pool, DEFAULT_TENANT).await.unwrap();
    assert_eq!((usage.total_bytes, usage.collectable_bytes), (total, 0), "{fault} I5: the bytes that are told of");
    let under_way = store.list_uploads().await.unwrap();
    let live = uploads::live(pool, &under_way).await.unwrap();
    assert_eq!(live.len(), under_way.len(), "{fault} I5: bytes of uploads that are no more");
    (blobs.len(), total, collected)
}

/// What a worker's collection does, at once instead of after a day.
async fn collect(pool: &Pool, store: &Store) -> u64 {
    uploads::expire(pool, 1000).await.unwrap();
    let there = store.list_uploads().await.unwrap();
    let live = uploads::live(pool, &there).await.unwrap();
    for dead in there.iter().filter(|id| !live.contains(id)) {
        store.discard(*dead).await.unwrap();
    }
    store.sweep(Duration::ZERO).await.unwrap();
    let mut collected = 0;
    let mut conn = pool.acquire().await.unwrap();
    let stored: Vec<_> = store.list().try_collect().await.unwrap();
    let sizes: BTreeMap<String, u64> = stored.iter().map(|blob| (blob.digest.to_string(), blob.size_bytes)).collect();
    let names: Vec<String> = sizes.keys().cloned().collect();
    for stray in blobs::unknown(&mut conn, &names).await.unwrap() {
        blobs::insert(&mut conn, &stray, sizes[&stray]).await.unwrap();
    }
    for blob in blobs::list_unreferenced(&mut conn, 0.0, 10_000).await.unwrap() {
        if blobs::forget(&mut conn, &blob.sha256, 0.0).await.unwrap() {
            store.delete(&blob.sha256.parse().unwrap()).await.unwrap();
            collected += 1;
        }
    }
    collected
}
