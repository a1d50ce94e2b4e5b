//! Carries what a process says into the job's log and its next heartbeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::lease::Lease;
use super::pace::Pace;
use crate::db::Pool;
use crate::db::jobs::append_event;
use crate::engine::context::Event;
use crate::telemetry::metrics;

/// Events that wait for the database at the most; a job that says more while the database is away is not heard.
pub(super) const BACKLOG: usize = 1024;
/// Notes of one attempt; more are not kept.
const MOST_NOTES: usize = 1000;
/// Characters of a note.
const NOTE_CHARS: usize = 2000;
/// Between two tries to write.
const RETRY: Duration = Duration::from_secs(1);

/// Writes down what comes until the process has no more to say. One that says nothing for the time of `stall` is noted
/// too, once for each silence: it may hang, and nobody but its owner knows; its deadline ends it.
pub(super) async fn keep(pool: Pool, lease: Arc<Lease>, mut events: mpsc::Receiver<Event>, stall: Duration) {
    let mut notes = 0;
    let mut is_resumed = false;
    let mut pace = Pace::default();
    let mut patience = stall;
    loop {
        let event = match timeout(patience, events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(_) => {
                patience = Duration::MAX;
                tracing::warn!(job = %lease.id, "the job says nothing; it may hang");
                let message =
                    "the job has made no progress for a while: it may hang; cancel it, or let its deadline end it";
                write(&pool, &lease, "stall", &json!({ "message": message, "silent_seconds": stall.as_secs() })).await;
                continue;
            }
        };
        patience = stall;
        match event {
            Event::Progress { done, total, unit } => {
                let unit: String = unit.chars().take(32).collect();
                let mut progress = json!({ "done": done, "total": total, "unit": unit });
                if let Some(seconds) = pace.seconds_left(Instant::now(), done, total, &unit) {
                    progress["eta_seconds"] = json!(seconds);
                }
                lease.tell(|status| status.progress = Some(progress));
            }
            Event::Phase { phase } => {
                pace.restart();
                let phase = json!(phase);
                lease.tell(|status| {
                    status.phase = phase.as_str().map(str::to_owned);
                    status.progress = None;
                });
                write(&pool, &lease, "phase", &json!({ "phase": phase })).await;
            }
            Event::Note { message } => {
                notes += 1;
                let message: String = match notes {
                    ..MOST_NOTES => message.chars().filter(|c| *c != '\0').take(NOTE_CHARS).collect(),
                    MOST_NOTES => "there are more notes, which are not kept".to_owned(),
                    _ => continue,
                };
                write(&pool, &lease, "note", &json!({ "message": message })).await;
            }
            Event::Resumed { step } if !is_resumed => {
                is_resumed = true;
                metrics::checkpoint("resumed");
                write(&pool, &lease, "note", &json!({ "message": format!("goes on from step {step}") })).await;
            }
            // Once is enough; and checkpoints are told of when they are published.
            Event::Resumed { .. } | Event::Checkpoint { .. } => {}
        }
    }
}

/// Writes one line to the job's log, for as long as that may work.
pub(super) async fn write(pool: &Pool, lease: &Lease, kind: &str, body: &Value) {
    loop {
        match append_event(pool, lease.id, lease.token, kind, body).await {
            Ok(_) => return,
            Err(error) if error.is_unavailable() => {
                tokio::select! {
                    () = lease.lost() => return,
                    () = sleep(RETRY) => {}
                }
            }
            Err(error) => return tracing::error!(job = %lease.id, kind, ?error, "a line of the job's log was lost"),
        }
    }
}
