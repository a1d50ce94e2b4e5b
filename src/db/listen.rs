//! Hints that something changed. Whoever listens still polls: a hint may be lost.

use std::time::Duration;

use futures::{Stream, stream};
use sqlx::Error;
use sqlx::postgres::PgListener;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::Pool;

/// Where the queue tells which job's state changed.
const CHANNEL: &str = "pare_jobs";
/// After so long a silence the connection must prove that it lives: a peer that vanished says nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long it may take for that.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two tries to connect.
const RECONNECT: Duration = Duration::from_secs(1);

/// The ids of jobs whose state changed, as they change. Holds one connection of the pool, and makes it anew when it
/// breaks; what happened meanwhile is not told. Ends when the pool is closed.
pub fn listen(pool: Pool) -> impl Stream<Item = Uuid> + Send + 'static {
    stream::unfold((pool, None), |(pool, mut listener)| async move {
        loop {
            match next(&pool, &mut listener).await {
                Ok(Some(id)) => return Some((id, (pool, listener))),
                Ok(None) => {}
                Err(Error::PoolClosed) => return None,
                Err(error) => {
                    tracing::debug!(%error, "the listener lost its connection");
                    listener = None;
                    sleep(RECONNECT).await;
                }
            }
        }
    })
}

/// The next hint, or `None` after a silence that the connection survived.
async fn next(pool: &Pool, slot: &mut Option<PgListener>) -> Result<Option<Uuid>, Error> {
    let listener = match slot {
        Some(listener) => listener,
        None => {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen(CHANNEL).await?;
            slot.insert(listener)
        }
    };
    match timeout(KEEP_ALIVE, listener.recv()).await {
        Ok(Ok(hint)) => Ok(Uuid::parse_str(hint.payload()).ok()),
        Ok(Err(error)) => Err(error),
        Err(_) => match timeout(ANSWER, sqlx::query("select 1").execute(&mut *listener)).await {
            Ok(Ok(_)) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::PoolTimedOut),
        },
    }
}
