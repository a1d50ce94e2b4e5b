//! A file that is hashed while it is written, off the async threads.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::batched::{Batched, Sink, blocking};
use super::{Digest, Stored};

/// Writes a new file and hashes it.
pub(super) struct HashingFile(Batched<Hashed>);

struct Hashed {
    file: File,
    hasher: Sha256,
    size_bytes: u64,
}

impl Sink for Hashed {
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for bytes in batch {
            self.hasher.update(bytes);
            self.file.write_all(bytes)?;
            self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }
}

impl HashingFile {
    /// Creates `path`, which must not exist.
    pub(super) async fn create(path: PathBuf) -> io::Result<Self> {
        let file = blocking(move || File::options().write(true).create_new(true).open(path)).await?;
        Ok(Self(Batched::new(Hashed { file, hasher: Sha256::new(), size_bytes: 0 })))
    }

    /// Appends. An error may belong to bytes that were given earlier.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.write(bytes).await
    }

    /// Waits for all bytes and syncs the file to the disk. Its folder is the caller's to sync.
    pub(super) async fn finish(self) -> io::Result<Stored> {
        let sink = self.0.finish().await?;
        blocking(move || {
            sink.file.sync_all()?;
            Ok(Stored { digest: Digest::finish(sink.hasher), size_bytes: sink.size_bytes })
        })
        .await
    }
}
