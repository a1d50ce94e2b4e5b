//! Long polls: who waits watches a job, and reads again when that has changed.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::App;
use super::error::Result;

/// How often a wait looks that has no job to watch.
const LOOK: Duration = Duration::from_secs(1);

/// Reads until `is_done`, the wait is over or the server stops; the last reading.
///
/// `watched` is the job that decides: it is read again when that has changed, and at the end, so that waiting costs
/// nothing. Without one it is read each second.
pub(super) async fn until<T, F: Future<Output = Result<T>>>(
    app: &App,
    watched: Option<Uuid>,
    wait: Option<Duration>,
    read: impl Fn() -> F,
    is_done: impl Fn(&T) -> bool,
) -> Result<T> {
    let deadline = Instant::now() + wait.unwrap_or_default();
    // before the first reading, so that no change falls between the two
    let mut views = watched.filter(|_| wait.is_some()).map(|id| app.watch.subscribe(id));
    loop {
        let value = read().await?;
        if is_done(&value) || Instant::now() >= deadline || app.stopping.is_cancelled() {
            return Ok(value);
        }
        let look = if views.is_some() { deadline } else { deadline.min(Instant::now() + LOOK) };
        let changed = async {
            match &mut views {
                Some(views) => views.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(look) => {}
            // the watching ends with the server
            _ = changed => {}
            () = app.stopping.cancelled() => {}
        }
    }
}
