//! SHA-256 of files that come in parts: each is hashed as far as it is there without a gap, in the background, so that
//! little is left to hash when its last part has come.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::super::Digest;
use super::super::batched::blocking;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes that are hashed before anyone may look in between.
const STEP_BYTES: u64 = 64 << 20;

/// The uploads of this process that are hashed ahead. It only saves time: one that is not here is hashed when it is
/// complete.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Ahead(Arc<SyncMutex<HashMap<Uuid, Arc<Run>>>>);

/// One upload.
#[derive(Debug, Default)]
struct Run {
    there: SyncMutex<There>,
    hash: Arc<Mutex<Prefix>>,
}

/// What is there of a file.
#[derive(Debug, Default)]
struct There {
    /// First byte without a gap before it.
    until: u64,
    /// What is there after a gap: start, end.
    later: BTreeMap<u64, u64>,
}

impl There {
    fn add(&mut self, range: &Range<u64>) {
        let end = self.later.entry(range.start).or_default();
        *end = range.end.max(*end);
        while let Some(next) = self.later.first_entry() {
            if *next.key() > self.until {
                break;
            }
            self.until = self.until.max(next.remove());
        }
    }
}

/// A hash of the first bytes of a file.
#[derive(Debug, Default)]
struct Prefix {
    hasher: Sha256,
    bytes: u64,
}

impl Ahead {
    fn run(&self, upload: Uuid) -> Arc<Run> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(upload).or_default())
    }

    pub(super) fn knows(&self, upload: Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&upload)
    }

    /// Forgets an upload.
    pub(super) fn forget(&self, upload: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&upload);
    }

    /// Takes note that these bytes are there for good, and hashes them in the background where nothing is missing
    /// before them.
    pub(super) fn add(&self, upload: Uuid, path: PathBuf, ranges: &[Range<u64>]) {
        let run = self.run(upload);
        {
            let mut there = run.there.lock().unwrap_or_else(PoisonError::into_inner);
            for range in ranges {
                there.add(range);
            }
        }
        tokio::spawn(async move {
            let until = || run.there.lock().unwrap_or_else(PoisonError::into_inner).until;
            if let Err(error) = advance(&run, &path, until).await {
                // The upload was discarded, or whoever completes it will be told the same.
                tracing::debug!(%upload, %error, "an upload could not be hashed ahead");
            }
        });
    }

    /// The digest of the first `size_bytes` bytes, all of which are there.
    pub(super) async fn digest(&self, upload: Uuid, path: &Path, size_bytes: u64) -> io::Result<Digest> {
        let run = self.run(upload);
        advance(&run, path, || size_bytes).await?;
        let prefix = run.hash.lock().await;
        if prefix.bytes != size_bytes {
            return Err(io::Error::other("more of the upload was hashed than it is long"));
        }
        Ok(Digest::finish(prefix.hasher.clone()))
    }
}

/// Hashes up to where `until` says, which may grow meanwhile. Whoever comes while another one hashes waits for it.
async fn advance(run: &Run, path: &Path, until: impl Fn() -> u64) -> io::Result<()> {
    loop {
        let mut prefix = Arc::clone(&run.hash).lock_owned().await;
        let target = until().min(prefix.bytes.saturating_add(STEP_BYTES));
        if prefix.bytes >= target {
            return Ok(());
        }
        let path = path.to_owned();
        blocking(move || prefix.advance(&File::open(path)?, target)).await?;
    }
}

impl Prefix {
    fn advance(&mut self, file: &File, target: u64) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        while self.bytes < target {
            let wanted = (target - self.bytes).min(BUFFER_BYTES as u64) as usize;
            let read = file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.bytes)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.hasher.update(buffer.get(..read).unwrap_or_default());
            self.bytes += read as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_waited_for() {
        let mut there = There::default();
        for (range, until) in [(10..20, 0), (30..40, 0), (0..10, 20), (0..10, 20), (20..30, 40), (40..41, 41)] {
            there.add(&range);
            assert_eq!(there.until, until, "{range:?}");
        }
        assert!(there.later.is_empty());
    }

    #[tokio::test]
    async fn the_digest_is_the_files_whatever_came_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let data: Vec<u8> = (0..3 * BUFFER_BYTES + 7).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &data).unwrap();
        let (ahead, upload, size_bytes) = (Ahead::default(), Uuid::now_v7(), data.len() as u64);
        let (first, rest) = (0..100_000, 100_000..size_bytes);
        ahead.add(upload, path.clone(), &[rest]);
        ahead.add(upload, path.clone(), &[first]);
        assert_eq!(ahead.digest(upload, &path, size_bytes).await.unwrap(), Digest::of(&data));
        assert_eq!(ahead.digest(upload, &path, size_bytes).await.unwrap(), Digest::of(&data), "it can be repeated");
        let fresh = Ahead::default();
        assert_eq!(fresh.digest(upload, &path, size_bytes).await.unwrap(), Digest::of(&data));
        assert!(fresh.digest(Uuid::now_v7(), &path, size_bytes + 1).await.is_err());
    }
}
