//! Bytes on their way to a file, off the async threads.

use std::io;

use bytes::Bytes;
use tokio::task::JoinHandle;

/// Bytes that are gathered before a blocking thread is asked to take them.
const BATCH_BYTES: usize = 1 << 20;

/// Where batches of bytes go, on a thread that may block.
pub(super) trait Sink: Send + 'static {
    /// Takes bytes in the order in which they came.
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()>;
}

/// Hands bytes to a sink in batches. One batch is on its way while the next one is gathered, so that two of them are in
/// memory, however much is written.
pub(super) struct Batched<S> {
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    state: State<S>,
}

enum State<S> {
    Idle(Box<S>),
    Busy(JoinHandle<io::Result<Box<S>>>),
    /// An earlier batch failed.
    Broken,
}

impl<S: Sink> Batched<S> {
    pub(super) fn new(sink: S) -> Self {
        Self { gathered: Vec::new(), gathered_bytes: 0, state: State::Idle(Box::new(sink)) }
    }

    /// Appends. An error may belong to bytes that were given earlier.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Hands what was gathered to a blocking thread, once the batch before it is done.
    async fn flush(&mut self) -> io::Result<()> {
        let mut sink = self.sink().await?;
        let batch = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.state = State::Busy(tokio::task::spawn_blocking(move || sink.take(&batch).map(|()| sink)));
        Ok(())
    }

    async fn sink(&mut self) -> io::Result<Box<S>> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Idle(sink) => Ok(sink),
            State::Busy(task) => task.await.map_err(io::Error::other)?,
            State::Broken => Err(io::Error::other("an earlier write failed")),
        }
    }

    /// Waits until the sink has all bytes, and gives it back.
    pub(super) async fn finish(mut self) -> io::Result<Box<S>> {
        self.flush().await?;
        self.sink().await
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
