//! Makes a backup.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use chrono::Utc;
use futures::StreamExt;
use futures::stream;

use super::error::{Error, Result};
use super::manifest::{Manifest, hash, write_list};
use super::{BLOBS, DUMP, Progress, Service, sync, tools};
use crate::db::backup::{NamedBlob, Snapshot};
use crate::postgres::client_programs;
use crate::store::{self, Digest, Store};

/// Blobs that are copied at once: an object store answers each only after a while.
const COPIES: usize = 4;

/// Saves a service, which may run meanwhile, into the folder `out`. What it says is true once this has returned: all is
/// on the disk, and every blob's bytes were found to be right.
///
/// # Errors
///
/// [`Error::OutNotEmpty`]; [`Error::Damaged`] names every blob that the store lacks or holds wrongly. After an error `out`
/// holds no manifest, and so no backup.
pub async fn save(service: &Service, out: &Path) -> Result<Manifest> {
    make_out(out)?;
    let created_at = Utc::now();
    let mut snapshot = Snapshot::take(&service.url).await?;
    let postgres_major = snapshot.server_major().await?;
    let programs = client_programs(service.programs.as_deref(), postgres_major)?;
    let (migration, rows) = (snapshot.migration().await?, snapshot.counts().await?);
    let blobs = snapshot.blobs().await?;
    tracing::info!(rows = rows.values().sum::<u64>(), "saving the database");
    let dump = out.join(DUMP);
    tools::dump(&programs, &service.url, snapshot.name(), &dump).await?;
    sync(&dump)?;
    let blob_bytes = blobs.iter().map(|blob| blob.size_bytes).sum();
    tracing::info!(blobs = blobs.len(), bytes = blob_bytes, "saving the blobs");
    copy_all(&service.store, &blobs, blob_bytes, &out.join(BLOBS)).await?;
    // Until here nothing was collected; a connection that broke on the way may have let go of that.
    snapshot.end().await?;
    let manifest = Manifest {
        format: Manifest::format(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at,
        migration,
        postgres_major,
        rows,
        database: hash(&dump)?,
        list: write_list(out, &blobs)?,
        blobs: blobs.len() as u64,
        blob_bytes,
    };
    sync(out)?;
    manifest.write(out)?;
    Ok(manifest)
}

/// A new folder, or an empty one, for its owner alone: it holds what the service keeps closed.
fn make_out(out: &Path) -> Result<()> {
    match fs::read_dir(out).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(Error::OutNotEmpty(out.to_owned())),
        Ok(false) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(out).map_err(Error::io(out, "made"))?;
        }
        Err(error) => return Err(Error::io(out, "read")(error)),
    }
    Ok(())
}

async fn copy_all(store: &Store, blobs: &[NamedBlob], total_bytes: u64, to: &Path) -> Result<()> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut wanted = Vec::with_capacity(blobs.len());
    for blob in blobs {
        let digest: Digest =
            blob.sha256.parse().map_err(|_| Error::Damaged(vec![format!("a row's '{}'", blob.sha256)]))?;
        let path = to.join(digest.path());
        if let Some(folder) = path.parent().filter(|folder| folders.last().is_none_or(|last| last != folder)) {
            fs::create_dir_all(folder).map_err(Error::io(folder, "made"))?;
            folders.push(folder.to_owned());
        }
        wanted.push((digest, blob.size_bytes, path));
    }
    let mut progress = Progress::new("blobs", total_bytes);
    let mut copies = stream::iter(wanted)
        .map(|(digest, size_bytes, path)| async move { (digest, size_bytes, store.copy(&digest, &path).await) })
        .buffer_unordered(COPIES);
    let mut damaged = Vec::new();
    while let Some((digest, size_bytes, copied)) = copies.next().await {
        match copied {
            Ok(found) if found == size_bytes => progress.add(found),
            Ok(found) => damaged.push(format!("blob {digest} has {found} bytes, and its row says {size_bytes}")),
            Err(error @ (store::Error::NotFound(_) | store::Error::Corrupt { .. })) => damaged.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if !damaged.is_empty() {
        damaged.sort();
        return Err(Error::Damaged(damaged));
    }
    for folder in &folders {
        sync(folder)?;
    }
    if to.is_dir() { sync(to) } else { Ok(()) }
}
