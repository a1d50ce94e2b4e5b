//! Hints that a job changed. They save waiting; whoever takes them still looks for itself from time to time.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use uuid::Uuid;

use crate::db;

/// Spreads the database's hints.
#[derive(Debug, Clone)]
pub(super) struct Hints(Sender<Uuid>);

/// What was hinted at since this value was made.
#[derive(Debug)]
pub(super) struct Interest(Receiver<Uuid>);

impl Hints {
    pub(super) fn new() -> Self {
        Self(broadcast::channel(256).0)
    }

    /// Passes the database's hints on, until its pool is closed.
    pub(super) async fn spread(self, pool: db::Pool) {
        let mut hints = pin!(db::listen(pool));
        while let Some(id) = hints.next().await {
            // Nobody is interested: fine.
            let _ = self.0.send(id);
        }
    }

    /// Registers interest. To be done before looking: what changes in between is then not missed.
    pub(super) fn interest(&self) -> Interest {
        Interest(self.0.subscribe())
    }
}

impl Interest {
    /// Waits for a hint at `job`, or at any. Too many to keep count as a hint.
    pub(super) async fn hint(&mut self, job: Option<Uuid>) {
        loop {
            match self.0.recv().await {
                Ok(id) if job.is_some_and(|job| job != id) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// `base` and up to a quarter more, so that many workers do not ask at once.
pub(super) fn with_jitter(base: Duration) -> Duration {
    let [.., random] = *Uuid::now_v7().as_bytes();
    base + base.mul_f64(f64::from(random) / 1024.0)
}
