//! Uploads in an object store: each part is a blob, put together through us in the end, because the store can't
//! concatenate objects and does not name the whole's SHA-256.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::super::error::{Error, Result};
use super::super::remote::{Remote, RemoteStaged};
use super::super::{Digest, Stored};
use super::Kept;

impl Remote {
    /// Waits until there is memory for another part.
    pub(super) async fn claim_part(&self) -> RemoteClaim {
        // the semaphore is never closed
        let permit = Arc::clone(&self.parts).acquire_owned().await.ok();
        RemoteClaim { remote: self.clone(), permit }
    }

    /// Reads the parts one after the other and writes them into one object.
    pub(super) async fn seal(&self, parts: &[Option<Digest>]) -> Result<RemoteSealed> {
        let mut staged = self.writer();
        for part in parts {
            let part = part.ok_or_else(|| {
                Error::io("read")(std::io::Error::other("a part lies in a local folder, and this is an object store"))
            })?;
            let mut bytes = self.read(part, None).await?;
            while let Some(chunk) = bytes.try_next().await? {
                staged.write(chunk).await?;
            }
        }
        Ok(RemoteSealed { stored: staged.stored(), staged: Some(staged) })
    }
}

/// An upload that lies in one object, which is no blob yet.
pub(super) struct RemoteSealed {
    stored: Stored,
    staged: Option<RemoteStaged>,
}

impl RemoteSealed {
    pub(super) fn stored(&self) -> Stored {
        self.stored
    }

    /// Moves the object to its place. A second time nothing is done.
    pub(super) async fn finish(&mut self) -> Result<()> {
        match self.staged.take() {
            Some(staged) => staged.finish().await.map(|_| ()),
            None => Ok(()),
        }
    }
}

/// The right to hold a part in memory.
pub(super) struct RemoteClaim {
    remote: Remote,
    permit: Option<OwnedSemaphorePermit>,
}

impl RemoteClaim {
    pub(super) fn write(self) -> RemotePart {
        RemotePart { way: Way::Write(self.remote.writer()), _permit: self.permit }
    }

    pub(super) fn compare(self, known: Option<Digest>) -> RemotePart {
        RemotePart { way: Way::Compare { hasher: Sha256::new(), known }, _permit: self.permit }
    }
}

/// A part on its way.
pub(super) struct RemotePart {
    way: Way,
    _permit: Option<OwnedSemaphorePermit>,
}

enum Way {
    Write(RemoteStaged),
    Compare { hasher: Sha256, known: Option<Digest> },
}

impl RemotePart {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.way {
            Way::Write(staged) => staged.write(bytes).await,
            Way::Compare { hasher, .. } => {
                hasher.update(&bytes);
                Ok(())
            }
        }
    }

    pub(super) fn digest(&self) -> Digest {
        match &self.way {
            Way::Write(staged) => staged.stored().digest,
            Way::Compare { hasher, .. } => Digest::finish(hasher.clone()),
        }
    }

    pub(super) fn differs(&self) -> bool {
        match &self.way {
            Way::Write(_) => false,
            Way::Compare { known, .. } => *known != Some(self.digest()),
        }
    }

    pub(super) async fn keep(self) -> Result<Kept> {
        let blob = match self.way {
            Way::Write(staged) => staged.finish().await?.digest,
            Way::Compare { hasher, .. } => Digest::finish(hasher),
        };
        Ok(Kept { blob: Some(blob), _lock: None })
    }
}
