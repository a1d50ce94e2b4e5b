//! What every blob store does, whatever it is made of.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use pare::store::{Digest, Error, Store, StoreConfig, Stored};

use crate::support::s3::S3;

/// More than one part of an object store's upload.
const LARGE_BYTES: usize = (16 << 20) + 12_345;

/// Runs one case over every kind of store.
async fn over_every_store<F: Future<Output = ()>>(case: impl Fn(Store) -> F) {
    let folder = tempfile::tempdir().unwrap();
    case(local(folder.path()).await).await;
    case(Store::over(Arc::new(InMemory::new()), "some/prefix")).await;
    case(Store::over(Arc::new(InMemory::new()), "")).await;
    if let Some(s3) = S3::find() {
        case(s3.store("some/prefix").await).await;
        case(s3.store("").await).await;
    }
}

async fn local(root: &Path) -> Store {
    Store::open(&StoreConfig::Local(root.to_owned())).await.unwrap()
}

async fn put(store: &Store, chunks: &[&[u8]]) -> Stored {
    let mut staged = store.writer().await.unwrap();
    for chunk in chunks {
        staged.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    staged.finish().await.unwrap()
}

async fn get(store: &Store, digest: &Digest, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let chunks: Vec<Bytes> = store.read(digest, range).await.unwrap().try_collect().await.unwrap();
    chunks.concat()
}

async fn names(store: &Store) -> Vec<(Digest, u64)> {
    let mut listed: Vec<_> = store.list().map_ok(|it| (it.digest, it.size_bytes)).try_collect().await.unwrap();
    listed.sort();
    listed
}

/// Bytes that differ from part to part.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test]
async fn what_is_written_is_read_under_its_hash() {
    over_every_store(|store| async move {
        let stored = put(&store, &[b"hello, ", b"", b"world"]).await;
        assert_eq!(stored, Stored { digest: Digest::of(b"hello, world"), size_bytes: 12 });
        assert_eq!(get(&store, &stored.digest, None).await, b"hello, world");
        assert_eq!(store.size_bytes(&stored.digest).await.unwrap(), 12);
        store.check().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn nothing_at_all_is_a_blob_too() {
    over_every_store(|store| async move {
        let stored = put(&store, &[]).await;
        assert_eq!(stored, Stored { digest: Digest::of(b""), size_bytes: 0 });
        assert_eq!(get(&store, &stored.digest, None).await, b"");
        assert_eq!(get(&store, &stored.digest, Some(0..10)).await, b"");
    })
    .await;
}

#[tokio::test]
async fn ranges_are_cut_to_the_blob() {
    over_every_store(|store| async move {
        let digest = put(&store, &[b"0123456789"]).await.digest;
        for (range, expected) in
            [(0..4, "0123"), (4..10, "456789"), (7..99, "789"), (3..3, ""), (10..12, ""), (50..60, "")]
        {
            assert_eq!(get(&store, &digest, Some(range.clone())).await, expected.as_bytes(), "{range:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_blob_comes_back_whole() {
    over_every_store(|store| async move {
        let data = pattern(LARGE_BYTES);
        let chunks: Vec<&[u8]> = data.chunks(70_001).collect();
        let stored = put(&store, &chunks).await;
        assert_eq!(stored, Stored { digest: Digest::of(&data), size_bytes: data.len() as u64 });
        assert!(get(&store, &stored.digest, None).await == data);
        let middle = (16 << 20) - 5..(16 << 20) + 5;
        let expected = &data[middle.start as usize..middle.end as usize];
        assert_eq!(get(&store, &stored.digest, Some(middle)).await, expected);
        assert_eq!(names(&store).await.len(), 1, "what was staged is gone");
        assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 0, "what was staged is gone");
    })
    .await;
}

#[tokio::test]
async fn the_same_bytes_twice_are_one_blob() {
    over_every_store(|store| async move {
        let first = put(&store, &[b"twice"]).await;
        assert_eq!(put(&store, &[b"tw", b"ice"]).await, first);
        assert_eq!(names(&store).await, [(first.digest, 5)]);
        assert_eq!(get(&store, &first.digest, None).await, b"twice");
    })
    .await;
}

#[tokio::test]
async fn what_is_given_up_never_was() {
    over_every_store(|store| async move {
        for data in [pattern(10), pattern(LARGE_BYTES)] {
            let mut staged = store.writer().await.unwrap();
            staged.write(data.clone().into()).await.unwrap();
            drop(staged);
            assert!(matches!(store.read(&Digest::of(&data), None).await, Err(Error::NotFound(_))));
        }
        assert_eq!(names(&store).await, []);
    })
    .await;
}

#[tokio::test]
async fn deleting_is_final_and_can_be_repeated() {
    over_every_store(|store| async move {
        let (kept, gone) = (put(&store, &[b"kept"]).await.digest, put(&store, &[b"gone"]).await.digest);
        store.delete(&gone).await.unwrap();
        store.delete(&gone).await.unwrap();
        assert!(matches!(store.read(&gone, None).await, Err(Error::NotFound(it)) if it == gone));
        assert!(matches!(store.size_bytes(&gone).await, Err(Error::NotFound(_))));
        assert_eq!(names(&store).await, [(kept, 4)]);
    })
    .await;
}

#[tokio::test]
async fn files_go_in_and_out() {
    over_every_store(|store| async move {
        let folder = tempfile::tempdir().unwrap();
        let data = pattern(3 << 20);
        fs::write(folder.path().join("in"), &data).unwrap();
        let stored = store.put_file(&folder.path().join("in")).await.unwrap();
        assert_eq!(stored, Stored { digest: Digest::of(&data), size_bytes: data.len() as u64 });
        fs::remove_file(folder.path().join("in")).unwrap();

        let out = folder.path().join("out");
        store.fetch(&stored.digest, &out).await.unwrap();
        assert!(fs::read(&out).unwrap() == data);
        assert!(store.fetch(&stored.digest, &out).await.is_err(), "a file that exists is not written over");
        let missing = store.fetch(&Digest::of(b"?"), &folder.path().join("no")).await;
        assert!(matches!(missing, Err(Error::NotFound(_))));
    })
    .await;
}

#[tokio::test]
async fn a_store_in_two_file_systems_copies_and_checks() {
    // /dev/shm is another file system than the temporary folder's wherever it is a tmpfs; where it is not, or not
    // there, links are made and the damage below is not noticed.
    let (Ok(near), Ok(far)) = (tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")) else {
        return eprintln!("skipped: /dev/shm is not there");
    };
    if same_file_system(near.path(), far.path()) {
        return eprintln!("skipped: /dev/shm is no file system of its own");
    }
    let store = local(near.path()).await;
    fs::write(far.path().join("in"), b"sound").unwrap();
    let digest = store.put_file(&far.path().join("in")).await.unwrap().digest;
    store.fetch(&digest, &far.path().join("out")).await.unwrap();
    assert_eq!(fs::read(far.path().join("out")).unwrap(), b"sound");

    let hex = digest.to_string();
    let blob = near.path().join("blobs").join(&hex[..2]).join(&hex[2..]);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, b"rotten").unwrap();
    let fetched = store.fetch(&digest, &far.path().join("damaged")).await;
    assert!(matches!(fetched, Err(Error::Corrupt { expected, .. }) if expected == digest), "{fetched:?}");
}

fn same_file_system(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(a).unwrap().dev() == fs::metadata(b).unwrap().dev()
}

#[tokio::test]
async fn a_local_store_leaves_no_staging_files_and_sweeps_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path()).await;
    let staging = folder.path().join("staging");
    put(&store, &[b"x"]).await;
    fs::write(folder.path().join("in"), b"y").unwrap();
    store.put_file(&folder.path().join("in")).await.unwrap();
    let mut dropped = store.writer().await.unwrap();
    dropped.write(pattern(2 << 20).into()).await.unwrap();
    drop(dropped);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);

    fs::write(staging.join("left-by-a-killed-process"), b"z").unwrap();
    assert_eq!(store.sweep(Duration::from_hours(24)).await.unwrap(), 0);
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
}

#[tokio::test]
async fn names_of_strangers_are_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path()).await;
    fs::write(folder.path().join("blobs/ab/readme"), b"hi").unwrap();
    fs::write(folder.path().join("blobs/lost+found"), b"hi").unwrap();
    assert_eq!(names(&store).await, []);
}
