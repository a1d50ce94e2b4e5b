//! Holds a job's lease, whatever its process does.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use uuid::Uuid;

use super::Timing;
use super::hints::Interest;
use crate::db::jobs::{Heartbeat, heartbeat};
use crate::db::{Error, Pool};
use crate::id::JobId;
use crate::telemetry::metrics;

/// Why a job must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its owner asked.
    Cancel,
    /// Its time is up.
    Expire,
    /// It is not ours any more, or may not be: nothing may be written.
    Lost,
}

/// How far the job is: what the next heartbeat tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Status {
    pub(super) phase: Option<String>,
    pub(super) progress: Option<Value>,
}

/// A lease that is renewed until this value is dropped.
pub(super) struct Lease {
    pub(super) id: JobId,
    pub(super) token: Uuid,
    status: watch::Sender<Status>,
    orders: watch::Receiver<Option<Stop>>,
    told: Arc<Mutex<bool>>,
    _keeper: AbortOnDropHandle<()>,
}

impl Lease {
    /// Holds a lease that was granted after `asked_at`.
    pub(super) fn hold(
        pool: Pool,
        (id, token): (JobId, Uuid),
        asked_at: Instant,
        interest: Interest,
        timing: Timing,
    ) -> Self {
        let (status, heard) = watch::channel(Status::default());
        let (order, orders) = watch::channel(None);
        let told = Arc::default();
        let keeper = Keeper {
            pool,
            id,
            token,
            trusted_until: asked_at + timing.trust,
            interest,
            status: heard,
            order,
            told: Arc::clone(&told),
            timing,
        };
        Self {
            id,
            token,
            status,
            orders,
            told,
            _keeper: AbortOnDropHandle::new(tokio::spawn(keeper.keep().in_current_span())),
        }
    }

    /// What the next heartbeat tells.
    pub(super) fn tell(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// Resolves when the job must stop.
    pub(super) async fn stopped(&self) -> Stop {
        let mut orders = self.orders.clone();
        loop {
            if let Some(stop) = *orders.borrow_and_update() {
                return stop;
            }
            if orders.changed().await.is_err() {
                return Stop::Lost;
            }
        }
    }

    /// Runs the transaction that tells how the attempt ended; true if it did. No renewal comes in between: one that had
    /// waited for the job's row would find the job ended, and take that for a loss.
    pub(super) async fn last_word<E>(&self, word: impl Future<Output = Result<bool, E>>) -> Result<bool, E> {
        let mut told = self.told.lock().await;
        let ended = word.await?;
        *told |= ended;
        Ok(ended)
    }

    /// Resolves when the lease is lost; a wish to stop does not count.
    pub(super) async fn lost(&self) {
        let mut orders = self.orders.clone();
        // The keeper ends only by losing the lease.
        let _ = orders.wait_for(|order| *order == Some(Stop::Lost)).await;
    }
}

struct Keeper {
    pool: Pool,
    id: JobId,
    token: Uuid,
    /// By our own clock, from before the last renewal was asked for: a slow answer never makes it later.
    trusted_until: Instant,
    interest: Interest,
    status: watch::Receiver<Status>,
    order: watch::Sender<Option<Stop>>,
    /// Whether the attempt's end is told: then there is nothing to renew, or to lose.
    told: Arc<Mutex<bool>>,
    timing: Timing,
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            let wait = match self.renew().await {
                Ok(true) => self.timing.heartbeat,
                Ok(false) => break,
                Err(()) => self.timing.retry,
            };
            if Instant::now() >= self.trusted_until {
                tracing::warn!(job = %self.id, "the lease could not be renewed in time: the job is given up");
                break;
            }
            self.pause(wait).await;
        }
        metrics::lease_lost();
        self.order.send_replace(Some(Stop::Lost));
    }

    /// True while the lease is held, false when it was taken away.
    async fn renew(&mut self) -> Result<bool, ()> {
        let status = self.status.borrow_and_update().clone();
        let asked_at = Instant::now();
        let Ok(told) = timeout(self.patience(), Arc::clone(&self.told).lock_owned()).await else {
            return Err(());
        };
        if *told {
            drop(told);
            return std::future::pending().await;
        }
        let beat = heartbeat(&self.pool, self.id, self.token, status.phase.as_deref(), status.progress.as_ref());
        match timeout(self.patience(), beat).await {
            Ok(Ok(Heartbeat::Lost)) => {
                tracing::warn!(job = %self.id, "the job was taken away");
                Ok(false)
            }
            Ok(Ok(Heartbeat::Held { cancel_requested, deadline_passed })) => {
                self.trusted_until = asked_at + self.timing.trust;
                let stop = if cancel_requested { Some(Stop::Cancel) } else { deadline_passed.then_some(Stop::Expire) };
                self.order.send_if_modified(|order| stop.is_some() && std::mem::replace(order, stop) != stop);
                Ok(true)
            }
            Ok(Err(error)) => {
                report(self.id, &error);
                Err(())
            }
            Err(_) => {
                tracing::warn!(job = %self.id, "the database does not answer");
                Err(())
            }
        }
    }

    /// How long the database may take now.
    fn patience(&self) -> Duration {
        self.trusted_until.saturating_duration_since(Instant::now()).min(self.timing.answer)
    }

    /// Until the next heartbeat is due: sooner after a hint, a new phase, or progress; never past the trusted time.
    async fn pause(&mut self, wait: Duration) {
        let started = Instant::now();
        let due = (started + wait).min(self.trusted_until);
        let phase = self.status.borrow().phase.clone();
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = self.interest.hint(Some(self.id.0)) => {}
            changed = self.status.changed() => {
                if changed.is_ok() && self.status.borrow_and_update().phase == phase {
                    let soon = due.min(started + self.timing.progress);
                    tokio::time::sleep_until(soon).await;
                }
            }
        }
    }
}

fn report(id: JobId, error: &Error) {
    if error.is_unavailable() {
        tracing::warn!(job = %id, %error, "the lease could not be renewed; trying again");
    } else {
        tracing::error!(job = %id, error = ?error, "the lease could not be renewed; trying again");
    }
}
