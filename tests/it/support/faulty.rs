//! An object store that fails on demand: it is away, slow, breaks off, or gives other bytes than were stored.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Semaphore;

/// How slow a slow one is.
const SLOW: Duration = Duration::from_secs(2);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Reads and writes are refused, as a server's 503 is.
    Away,
    /// Reads and writes take seconds.
    Slow,
    /// Reads break off in the middle.
    Short,
    /// Reads give as many other bytes.
    Wrong,
}

/// A store in memory that fails so often.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: InMemory,
    strikes: Mutex<Option<(Strike, u32)>>,
    deletes: Mutex<Option<Arc<Semaphore>>>,
}

/// Whose store it is, is asked at any moment: what is counted is what happens to blobs.
fn is_owner(at: &Key) -> bool {
    at.filename() == Some("owner")
}

impl Faulty {
    /// The next so many reads fail so, and writes where it is about them too.
    pub(crate) fn strike(&self, strike: Strike, times: u32) {
        *self.strikes.lock().unwrap() = Some((strike, times));
    }

    /// Deletes wait from now on, and are done as this gives permits.
    pub(crate) fn hold_deletes(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.deletes.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// How many are still to fail.
    pub(crate) fn left(&self) -> u32 {
        self.strikes.lock().unwrap().map_or(0, |(_, left)| left)
    }

    fn next(&self, without_bytes: bool) -> Option<Strike> {
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        let (strike, left) = strikes.as_mut()?;
        if *left == 0 || (without_bytes && !matches!(strike, Strike::Away | Strike::Slow)) {
            return None;
        }
        *left -= 1;
        Some(*strike)
    }

    async fn wait_or_refuse(&self, strike: Option<Strike>) -> Result<()> {
        match strike {
            Some(Strike::Away) => Err(away()),
            Some(Strike::Slow) => {
                tokio::time::sleep(SLOW).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn away() -> Error {
    Error::Generic { store: "faulty", source: "503 Slow Down".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a faulty store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Key, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !is_owner(at) {
            self.wait_or_refuse(self.next(true)).await?;
        }
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Key, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.wait_or_refuse(self.next(true)).await?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Key, options: GetOptions) -> Result<GetResult> {
        if is_owner(at) {
            return self.inner.get_opts(at, options).await;
        }
        // a question for its length has no bytes that could be wrong
        let strike = self.next(options.head);
        self.wait_or_refuse(strike).await?;
        match strike {
            Some(Strike::Short) => {
                let mut found = self.inner.get_opts(at, options).await?;
                let half = Bytes::from(vec![0; (found.meta.size / 2) as usize]);
                found.payload = GetResultPayload::Stream(stream::iter([Ok(half), Err(away())]).boxed());
                Ok(found)
            }
            Some(Strike::Wrong) => {
                let other = InMemory::new();
                let length = self.inner.head(at).await?.size as usize;
                other.put(at, vec![b'?'; length].into()).await?;
                other.get_opts(at, options).await
            }
            _ => self.inner.get_opts(at, options).await,
        }
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        let gate = self.deletes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = keys.then(move |key| {
            let gate = gate.clone();
            async move {
                if let Some(gate) = gate {
                    gate.acquire().await.map_err(|_| away())?.forget();
                }
                key
            }
        });
        self.inner.delete_stream(opened.boxed())
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
