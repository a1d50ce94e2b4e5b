//! The server on its socket, until it is told to stop.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Busy, Limited};
use super::{State as App, metrics, router};
use crate::db;

/// How long requests may still run after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(25);

/// Answers requests until `shutdown`. Then it says in `/readyz` that it is going, for as long as the limits say, so that
/// whoever sends requests here can stop doing so; takes no more connections; and lets those that are there end. At most
/// 25 seconds for all of it.
///
/// # Errors
///
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let _upkeep = metrics::keep_up();
    let _hints = AbortOnDropHandle::new(tokio::spawn(forward_hints(app.clone())));
    let limited = Limited::new(listener, app.limits.connections, app.limits.stall);
    let signal = app.stopping.clone();
    let (going, linger) = (app.draining.clone(), app.limits.linger.min(DRAIN));
    let draining = app.draining.clone();
    let server = axum::serve(limited, router(app).into_make_service_with_connect_info::<Busy>())
        .with_graceful_shutdown(async move {
            shutdown.await;
            going.cancel();
            tokio::time::sleep(linger).await;
            // waits end at once, so that they do not hold the server up
            signal.cancel();
        });
    let overdue = async {
        draining.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended,
        () = overdue => {
            tracing::warn!("requests were cut off: they ran on for {} s after the server was told to stop", DRAIN.as_secs());
            Ok(())
        }
    }
}

/// Tells those who wait which jobs changed.
async fn forward_hints(app: App) {
    let mut changed = pin!(db::listen(app.pool.clone()));
    while let Some(job) = changed.next().await {
        // nobody waits: fine
        let _ = app.changes.send(job);
    }
}
