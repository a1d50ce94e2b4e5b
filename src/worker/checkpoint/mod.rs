//! Publishes what a job's process leaves on its way, so that another attempt goes on from there.
//!
//! Beside the process, which never waits for it, one checkpoint at a time: while one is under way the newest waits, and
//! what was told between is passed over. The process is not trusted, and still runs: what it tells is checked, and its
//! files are copied out of its reach before they are hashed and stored, for it may hold them open. (The copy is what a
//! local store then takes over.) A store or a database that is away costs the checkpoint and not the job.

mod check;
mod fetch;
mod take;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ending::chain;
use super::lease::Lease;
use super::{Context, journal, most_disk_bytes};
use crate::db::NewFile;
use crate::db::jobs::{Job, NewCheckpoint, keep_checkpoint};
use crate::engine::checkpoint::{Given, KeptFile};
use crate::engine::job::WORK;
use crate::store::{self, Digest};
use crate::telemetry::metrics;
use check::{Checked, Wanted};
pub(super) use fetch::{Fetched, fetch};

/// Checkpoints of one attempt; later ones are not published.
const MOST_PUBLISHED: u32 = 1000;
/// What one attempt may store, in times of what one checkpoint may have: most of it is collected soon.
const MOST_TIMES: u64 = 64;
/// After so many refusals nothing more is taken from a process.
const MOST_REFUSED: u32 = 100;

/// A checkpoint as a process tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) step: u64,
    pub(super) key: String,
    pub(super) files: Vec<KeptFile>,
}

/// Why a checkpoint is not published.
#[derive(Debug)]
enum Skip {
    /// A file is not there any more: the process is further by now.
    Gone,
    /// Store, database or disk do not take it now.
    Missed(String),
    /// It is not what the process says, or more than it may have.
    Refused(String),
}

impl From<crate::db::Error> for Skip {
    fn from(error: crate::db::Error) -> Self {
        Self::Missed(chain(&error))
    }
}

impl From<sqlx::Error> for Skip {
    fn from(error: sqlx::Error) -> Self {
        crate::db::Error::from(error).into()
    }
}

impl From<store::Error> for Skip {
    fn from(error: store::Error) -> Self {
        Self::Missed(chain(&error))
    }
}

/// Publishes the checkpoints of one attempt.
pub(super) struct Publisher {
    context: Context,
    lease: Arc<Lease>,
    /// The attempt's own.
    folder: PathBuf,
    /// What a checkpoint may have on the disk.
    most_bytes: u64,
    /// Files that lie in the store since an earlier attempt.
    given: BTreeSet<(String, Digest)>,
    /// Files that this attempt has put there.
    stored: BTreeSet<(String, Digest)>,
    stored_bytes: u64,
    published: u32,
    refused: u32,
    is_away: bool,
    stop: CancellationToken,
    /// Whoever drops this stops what runs on another thread.
    _stops: DropGuard,
}

impl Publisher {
    /// For an attempt at `job` in `folder` that was given what an earlier one left.
    pub(super) fn new(context: Context, job: &Job, lease: Arc<Lease>, folder: &Path, given: Option<&Given>) -> Self {
        let files = given.map(|given| given.files.as_slice()).unwrap_or_default();
        let name = |file: &KeptFile| Some((file.name.clone(), file.sha256.parse().ok()?));
        let stop = CancellationToken::new();
        Self {
            context,
            lease,
            folder: folder.to_owned(),
            most_bytes: most_disk_bytes(job.disk_bytes),
            given: files.iter().filter_map(|given| name(&given.file)).collect(),
            stored: BTreeSet::new(),
            stored_bytes: 0,
            published: 0,
            refused: 0,
            is_away: false,
            _stops: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Publishes what is told until the process has no more to say, or the job is another's.
    pub(super) async fn run(mut self, mut told: watch::Receiver<Option<Told>>) {
        while told.changed().await.is_ok() {
            let Some(next) = told.borrow_and_update().clone() else { continue };
            let step = next.step;
            match self.publish(next).await {
                Ok(true) => {
                    metrics::checkpoint("published");
                    self.published += 1;
                    self.is_away = false;
                    tracing::debug!(step, "a checkpoint was published");
                }
                Ok(false) => return tracing::warn!(step, "the job was taken away: its checkpoint is not published"),
                Err(Skip::Gone) => tracing::debug!(step, "the job's process is further than this checkpoint"),
                Err(Skip::Missed(cause)) => self.miss(step, &cause),
                Err(Skip::Refused(why)) => self.refuse(step, &why).await,
            }
            if self.refused >= MOST_REFUSED {
                return;
            }
        }
    }

    /// Once for each time that something is away.
    fn miss(&mut self, step: u64, cause: &str) {
        metrics::checkpoint("missed");
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(step, cause, "a checkpoint could not be published; trying it with the next one");
        }
    }

    /// Once for each attempt: whoever lies does so often.
    async fn refuse(&mut self, step: u64, why: &str) {
        metrics::checkpoint("refused");
        self.refused += 1;
        if self.refused == 1 {
            tracing::warn!(step, why, "a checkpoint was refused");
            let body = json!({ "message": format!("a checkpoint was refused: {why}") });
            journal::write(&self.context.pool, &self.lease, "note", &body).await;
        }
    }

    /// False if the job was taken away.
    async fn publish(&mut self, told: Told) -> Result<bool, Skip> {
        let checked = check::check(told, self.most_bytes).map_err(Skip::Refused)?;
        if self.published >= MOST_PUBLISHED {
            return Err(Skip::Refused(format!("there were {MOST_PUBLISHED} in this attempt already")));
        }
        self.store(&checked.files).await?;
        let answer = self.context.config.timing.answer;
        let told = timeout(answer, self.tell(&checked)).await;
        told.unwrap_or_else(|_| Err(Skip::Missed("store or database do not answer".into())))
    }

    /// Puts into the store what is not there yet.
    async fn store(&mut self, files: &[Wanted]) -> Result<(), Skip> {
        let is_new = |file: &&Wanted| !self.stored.contains(&file.name());
        let wanted: Vec<Wanted> = files.iter().filter(is_new).cloned().collect();
        let work = self.folder.join(WORK);
        // All at once, before any is copied: the process may remove them meanwhile.
        let open = move || {
            wanted.into_iter().map(|it| Ok((take::open(&work, &it.path)?, it))).collect::<Result<Vec<_>, Skip>>()
        };
        for (file, wanted) in blocking(open).await? {
            let Some(file) = file else {
                if self.given.contains(&wanted.name()) {
                    continue;
                }
                return Err(Skip::Gone);
            };
            self.afford(wanted.size_bytes)?;
            let copy = self.folder.join("taken");
            let (to, stop) = (copy.clone(), self.stop.clone());
            let name = wanted.name();
            blocking(move || take::copy(file, &wanted, &to, &stop)).await?;
            let stored = self.context.store.put_file(&copy).await?;
            if stored.digest != name.1 {
                return Err(Skip::Refused(format!("the file '{}' was changed meanwhile", name.0)));
            }
            self.stored_bytes = self.stored_bytes.saturating_add(stored.size_bytes);
            self.stored.insert(name);
        }
        // The next one replaces it, and all goes with the attempt; but a copy is a file's whole length until then.
        let _ = tokio::fs::remove_file(self.folder.join("taken")).await;
        Ok(())
    }

    fn afford(&self, bytes: u64) -> Result<(), Skip> {
        if self.context.config.free_disk_bytes() <= bytes {
            return Err(Skip::Missed(format!("the scratch folder's disk has no room for {bytes} more bytes")));
        }
        let most = self.most_bytes.saturating_mul(MOST_TIMES);
        if self.stored_bytes.saturating_add(bytes) > most {
            return Err(Skip::Refused(format!("all of this attempt's together would have more than {most} bytes")));
        }
        Ok(())
    }

    /// Makes it the job's checkpoint, in one transaction; false if the job was taken away.
    async fn tell(&mut self, checked: &Checked) -> Result<bool, Skip> {
        let files = checked.files.iter().map(|file| NewFile {
            path: file.path.clone(),
            sha256: file.digest.to_string(),
            size_bytes: file.size_bytes,
        });
        let new = NewCheckpoint { step: checked.step, key: checked.key.to_string(), files: files.collect() };
        let mut tx = self.context.pool.begin().await?;
        if !keep_checkpoint(&mut tx, self.lease.id, self.lease.token, &new).await? {
            return Ok(false);
        }
        // From here on the rows of the blobs are ours, and collection waits: what is there now stays.
        let digests = checked.files.iter().map(|file| file.digest).collect();
        if let Err(error) = self.context.store.look_for(digests).await {
            self.stored.clear();
            return Err(error.into());
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Work with files, on a thread that may wait for them.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Skip> + Send + 'static) -> Result<T, Skip> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Skip::Missed(chain(&error))))
}
