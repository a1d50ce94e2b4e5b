//! A database that is away when a server or a worker starts: it is waited for.
//!
//! A machine that comes up starts everything at once, and a database takes longer than we do.

use std::error::Error;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::db::admin;

/// Between the first try and the second; each pause is twice the one before it.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long one try may take: who is cut off hears nothing.
const ANSWER: Duration = Duration::from_secs(5);

/// Waits until the database takes statements, and says on the log what it waits for. False if `shutdown` came first.
///
/// # Errors
///
/// What no waiting mends: an address that makes no sense, a password that is refused, a database that does not exist.
pub(super) async fn for_database(url: &str, shutdown: &CancellationToken) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        let answered = tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            answered = tokio::time::timeout(ANSWER, admin::ping(url)) => answered,
        };
        let why = match answered {
            Ok(Ok(())) => break,
            // the cause alone: what it is the cause of is said already
            Ok(Err(error)) if error.is_unavailable() => error.source().map_or(error.to_string(), ToString::to_string),
            Ok(Err(error)) => return Err(error).context("the database can't be opened"),
            Err(_) => format!("no answer within {} seconds", ANSWER.as_secs()),
        };
        tracing::warn!(
            "waiting for the database at {} ({why}). Does it run, and does DATABASE_URL name it?",
            admin::place(url)?
        );
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = sleep(pause) => {}
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
    if pause > PAUSE {
        tracing::info!("the database is there, after {} seconds", began.elapsed().as_secs());
    }
    Ok(true)
}
