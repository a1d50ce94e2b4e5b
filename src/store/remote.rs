//! Blobs in an object store.
//!
//! `blobs/ab/cdef…` are the blobs. What fits in one part is put there at once. What does not goes to `staging/` as a
//! multipart upload, because its name is not known until its last byte, and is copied into place by the store. A bucket
//! rule that ends incomplete multipart uploads after a day cleans up after killed processes; the rest is swept here.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::error::{Error, Result};
use super::{Blob, Digest, OWNER, Stored, parse_owner};

/// Bytes of a part. Stores allow 10 000 parts, so a blob may have 160 GB.
const PART_BYTES: usize = 16 << 20;
/// Parts of one blob that are on their way at once.
const PARTS_IN_FLIGHT: usize = 4;
/// Parts of large uploads that are received at once: each is in memory until the store has it.
const PARTS_AT_ONCE: usize = 8;
/// What a store copies in one request: S3 refuses more than 5 GiB.
const COPY_LIMIT_BYTES: u64 = 5 << 30;

/// An object store and the prefix under which the blobs lie.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    pub(super) parts: Arc<Semaphore>,
}

impl Remote {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Key) -> Self {
        Self { store, prefix, parts: Arc::new(Semaphore::new(PARTS_AT_ONCE)) }
    }

    fn blobs(&self) -> Key {
        self.prefix.clone().join("blobs")
    }

    fn blob(&self, digest: &Digest) -> Key {
        Key::from(format!("{}/{}", self.blobs(), digest.path()))
    }

    fn staging(&self) -> Key {
        self.prefix.clone().join("staging")
    }

    pub(super) fn writer(&self) -> RemoteStaged {
        RemoteStaged { remote: self.clone(), hasher: Sha256::new(), size_bytes: 0, first: Vec::new(), upload: None }
    }

    pub(super) async fn read(
        &self,
        digest: Digest,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let range = match range {
            None => {
                let found = self.store.get(&self.blob(&digest)).await.map_err(Error::blob_remote(digest))?;
                return Ok(checked(digest, found.into_stream().map_err(Error::remote).boxed()));
            }
            Some(range) => {
                // Stores refuse empty ranges and ranges that begin at the end.
                let size_bytes = self.size_bytes(&digest).await?;
                let range = range.start..range.end.min(size_bytes);
                if range.is_empty() {
                    return Ok(stream::empty().boxed());
                }
                GetRange::Bounded(range)
            }
        };
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        let found = self.store.get_opts(&self.blob(&digest), options).await.map_err(Error::blob_remote(digest))?;
        Ok(found.into_stream().map_err(Error::remote).boxed())
    }

    pub(super) async fn size_bytes(&self, digest: &Digest) -> Result<u64> {
        let found = self.store.head(&self.blob(digest)).await;
        found.map(|it| it.size).map_err(Error::blob_remote(*digest))
    }

    pub(super) async fn delete(&self, digest: &Digest) -> Result<()> {
        match self.store.delete(&self.blob(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::remote(error)),
        }
    }

    pub(super) fn list(&self) -> BoxStream<'static, Result<Blob>> {
        let listed = self.store.list(Some(&self.blobs()));
        listed
            .try_filter_map(|it| async move {
                let mut segments = it.location.parts().collect::<Vec<_>>().into_iter().rev();
                let (rest, folder) = (segments.next(), segments.next());
                let digest = folder.zip(rest).and_then(|(a, b)| Digest::from_path(a.as_ref(), b.as_ref()));
                Ok(digest.map(|digest| Blob { digest, size_bytes: it.size, modified: it.last_modified.into() }))
            })
            .map_err(Error::remote)
            .boxed()
    }

    pub(super) async fn sweep(&self, older_than: Duration) -> Result<u64> {
        let mut listed = self.store.list(Some(&self.staging()));
        let mut removed = 0;
        while let Some(it) = listed.try_next().await.map_err(Error::remote)? {
            let age = chrono::Utc::now().signed_duration_since(it.last_modified).to_std().unwrap_or_default();
            if age > older_than {
                self.store.delete(&it.location).await.map_err(Error::remote)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Asks for a key that need not exist.
    pub(super) async fn owner(&self, candidate: Uuid) -> Result<Uuid> {
        let key = self.prefix.clone().join(OWNER);
        let found = match self.store.get(&key).await {
            Err(object_store::Error::NotFound { .. }) => {
                // Not every store knows how to write only where nothing is; two that come first at once both read again.
                let id = candidate.to_string().into_bytes();
                self.store.put(&key, id.into()).await.map_err(Error::remote)?;
                self.store.get(&key).await
            }
            found => found,
        };
        let bytes = found.map_err(Error::remote)?.bytes().await.map_err(Error::remote)?;
        parse_owner(&bytes).map_err(Error::io("read"))
    }

    pub(super) async fn check(&self) -> Result<()> {
        match self.store.head(&self.prefix.clone().join("check")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::remote(error)),
        }
    }

    /// Copies a finished upload to its place; one that is too large for the store's own copy goes through us.
    async fn place(&self, staged: &Key, stored: Stored) -> Result<()> {
        let blob = self.blob(&stored.digest);
        if stored.size_bytes <= COPY_LIMIT_BYTES {
            return self.store.copy(staged, &blob).await.map_err(Error::remote);
        }
        let mut bytes = self.store.get(staged).await.map_err(Error::remote)?.into_stream();
        let mut upload = self.upload_to(&blob).await?;
        while let Some(chunk) = bytes.try_next().await.map_err(Error::remote)? {
            upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(Error::remote)?;
            upload.put(chunk);
        }
        upload.finish().await.map(|_| ()).map_err(Error::remote)
    }

    async fn upload_to(&self, key: &Key) -> Result<WriteMultipart> {
        let upload = self.store.put_multipart(key).await.map_err(Error::remote)?;
        Ok(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))
    }
}

/// The same bytes, but the last of them only if all together are those that the blob is named after: whoever reads is
/// cut off before the end rather than given something else.
fn checked(digest: Digest, bytes: BoxStream<'static, Result<Bytes>>) -> BoxStream<'static, Result<Bytes>> {
    let begin = (bytes, Some(Sha256::new()), Bytes::new());
    stream::try_unfold(begin, move |(mut bytes, hasher, held)| async move {
        let Some(mut hasher) = hasher else { return Ok(None) };
        match bytes.try_next().await? {
            Some(chunk) => {
                hasher.update(&chunk);
                Ok(Some((held, (bytes, Some(hasher), chunk))))
            }
            None => match Digest::finish(hasher) {
                found if found == digest => Ok(Some((held, (bytes, None, Bytes::new())))),
                found => Err(Error::Corrupt { expected: digest, found }),
            },
        }
    })
    .try_filter(|chunk| std::future::ready(!chunk.is_empty()))
    .boxed()
}

/// A blob on its way into an object store.
pub(super) struct RemoteStaged {
    remote: Remote,
    hasher: Sha256,
    size_bytes: u64,
    /// The first part's bytes, while there may be no second one.
    first: Vec<u8>,
    upload: Option<(Key, WriteMultipart)>,
}

impl RemoteStaged {
    /// Digest and length of what was written so far.
    pub(super) fn stored(&self) -> Stored {
        Stored { digest: Digest::finish(self.hasher.clone()), size_bytes: self.size_bytes }
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        if let Some((_, upload)) = &mut self.upload {
            upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(Error::remote)?;
            upload.put(bytes);
            return Ok(());
        }
        self.first.extend_from_slice(&bytes);
        if self.first.len() > PART_BYTES {
            let key = self.remote.staging().join(Uuid::now_v7().to_string());
            let mut upload = self.remote.upload_to(&key).await?;
            upload.put(std::mem::take(&mut self.first).into());
            self.upload = Some((key, upload));
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Stored> {
        let hasher = std::mem::replace(&mut self.hasher, Sha256::new());
        let stored = Stored { digest: Digest::finish(hasher), size_bytes: self.size_bytes };
        match self.upload.take() {
            None => {
                let payload = PutPayload::from(std::mem::take(&mut self.first));
                let blob = self.remote.blob(&stored.digest);
                self.remote.store.put(&blob, payload).await.map_err(Error::remote)?;
            }
            Some((key, upload)) => {
                upload.finish().await.map_err(Error::remote)?;
                let placed = self.remote.place(&key, stored).await;
                if let Err(error) = self.remote.store.delete(&key).await {
                    tracing::warn!(%key, error = %error, "a staged object was left behind; it is swept after a day");
                }
                placed?;
            }
        }
        Ok(stored)
    }
}

impl Drop for RemoteStaged {
    fn drop(&mut self) {
        let Some((key, upload)) = self.upload.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%key, %error, "an upload that was given up could not be ended");
                }
            });
        }
    }
}
