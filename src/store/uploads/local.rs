//! Uploads in a folder of this machine: `uploads/<id>/data` is the file, as long as the whole from the start;
//! `uploads/<id>/<part>.lock` is locked while somebody writes that part.
//!
//! The lock is the kernel's: it ends with its process, holds between processes that share the folder, and is kept by
//! the thread that writes until its last write is done. So a part that was acknowledged is never written to again.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::super::Digest;
use super::super::batched::{Batched, Sink, blocking};
use super::super::error::{Error, Result};
use super::super::local::{Local, RemoveOnDrop, sync_folder};
use super::{Kept, Slot};

impl Local {
    fn upload(&self, upload: Uuid) -> PathBuf {
        self.root.join("uploads").join(upload.to_string())
    }

    fn upload_data(&self, upload: Uuid) -> PathBuf {
        self.upload(upload).join("data")
    }

    /// Makes the file and takes its space from the disk.
    pub(super) async fn reserve(&self, upload: Uuid, size_bytes: u64) -> Result<()> {
        self.ensure_room(size_bytes)?;
        let (root, folder) = (self.root.join("uploads"), self.upload(upload));
        let made = blocking(move || {
            fs::create_dir(&folder)?;
            let file = File::options().write(true).create_new(true).open(folder.join("data"))?;
            allocate(&file, size_bytes).inspect_err(|_| {
                let _ = fs::remove_dir_all(&folder);
            })?;
            file.sync_all()?;
            sync_folder(&folder)?;
            sync_folder(&root)
        });
        made.await.map_err(Error::io("written"))
    }

    pub(super) async fn claim_part(&self, upload: Uuid, slot: Slot) -> Result<Option<LocalClaim>> {
        let (folder, data) = (self.upload(upload), self.upload_data(upload));
        let claimed = blocking(move || {
            let data = File::options().read(true).write(true).open(data)?;
            let lock = folder.join(format!("{}.lock", slot.number));
            let lock = File::options().write(true).create(true).truncate(false).open(lock)?;
            match lock.try_lock() {
                Ok(()) => Ok(Some(LocalClaim { data, lock, slot })),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        });
        claimed.await.map_err(Error::io("opened"))
    }

    pub(super) fn hash_ahead(&self, upload: Uuid, acknowledged: &[Range<u64>]) {
        self.ahead.add(upload, self.upload_data(upload), acknowledged);
    }

    pub(super) async fn digest_of(&self, upload: Uuid, size_bytes: u64) -> Result<Digest> {
        self.ahead.digest(upload, &self.upload_data(upload), size_bytes).await.map_err(Error::io("read"))
    }

    /// Links the file to its place among the blobs; the upload keeps its own name for it until it is discarded.
    pub(super) async fn publish_upload(&self, upload: Uuid, digest: Digest) -> Result<()> {
        let (store, data) = (self.clone(), self.upload_data(upload));
        let published = blocking(move || {
            let link = RemoveOnDrop(store.staging());
            match fs::hard_link(&data, &link.0) {
                Ok(()) => store.publish(&link.0, &digest),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
                // A file system without links
                Err(_) => store.publish(&data, &digest),
            }
        });
        published.await.map_err(Error::io("written"))
    }

    pub(super) async fn discard(&self, upload: Uuid) -> Result<()> {
        self.ahead.forget(upload);
        let folder = self.upload(upload);
        let removed = blocking(move || match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        removed.await.map_err(Error::io("written"))
    }

    pub(super) async fn list_uploads(&self) -> Result<Vec<Uuid>> {
        let folder = self.root.join("uploads");
        let listed = blocking(move || {
            let mut found = Vec::new();
            for entry in fs::read_dir(folder)? {
                found.extend(entry?.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok()));
            }
            Ok(found)
        });
        listed.await.map_err(Error::io("read"))
    }
}

/// Takes space for a file. Where the file system can't, the file only gets its length.
fn allocate(file: &File, size_bytes: u64) -> io::Result<()> {
    if size_bytes == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, size_bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(size_bytes),
        // Longer than any file of this disk may be
        Err(Errno::FBIG) => Err(io::ErrorKind::StorageFull.into()),
        done => Ok(done?),
    }
}

/// The right to write a part.
pub(super) struct LocalClaim {
    data: File,
    lock: File,
    slot: Slot,
}

/// What becomes of a part's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are written.
    Write,
    /// They are compared with what is there.
    Compare,
}

impl LocalClaim {
    pub(super) fn start(self, mode: Mode, hash: bool) -> LocalPart {
        let at = self.slot.offset_bytes;
        let hasher = hash.then(Sha256::new);
        LocalPart(Batched::new(Place { data: self.data, lock: self.lock, at, mode, hasher, differs: false }))
    }
}

/// A part on its way.
pub(super) struct LocalPart(Batched<Place>);

struct Place {
    data: File,
    lock: File,
    at: u64,
    mode: Mode,
    hasher: Option<Sha256>,
    differs: bool,
}

impl Sink for Place {
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for bytes in batch {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(bytes);
            }
            match self.mode {
                Mode::Write => self.data.write_all_at(bytes, self.at)?,
                Mode::Compare => {
                    let mut there = vec![0; bytes.len()];
                    self.data.read_exact_at(&mut there, self.at)?;
                    self.differs |= there != *bytes;
                }
            }
            self.at += bytes.len() as u64;
        }
        Ok(())
    }
}

impl LocalPart {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.write(bytes).await.map_err(Error::io("written"))
    }

    pub(super) async fn end(self) -> Result<LocalEnded> {
        self.0.finish().await.map(LocalEnded).map_err(Error::io("written"))
    }
}

/// A part that was handed to the kernel.
pub(super) struct LocalEnded(Box<Place>);

impl LocalEnded {
    pub(super) fn digest(&self) -> Option<Digest> {
        self.0.hasher.clone().map(Digest::finish)
    }

    pub(super) fn differs(&self) -> bool {
        self.0.differs
    }

    pub(super) async fn keep(self) -> Result<Kept> {
        let place = *self.0;
        let synced = blocking(move || {
            if place.mode == Mode::Write {
                place.data.sync_data()?;
            }
            Ok(Kept { blob: None, _lock: Some(place.lock) })
        });
        synced.await.map_err(Error::io("written"))
    }
}
