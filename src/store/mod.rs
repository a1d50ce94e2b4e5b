//! Blobs: bytes under the name of their SHA-256, in a local folder or an object store.
//!
//! A blob is never changed. One that [`Staged::finish`] has answered for survives a power cut: file and folder are
//! synced, or the object store has acknowledged it. One conformance suite (`tests/it/store.rs`) runs over both kinds.

mod batched;
mod config;
mod digest;
mod error;
mod hashing;
mod local;
mod remote;
mod uploads;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use uuid::Uuid;

pub use config::StoreConfig;
pub use digest::{Digest, DigestError};
pub use error::{Error, Result};
use hashing::HashingFile;
use local::{Local, LocalStaged};
use remote::{Remote, RemoteStaged};
pub use uploads::{Claim, Ended, Kept, PartWriter, Sealed, Slot};

/// A blob that lies in the store for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
}

/// Blobs that are looked for at a time.
const LOOKS: usize = 16;
/// What a store's owner is written down as.
const OWNER: &str = "owner";

fn parse_owner(bytes: &[u8]) -> io::Result<Uuid> {
    Uuid::try_parse_ascii(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the store's owner is no id"))
}

/// A blob as the store lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written last, by the clock of whoever holds it.
    pub modified: SystemTime,
}

/// Where blobs lie. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Local(Local),
    Remote(Remote),
}

impl Store {
    /// Opens a store; a local folder is made where there is none. An object store is not asked anything yet: see
    /// [`Store::check`].
    ///
    /// # Errors
    ///
    /// When the folder can't be made, or the address or settings of an object store make no sense.
    pub async fn open(config: &StoreConfig) -> Result<Self> {
        match config {
            StoreConfig::Local(root) => Ok(Self(Backend::Local(Local::open(root.clone()).await?))),
            StoreConfig::S3 { url, settings } => {
                let (store, prefix) = config::s3(url, settings)?;
                Ok(Self(Backend::Remote(Remote::new(store, prefix))))
            }
        }
    }

    /// A store over any object store, with the blobs under `prefix`.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self(Backend::Remote(Remote::new(store, prefix.into())))
    }

    /// The same store, which refuses new bytes where they would leave less than `bytes` free on the disk of a local folder:
    /// for the database, which may lie there too. An object store has no disk that we know of.
    #[must_use]
    pub fn keeping_free(mut self, bytes: u64) -> Self {
        if let Backend::Local(local) = &mut self.0 {
            local.keep_free(bytes);
        }
        self
    }

    /// Starts a new blob.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Io`].
    pub async fn writer(&self) -> Result<Staged> {
        match &self.0 {
            Backend::Local(local) => Ok(Staged(StagedBackend::Local(local.writer().await?))),
            Backend::Remote(remote) => Ok(Staged(StagedBackend::Remote(Box::new(remote.writer())))),
        }
    }

    /// A blob's bytes, or those of `range`, cut to the blob's end.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; later failures come with the stream.
    pub async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<BoxStream<'static, Result<Bytes>>> {
        match &self.0 {
            Backend::Local(local) => local.read(*digest, range).await,
            Backend::Remote(remote) => remote.read(*digest, range).await,
        }
    }

    /// A blob's length.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn size_bytes(&self, digest: &Digest) -> Result<u64> {
        match &self.0 {
            Backend::Local(local) => local.size_bytes(digest).await,
            Backend::Remote(remote) => remote.size_bytes(digest).await,
        }
    }

    /// Looks for all of these blobs, several at a time.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where one is not there.
    pub async fn look_for(&self, digests: Vec<Digest>) -> Result<()> {
        let looks = digests.into_iter().map(|digest| {
            let store = self.clone();
            async move { store.size_bytes(&digest).await.map(drop) }
        });
        stream::iter(looks).buffer_unordered(LOOKS).try_collect().await
    }

    /// Makes the blob available as the file `to`, which must not exist: a hard link where that is possible, else a
    /// copy that is checked. Whoever reads it must not write to it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Corrupt`] when what was copied is not what the blob is named after.
    pub async fn fetch(&self, digest: &Digest, to: &Path) -> Result<()> {
        if let Backend::Local(local) = &self.0
            && local.link_to(digest, to).await?
        {
            return Ok(());
        }
        self.copy(digest, to).await.map(|_| ())
    }

    /// Copies the blob to the file `to`, which must not exist, and checks and syncs it; says its length. Bytes that came
    /// from another machine and are not right are asked for once more: what is damaged may be what brought them.
    ///
    /// # Errors
    ///
    /// As [`Store::fetch`].
    pub async fn copy(&self, digest: &Digest, to: &Path) -> Result<u64> {
        match (self.copy_once(digest, to).await, &self.0) {
            (Err(error @ Error::Corrupt { .. }), Backend::Remote(_)) => {
                tracing::warn!(%error, "asking for it once more");
                tokio::fs::remove_file(to).await.map_err(Error::io("written"))?;
                self.copy_once(digest, to).await
            }
            (done, _) => done,
        }
    }

    async fn copy_once(&self, digest: &Digest, to: &Path) -> Result<u64> {
        let mut bytes = self.read(digest, None).await?;
        let mut file = HashingFile::create(to.to_owned()).await.map_err(Error::io("written"))?;
        while let Some(chunk) = bytes.try_next().await? {
            file.write(chunk).await.map_err(Error::io("written"))?;
        }
        let found = file.finish().await.map_err(Error::io("written"))?;
        if found.digest == *digest {
            Ok(found.size_bytes)
        } else {
            Err(Error::Corrupt { expected: *digest, found: found.digest })
        }
    }

    /// Stores a local file. It must not be written to any more: a local store keeps a hard link to it where it can.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or as [`Staged::finish`].
    pub async fn put_file(&self, path: &Path) -> Result<Stored> {
        if let Backend::Local(local) = &self.0
            && let Some(stored) = local.adopt(path).await?
        {
            return Ok(stored);
        }
        let file = tokio::fs::File::open(path).await.map_err(Error::io("read"))?;
        let mut bytes = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
        let mut staged = self.writer().await?;
        while let Some(chunk) = bytes.next().await {
            staged.write(chunk.map_err(Error::io("read"))?).await?;
        }
        staged.finish().await
    }

    /// Removes a blob; one that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Io`].
    pub async fn delete(&self, digest: &Digest) -> Result<()> {
        match &self.0 {
            Backend::Local(local) => local.delete(digest).await,
            Backend::Remote(remote) => remote.delete(digest).await,
        }
    }

    /// Every blob, in no order. What else lies there is passed over.
    pub fn list(&self) -> BoxStream<'static, Result<Blob>> {
        match &self.0 {
            Backend::Local(local) => local.list(),
            Backend::Remote(remote) => remote.list(),
        }
    }

    /// Which database the store belongs to: the one whose id it carries. One that carries none takes `candidate`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Io`]; also where what it carries is no id.
    pub async fn owner(&self, candidate: Uuid) -> Result<Uuid> {
        match &self.0 {
            Backend::Local(local) => local.owner(candidate).await,
            Backend::Remote(remote) => remote.owner(candidate).await,
        }
    }

    /// Removes what was being written longer than `older_than` ago and never finished; says how many files.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Io`].
    pub async fn sweep(&self, older_than: Duration) -> Result<u64> {
        match &self.0 {
            Backend::Local(local) => local.sweep(older_than).await,
            Backend::Remote(remote) => remote.sweep(older_than).await,
        }
    }

    /// Bytes that are free where a local store lies; `None` for an object store, or where the system does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        match &self.0 {
            Backend::Local(local) => local.free_bytes(),
            Backend::Remote(_) => None,
        }
    }

    /// Whether the store answers, and a local one takes bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Full`], [`Error::Io`].
    pub async fn check(&self) -> Result<()> {
        match &self.0 {
            Backend::Local(local) => local.check().await,
            Backend::Remote(remote) => remote.check().await,
        }
    }
}

/// A blob that is being written. Dropped before [`Staged::finish`], it never was.
pub struct Staged(StagedBackend);

enum StagedBackend {
    Local(LocalStaged),
    Remote(Box<RemoteStaged>),
}

impl Staged {
    /// Appends. An error may belong to bytes that were given earlier; the blob is lost then.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Unavailable`], [`Error::Io`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.0 {
            StagedBackend::Local(staged) => staged.write(bytes).await,
            StagedBackend::Remote(staged) => staged.write(bytes).await,
        }
    }

    /// Publishes the blob under its digest. An answer means that it is durable. That it was there before is fine.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Unavailable`], [`Error::Io`].
    pub async fn finish(self) -> Result<Stored> {
        match self.0 {
            StagedBackend::Local(staged) => staged.finish().await,
            StagedBackend::Remote(staged) => staged.finish().await,
        }
    }
}
