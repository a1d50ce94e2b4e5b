//! A file that is hashed while it is written, off the async threads.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::{Digest, Stored};

/// Bytes that are gathered before a blocking thread is asked to hash and write them.
const BATCH_BYTES: usize = 1 << 20;

/// Writes a new file and hashes it. One batch is on its way while the next one is gathered.
pub(super) struct HashingFile {
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    state: State,
}

enum State {
    Idle(Box<Sink>),
    Busy(JoinHandle<io::Result<Box<Sink>>>),
    /// An earlier write failed.
    Broken,
}

struct Sink {
    file: File,
    hasher: Sha256,
    size_bytes: u64,
}

impl Sink {
    fn take(mut self: Box<Self>, batch: &[Bytes]) -> io::Result<Box<Self>> {
        for bytes in batch {
            self.hasher.update(bytes);
            self.file.write_all(bytes)?;
            self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        }
        Ok(self)
    }
}

impl HashingFile {
    /// Creates `path`, which must not exist.
    pub(super) async fn create(path: PathBuf) -> io::Result<Self> {
        let file = blocking(move || File::options().write(true).create_new(true).open(path)).await?;
        let sink = Sink { file, hasher: Sha256::new(), size_bytes: 0 };
        Ok(Self { gathered: Vec::new(), gathered_bytes: 0, state: State::Idle(Box::new(sink)) })
    }

    /// Appends. An error may belong to bytes that were given earlier.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Hands what was gathered to a blocking thread, once the batch before it is done.
    async fn flush(&mut self) -> io::Result<()> {
        let sink = self.sink().await?;
        let batch = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.state = State::Busy(tokio::task::spawn_blocking(move || sink.take(&batch)));
        Ok(())
    }

    async fn sink(&mut self) -> io::Result<Box<Sink>> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Idle(sink) => Ok(sink),
            State::Busy(task) => task.await.map_err(io::Error::other)?,
            State::Broken => Err(io::Error::other("an earlier write failed")),
        }
    }

    /// Waits for all bytes and syncs the file to the disk. Its folder is the caller's to sync.
    pub(super) async fn finish(mut self) -> io::Result<Stored> {
        self.flush().await?;
        let sink = self.sink().await?;
        blocking(move || {
            sink.file.sync_all()?;
            Ok(Stored { digest: Digest::finish(sink.hasher), size_bytes: sink.size_bytes })
        })
        .await
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
