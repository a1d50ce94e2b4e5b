//! Reads a backup back.

use std::io::ErrorKind;
use std::path::Path;

use futures::TryStreamExt;

use super::error::{Error, Result};
use super::manifest::{Manifest, Saved, hash, read_list};
use super::{BLOBS, DUMP, LIST, Progress, Service, tools};
use crate::db;
use crate::db::backup::Target;
use crate::postgres::client_programs;
use crate::store::Digest;

/// Reads a backup's manifest and then every byte of it, before anything is made of it. Blocks.
///
/// # Errors
///
/// [`Error::Unfinished`], [`Error::Newer`]; [`Error::Damaged`] names every file that is not what it was.
pub fn check(from: &Path) -> Result<Manifest> {
    let manifest = Manifest::read(from)?;
    let mut damaged = Vec::new();
    for (name, saved) in [(LIST, &manifest.list), (DUMP, &manifest.database)] {
        damaged.extend(find_damage(name, &from.join(name), saved)?);
    }
    if damaged.iter().any(|what| what.starts_with(LIST)) {
        return Err(Error::Damaged(damaged));
    }
    let mut progress = Progress::new("checking", manifest.blob_bytes);
    for (sha256, size_bytes) in read_list(from)? {
        let path = from.join(BLOBS).join(sha256.path());
        damaged.extend(find_damage(&format!("blob {sha256}"), &path, &Saved { size_bytes, sha256 })?);
        progress.add(size_bytes);
    }
    if damaged.is_empty() { Ok(manifest) } else { Err(Error::Damaged(damaged)) }
}

fn find_damage(name: &str, path: &Path, saved: &Saved) -> Result<Option<String>> {
    match hash(path) {
        Ok(found) if found == *saved => Ok(None),
        Ok(found) => Ok(Some(format!(
            "{name} has {} bytes that hash to {}, and had {} that hash to {}",
            found.size_bytes, found.sha256, saved.size_bytes, saved.sha256
        ))),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(Some(format!("{name} is not there")))
        }
        Err(error) => Err(error),
    }
}

/// Fills an empty service with a backup that [`check`] has read, and brings its schema up to date. The blobs go first,
/// the database last and in one transaction: what was cut short has no rows.
///
/// # Errors
///
/// [`Error::TargetNotEmpty`]; [`Error::Damaged`] where it has changed since it was checked.
pub async fn load(from: &Path, manifest: &Manifest, into: &Service) -> Result<()> {
    let target = Target::look(&into.url).await?;
    if !target.is_empty {
        return Err(Error::TargetNotEmpty("the database".to_owned()));
    }
    if into.store.list().try_next().await?.is_some() {
        return Err(Error::TargetNotEmpty("the blob store".to_owned()));
    }
    let programs = client_programs(into.programs.as_deref(), target.server_major.max(manifest.postgres_major))?;
    tracing::info!(blobs = manifest.blobs, bytes = manifest.blob_bytes, "restoring the blobs");
    let mut progress = Progress::new("blobs", manifest.blob_bytes);
    for (digest, size_bytes) in read_list(from)? {
        put(&into.store, &from.join(BLOBS).join(digest.path()), &digest).await?;
        progress.add(size_bytes);
    }
    drop(progress);
    tracing::info!(rows = manifest.rows.values().sum::<u64>(), "restoring the database");
    tools::restore(&programs, &into.url, &from.join(DUMP)).await?;
    let rows = db::backup::rows(&into.url).await?;
    if rows != manifest.rows {
        return Err(Error::Damaged(vec![format!("the database has the rows {rows:?}, and had {:?}", manifest.rows)]));
    }
    let pool = db::connect(&into.url, 2).await?;
    db::migrate(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Stores a copy: a local store would else keep a link to the backup's own file.
async fn put(store: &crate::store::Store, path: &Path, digest: &Digest) -> Result<()> {
    let file = tokio::fs::File::open(path).await.map_err(Error::io(path, "read"))?;
    let mut bytes = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
    let mut staged = store.writer().await?;
    while let Some(chunk) = bytes.try_next().await.map_err(Error::io(path, "read"))? {
        staged.write(chunk).await?;
    }
    let found = staged.finish().await?.digest;
    if found == *digest { Ok(()) } else { Err(Error::Damaged(vec![format!("blob {digest} hashes to {found}")])) }
}
