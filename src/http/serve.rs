//! The server on its socket, until it is told to stop.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Door;
use super::{State as App, metrics, router};

/// How long requests may still run after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(25);

/// Answers requests until `shutdown`. Then it says in `/readyz` that it is going, for as long as the limits say, so that
/// whoever sends requests here can stop doing so; takes no more connections; and lets those that are there end. At most
/// 25 seconds for all of it.
///
/// # Errors
///
/// When the task that watches jobs breaks down.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let _upkeep = metrics::keep_up();
    let (limits, stopping, draining) = (app.limits, app.stopping.clone(), app.draining.clone());
    let mut watching = AbortOnDropHandle::new(tokio::spawn(app.watch.clone().keep(app.pool.clone())));
    let door = Door::new(&limits, router(app));
    let told = async {
        shutdown.await;
        draining.cancel();
        tokio::time::sleep(limits.linger.min(DRAIN)).await;
    };
    let ended = tokio::select! {
        () = told => Ok(()),
        Err(broken) = &mut watching => Err(io::Error::other(broken)),
        never = door.open(&listener) => match never {},
    };
    drop(listener);
    // waits and streams end at once, so that they do not hold the server up
    stopping.cancel();
    if !door.close(DRAIN).await {
        tracing::warn!(
            "requests were cut off: they ran on for {} s after the server was told to stop",
            DRAIN.as_secs()
        );
    }
    ended
}
