//! Long polls: a notification is the hint to look, a look each second is the truth.

use std::future::Future;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::App;
use super::error::Result;

/// How often a wait looks without a hint.
const LOOK: Duration = Duration::from_secs(1);

/// Reads until `is_done`, the wait is over or the server stops; the last reading.
///
/// `watched` is the job whose changes are hints; without one every job's are.
pub(super) async fn until<T, F: Future<Output = Result<T>>>(
    app: &App,
    watched: Option<Uuid>,
    wait: Option<Duration>,
    read: impl Fn() -> F,
    is_done: impl Fn(&T) -> bool,
) -> Result<T> {
    // before the first reading, so that no change falls between the two
    let mut changes = app.changes.subscribe();
    let deadline = Instant::now() + wait.unwrap_or_default();
    loop {
        let value = read().await?;
        if is_done(&value) || Instant::now() >= deadline || app.stopping.is_cancelled() {
            return Ok(value);
        }
        tokio::select! {
            () = sleep_until(deadline.min(Instant::now() + LOOK)) => {}
            () = hint(&mut changes, watched) => {}
            () = app.stopping.cancelled() => {}
        }
    }
}

async fn hint(changes: &mut Receiver<Uuid>, watched: Option<Uuid>) {
    loop {
        match changes.recv().await {
            Ok(id) if watched.is_some_and(|watched| watched != id) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
