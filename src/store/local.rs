//! Blobs in a folder of this machine.
//!
//! `blobs/ab/cdef…` are the blobs, read-only; `staging/` holds what is being written, and `uploads/` what comes in parts
//! (`super::uploads`). A blob appears by one rename,
//! after its bytes are on the disk; the folder is synced before anyone is told. `object_store`'s own local folder is
//! not used: it syncs neither files nor folders unless asked, and copies where a hard link does.

use std::fs::{self, File, Permissions};
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::batched::blocking;
use super::error::{Error, Result};
use super::hashing::HashingFile;
use super::uploads::Ahead;
use super::{Blob, Digest, OWNER, Stored, parse_owner};

/// Bytes that are read from the disk at once.
const READ_BYTES: usize = 256 << 10;

/// Bytes of one blob between two looks at how full the disk is.
const CHECK_BYTES: u64 = 1 << 20;

/// A folder that holds blobs.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) root: Arc<Path>,
    pub(super) ahead: Ahead,
    /// What new bytes leave free on the disk.
    reserve_bytes: u64,
}

impl Local {
    /// Makes the folders that are missing: all 256 of them, so that publishing never has to, and syncs their parents.
    pub(super) async fn open(root: PathBuf) -> Result<Self> {
        let root: Arc<Path> = root.into();
        let folder = root.clone();
        let made = blocking(move || {
            fs::create_dir_all(folder.join("staging"))?;
            fs::create_dir_all(folder.join("uploads"))?;
            for first in 0..=u8::MAX {
                fs::create_dir_all(folder.join(format!("blobs/{first:02x}")))?;
            }
            sync_folder(&folder.join("blobs"))?;
            sync_folder(&folder)
        });
        made.await.map_err(Error::io("opened"))?;
        Ok(Self { root, ahead: Ahead::default(), reserve_bytes: 0 })
    }

    pub(super) fn keep_free(&mut self, bytes: u64) {
        self.reserve_bytes = bytes;
    }

    /// Refuses where `more` bytes would go into the reserve. Others write as well, so it is asked again and again.
    pub(super) fn ensure_room(&self, more: u64) -> Result<()> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        let disk = rustix::fs::statvfs(&*self.root).map_err(io::Error::from).map_err(Error::io("read"))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free.saturating_sub(more) < self.reserve_bytes {
            let why = format!("{free} bytes are free, and {} stay free for the database", self.reserve_bytes);
            return Err(Error::Full(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        Ok(())
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.path())
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging").join(Uuid::now_v7().to_string())
    }

    pub(super) async fn writer(&self) -> Result<LocalStaged> {
        self.ensure_room(0)?;
        let path = self.staging();
        let file = HashingFile::create(path.clone()).await.map_err(Error::io("written"))?;
        Ok(LocalStaged { store: self.clone(), file, guard: RemoveOnDrop(path), unchecked_bytes: 0 })
    }

    pub(super) async fn read(
        &self,
        digest: Digest,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let mut file = tokio::fs::File::open(self.blob(&digest)).await.map_err(Error::blob_io(digest, "read"))?;
        let range = range.unwrap_or(0..u64::MAX);
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start)).await.map_err(Error::io("read"))?;
        }
        let part = file.take(range.end.saturating_sub(range.start));
        Ok(ReaderStream::with_capacity(part, READ_BYTES).map(|chunk| chunk.map_err(Error::io("read"))).boxed())
    }

    pub(super) async fn size_bytes(&self, digest: &Digest) -> Result<u64> {
        let found = tokio::fs::metadata(self.blob(digest)).await;
        found.map(|it| it.len()).map_err(Error::blob_io(*digest, "read"))
    }

    /// Makes `to` another name of the blob. False where the two lie on different file systems, or links are not to be had.
    pub(super) async fn link_to(&self, digest: &Digest, to: &Path) -> Result<bool> {
        self.size_bytes(digest).await?;
        Ok(tokio::fs::hard_link(self.blob(digest), to).await.is_ok())
    }

    /// Takes over a file of the same file system without copying it. `None` where it can't be linked.
    pub(super) async fn adopt(&self, path: &Path) -> Result<Option<Stored>> {
        let (store, from) = (self.clone(), path.to_owned());
        let adopted = blocking(move || {
            let link = RemoveOnDrop(store.staging());
            if fs::hard_link(&from, &link.0).is_err() {
                return Ok(None);
            }
            let file = File::open(&link.0)?;
            let (digest, size_bytes) = Digest::of_reader(&file)?;
            file.sync_all()?;
            store.publish(&link.0, &digest)?;
            Ok(Some(Stored { digest, size_bytes }))
        });
        adopted.await.map_err(Error::io("written"))
    }

    /// Renames synced bytes to their place and syncs the folder. A blob that was there before is replaced by itself.
    pub(super) fn publish(&self, staged: &Path, digest: &Digest) -> io::Result<()> {
        let blob = self.blob(digest);
        fs::set_permissions(staged, Permissions::from_mode(0o444))?;
        fs::rename(staged, &blob)?;
        sync_folder(blob.parent().unwrap_or(&self.root))
    }

    pub(super) async fn delete(&self, digest: &Digest) -> Result<()> {
        match tokio::fs::remove_file(self.blob(digest)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("written")(error)),
            _ => Ok(()),
        }
    }

    /// One folder at a time, so that no list of all blobs is ever in memory.
    pub(super) fn list(&self) -> BoxStream<'static, Result<Blob>> {
        let blobs = self.root.join("blobs");
        stream::iter(0..=u8::MAX)
            .then(move |first| {
                let folder = blobs.join(format!("{first:02x}"));
                blocking(move || list_folder(&folder, &format!("{first:02x}")))
            })
            .flat_map(|listed| match listed {
                Ok(blobs) => stream::iter(blobs.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => stream::iter(vec![Err(Error::io("read")(error))]),
            })
            .boxed()
    }

    pub(super) async fn owner(&self, candidate: Uuid) -> Result<Uuid> {
        let (root, staging) = (Arc::clone(&self.root), self.staging());
        let found = blocking(move || {
            let path = root.join(OWNER);
            if !path.try_exists()? {
                let guard = RemoveOnDrop(staging);
                fs::write(&guard.0, candidate.to_string())?;
                File::open(&guard.0)?.sync_all()?;
                // a link is made whole or not at all, and never over one that is there
                match fs::hard_link(&guard.0, &path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => sync_folder(&root)?,
                }
            }
            parse_owner(&fs::read(path)?)
        });
        found.await.map_err(Error::io("read"))
    }

    /// Removes what was being written when a process died.
    pub(super) async fn sweep(&self, older_than: Duration) -> Result<u64> {
        let staging = self.root.join("staging");
        let swept = blocking(move || {
            let mut removed = 0;
            for entry in fs::read_dir(staging)? {
                let entry = entry?;
                let age = SystemTime::now().duration_since(entry.metadata()?.modified()?).unwrap_or_default();
                if age > older_than {
                    fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
            Ok(removed)
        });
        swept.await.map_err(Error::io("swept"))
    }

    /// Bytes that are free where it lies.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&*self.root).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Writes a file and removes it.
    pub(super) async fn check(&self) -> Result<()> {
        let path = self.staging();
        let written = blocking(move || {
            let guard = RemoveOnDrop(path);
            fs::write(&guard.0, b"pare")
        });
        written.await.map_err(Error::io("written"))
    }
}

/// A blob on its way into a folder.
pub(super) struct LocalStaged {
    store: Local,
    file: HashingFile,
    guard: RemoveOnDrop,
    /// Bytes since it was last asked whether there is room.
    unchecked_bytes: u64,
}

impl LocalStaged {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(bytes.len() as u64);
        if self.unchecked_bytes >= CHECK_BYTES {
            // Up to two batches are on their way, which the disk does not show yet: the reserve is many times as large.
            self.store.ensure_room(self.unchecked_bytes)?;
            self.unchecked_bytes = 0;
        }
        self.file.write(bytes).await.map_err(Error::io("written"))
    }

    pub(super) async fn finish(self) -> Result<Stored> {
        let stored = self.file.finish().await.map_err(Error::io("written"))?;
        let (store, guard, digest) = (self.store, self.guard, stored.digest);
        blocking(move || store.publish(&guard.0, &digest)).await.map_err(Error::io("written"))?;
        Ok(stored)
    }
}

/// Removes a file unless it was renamed away.
pub(super) struct RemoveOnDrop(pub(super) PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Gone after a rename; anything else is swept at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

fn list_folder(folder: &Path, first: &str) -> io::Result<Vec<Blob>> {
    let mut blobs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(digest) = entry.file_name().to_str().and_then(|rest| Digest::from_path(first, rest)) else {
            continue;
        };
        match entry.metadata() {
            Ok(it) => blobs.push(Blob { digest, size_bytes: it.len(), modified: it.modified()? }),
            // Deleted since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(blobs)
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
