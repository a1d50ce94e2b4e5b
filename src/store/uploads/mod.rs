//! Large files on their way into the store, in parts that may come in any order and at once.
//!
//! A local store keeps one file an upload, as long as the whole from the start, and writes each part at its place; the
//! file itself becomes the blob, by a link, so that no byte is written twice. It is hashed as far as it is there without
//! a gap, while the rest still comes. An object store keeps each part as a blob and puts them together in the end.
//!
//! Who may write, and what was acknowledged, is the caller's to know: rows say it.

mod ahead;
mod local;
mod remote;

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

pub(super) use ahead::Ahead;
use local::{LocalClaim, LocalEnded, LocalPart, Mode};
use remote::{RemoteClaim, RemotePart, RemoteSealed};

use super::{Backend, Digest, Result, Store, Stored};

/// Where a part belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// 0 and up.
    pub number: u32,
    /// Its first byte in the whole.
    pub offset_bytes: u64,
    /// Its length.
    pub size_bytes: u64,
}

impl Slot {
    /// Its bytes in the whole.
    pub fn range(&self) -> Range<u64> {
        self.offset_bytes..self.offset_bytes.saturating_add(self.size_bytes)
    }
}

impl Store {
    /// Makes room for an upload. A local store takes the space from the disk now, and leaves some for others.
    ///
    /// # Errors
    ///
    /// [`super::Error::Full`] where there is not enough.
    pub async fn reserve(&self, upload: Uuid, size_bytes: u64) -> Result<()> {
        match &self.0 {
            Backend::Local(local) => local.reserve(upload, size_bytes).await,
            Backend::Remote(_) => Ok(()),
        }
    }

    /// The right to write a part; `None` while somebody else has it, in this process or another one.
    ///
    /// # Errors
    ///
    /// [`super::Error::Io`], also where the upload was discarded.
    pub async fn claim_part(&self, upload: Uuid, slot: Slot) -> Result<Option<Claim>> {
        match &self.0 {
            Backend::Local(local) => {
                Ok(local.claim_part(upload, slot).await?.map(|claim| Claim(ClaimOf::Local(claim))))
            }
            Backend::Remote(remote) => Ok(Some(Claim(ClaimOf::Remote(remote.claim_part().await)))),
        }
    }

    /// Hashes ahead, in the background: these bytes are acknowledged and will not change.
    pub fn hash_ahead(&self, upload: Uuid, acknowledged: &[Range<u64>]) {
        if let Backend::Local(local) = &self.0 {
            local.hash_ahead(upload, acknowledged);
        }
    }

    /// Whether this process hashes an upload ahead.
    pub fn is_hashing_ahead(&self, upload: Uuid) -> bool {
        match &self.0 {
            Backend::Local(local) => local.ahead.knows(upload),
            Backend::Remote(_) => true,
        }
    }

    /// Puts an upload together, all of whose parts are acknowledged: `parts` are the blobs that [`Ended::keep`] named, in
    /// order. It is no blob yet.
    ///
    /// # Errors
    ///
    /// Those of reading and writing.
    pub async fn seal(&self, upload: Uuid, size_bytes: u64, parts: &[Option<Digest>]) -> Result<Sealed> {
        match &self.0 {
            Backend::Local(local) => {
                let digest = local.digest_of(upload, size_bytes).await?;
                Ok(Sealed { stored: Stored { digest, size_bytes }, bytes: SealedBytes::Local(upload) })
            }
            Backend::Remote(remote) => {
                let sealed = remote.seal(parts).await?;
                Ok(Sealed { stored: sealed.stored(), bytes: SealedBytes::Remote(Box::new(sealed)) })
            }
        }
    }

    /// Makes the blob of an upload that was put together. Can be repeated for a local store, until [`Store::discard`].
    ///
    /// # Errors
    ///
    /// [`super::Error::Full`], [`super::Error::Unavailable`], [`super::Error::Io`].
    pub async fn publish(&self, sealed: &mut Sealed) -> Result<Stored> {
        match (&self.0, &mut sealed.bytes) {
            (Backend::Local(local), SealedBytes::Local(upload)) => {
                local.publish_upload(*upload, sealed.stored.digest).await?;
            }
            (_, SealedBytes::Remote(remote)) => remote.finish().await?,
            (Backend::Remote(_), SealedBytes::Local(_)) => {}
        }
        Ok(sealed.stored)
    }

    /// Removes what an upload left beside its blob. That there is nothing is fine.
    ///
    /// # Errors
    ///
    /// [`super::Error::Io`].
    pub async fn discard(&self, upload: Uuid) -> Result<()> {
        match &self.0 {
            Backend::Local(local) => local.discard(upload).await,
            Backend::Remote(_) => Ok(()),
        }
    }

    /// The uploads that have bytes of their own in the store.
    ///
    /// # Errors
    ///
    /// [`super::Error::Io`].
    pub async fn list_uploads(&self) -> Result<Vec<Uuid>> {
        match &self.0 {
            Backend::Local(local) => local.list_uploads().await,
            Backend::Remote(_) => Ok(Vec::new()),
        }
    }
}

/// The right to write a part. Given back when it is dropped, or what it became is.
pub struct Claim(ClaimOf);

enum ClaimOf {
    Local(LocalClaim),
    Remote(RemoteClaim),
}

impl Claim {
    /// Starts to write the part; `hash` where its digest is wanted.
    pub fn write(self, hash: bool) -> PartWriter {
        PartWriter(match self.0 {
            ClaimOf::Local(claim) => PartOf::Local(claim.start(Mode::Write, hash)),
            ClaimOf::Remote(claim) => PartOf::Remote(Box::new(claim.write())),
        })
    }

    /// Starts to compare a part that is acknowledged already with what comes: `known` is what [`Ended::keep`] said.
    pub fn compare(self, known: Option<Digest>, hash: bool) -> PartWriter {
        PartWriter(match self.0 {
            ClaimOf::Local(claim) => PartOf::Local(claim.start(Mode::Compare, hash)),
            ClaimOf::Remote(claim) => PartOf::Remote(Box::new(claim.compare(known))),
        })
    }
}

/// A part on its way.
pub struct PartWriter(PartOf);

enum PartOf {
    Local(LocalPart),
    Remote(Box<RemotePart>),
}

impl PartWriter {
    /// Appends. An error may belong to bytes that were given earlier. The caller holds to the part's length.
    ///
    /// # Errors
    ///
    /// [`super::Error::Full`], [`super::Error::Unavailable`], [`super::Error::Io`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.0 {
            PartOf::Local(part) => part.write(bytes).await,
            PartOf::Remote(part) => part.write(bytes).await,
        }
    }

    /// Waits for all bytes. They are not durable yet.
    ///
    /// # Errors
    ///
    /// As [`PartWriter::write`].
    pub async fn end(self) -> Result<Ended> {
        match self.0 {
            PartOf::Local(part) => Ok(Ended(EndedOf::Local(part.end().await?))),
            PartOf::Remote(part) => Ok(Ended(EndedOf::Remote(part))),
        }
    }
}

/// A part all of whose bytes are there.
pub struct Ended(EndedOf);

enum EndedOf {
    Local(LocalEnded),
    Remote(Box<RemotePart>),
}

impl Ended {
    /// SHA-256 of the part, where it was asked for.
    pub fn digest(&self) -> Option<Digest> {
        match &self.0 {
            EndedOf::Local(ended) => ended.digest(),
            EndedOf::Remote(part) => Some(part.digest()),
        }
    }

    /// Whether the part differs from the one that it was compared with.
    pub fn differs(&self) -> bool {
        match &self.0 {
            EndedOf::Local(ended) => ended.differs(),
            EndedOf::Remote(part) => part.differs(),
        }
    }

    /// Makes the part durable.
    ///
    /// # Errors
    ///
    /// [`super::Error::Full`], [`super::Error::Unavailable`], [`super::Error::Io`].
    pub async fn keep(self) -> Result<Kept> {
        match self.0 {
            EndedOf::Local(ended) => ended.keep().await,
            EndedOf::Remote(part) => part.keep().await,
        }
    }
}

/// A part that is durable. Its claim is held until this is dropped: acknowledge it before.
pub struct Kept {
    /// The blob that holds it, where it is one.
    pub blob: Option<Digest>,
    _lock: Option<std::fs::File>,
}

/// An upload that was put together.
pub struct Sealed {
    stored: Stored,
    bytes: SealedBytes,
}

enum SealedBytes {
    Local(Uuid),
    Remote(Box<RemoteSealed>),
}

impl Sealed {
    /// Its digest and length.
    pub fn stored(&self) -> Stored {
        self.stored
    }
}
