//! The server on its socket, until it is told to stop.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Door;
use super::{State as App, router};
use crate::db;

/// How long requests may still run after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(25);

/// Answers requests until `shutdown`, then lets those that are there end, for at most 25 seconds.
///
/// # Errors
///
/// None: a connection that fails is that connection's matter.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (limits, stopping) = (app.limits, app.stopping.clone());
    let _hints = AbortOnDropHandle::new(tokio::spawn(forward_hints(app.clone())));
    let door = Door::new(&limits, router(app));
    tokio::select! {
        () = shutdown => {}
        never = door.open(&listener) => match never {},
    }
    drop(listener);
    // waits end at once, so that they do not hold the server up
    stopping.cancel();
    if !door.close(DRAIN).await {
        tracing::warn!(
            "requests were cut off: they ran on for {} s after the server was told to stop",
            DRAIN.as_secs()
        );
    }
    Ok(())
}

/// Tells those who wait which jobs changed.
async fn forward_hints(app: App) {
    let mut changed = pin!(db::listen(app.pool.clone()));
    while let Some(job) = changed.next().await {
        // nobody waits: fine
        let _ = app.changes.send(job);
    }
}
