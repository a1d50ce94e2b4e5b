//! What is remembered of keys, for a second: so a key costs a statement a second and not one a request.
//!
//! What this server revokes counts at once. What another one, or the command line, revokes counts within that second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::db::keys::{self, Kept};
use crate::db::{Pool, Result};
use crate::id::KeyId;

/// How old what is remembered may be.
const FRESH: Duration = Duration::from_secs(1);
/// Keys that are remembered at the most.
const MOST: usize = 4096;

/// What is remembered. A clone shares it.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Known(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// A key was made. Never false again, for keys are never deleted.
    exist: AtomicBool,
    /// When there was none.
    none_at: Mutex<Option<Instant>>,
    /// Held by the one that looks; whoever comes meanwhile takes what it finds. When it found nothing out.
    looking: tokio::sync::Mutex<Option<Instant>>,
    keys: Mutex<HashMap<KeyId, (Instant, Kept)>>,
    /// Grows with every change here: what was read before one is not remembered after it.
    changes: AtomicU64,
}

impl Known {
    /// Whether a key was ever made; with `look_now` as of now, else as of a second ago.
    ///
    /// # Errors
    ///
    /// The database's, unless the answer is known.
    pub(in crate::http) async fn exist(&self, pool: &Pool, look_now: bool) -> Result<bool> {
        let inner = &self.0;
        if inner.exist.load(Ordering::Acquire) {
            return Ok(true);
        }
        let is_known = |asked_at: Instant| lock(&inner.none_at).is_some_and(|at| asked_at.duration_since(at) < FRESH);
        if !look_now && is_known(Instant::now()) {
            return Ok(false);
        }
        let came_at = Instant::now();
        let mut failed_at = inner.looking.lock().await;
        let asked_at = Instant::now();
        if !look_now && is_known(asked_at) {
            return Ok(false);
        }
        // else each would wait for the database in turn, and the last one for very long
        if failed_at.is_some_and(|at| at >= came_at) {
            return Err(sqlx::Error::PoolTimedOut.into());
        }
        match keys::exist(pool).await {
            Ok(true) => {
                self.made();
                return Ok(true);
            }
            Ok(false) => {}
            Err(error) => {
                *failed_at = Some(Instant::now());
                return Err(error);
            }
        }
        *lock(&inner.none_at) = Some(asked_at);
        // one may have been made here meanwhile
        Ok(inner.exist.load(Ordering::Acquire))
    }

    /// Whether there was no key when that could be seen last.
    pub(in crate::http) fn were_none(&self) -> bool {
        !self.0.exist.load(Ordering::Acquire) && lock(&self.0.none_at).is_some()
    }

    /// Notes that a key was made here.
    pub(in crate::http) fn made(&self) {
        self.0.exist.store(true, Ordering::Release);
    }

    /// The key of that id, whether it is usable or not, at most a second old. Its use is noted, once a minute.
    ///
    /// # Errors
    ///
    /// The database's.
    pub(in crate::http) async fn recognize(&self, pool: &Pool, id: KeyId) -> Result<Option<Kept>> {
        let inner = &self.0;
        let asked_at = Instant::now();
        if let Some((at, kept)) = lock(&inner.keys).get(&id)
            && asked_at.duration_since(*at) < FRESH
        {
            return Ok(Some(kept.clone()));
        }
        let changes = inner.changes.load(Ordering::Acquire);
        let Some(kept) = keys::recognize(pool, id).await? else { return Ok(None) };
        if kept.is_stale && kept.key.is_usable {
            keys::touch(pool, id).await?;
        }
        let mut keys = lock(&inner.keys);
        if keys.len() >= MOST {
            keys.clear();
        }
        if inner.changes.load(Ordering::Acquire) == changes {
            keys.insert(id, (asked_at, kept.clone()));
        }
        Ok(Some(kept))
    }

    /// Notes that a key was changed here.
    pub(in crate::http) fn changed(&self, id: KeyId) {
        let mut keys = lock(&self.0.keys);
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        keys.remove(&id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
