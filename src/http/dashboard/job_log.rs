//! A job's log and attempts for people.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::show::{Markup, cut};
use crate::db::jobs::{Attempt, Job, JobEvent};

/// A line of the log.
pub(super) struct Line {
    pub(super) at: Markup,
    pub(super) kind: String,
    pub(super) text: String,
}

/// An attempt.
pub(super) struct AttemptRow {
    pub(super) number: u32,
    pub(super) outcome: Markup,
    pub(super) began: Markup,
    pub(super) took: Markup,
    pub(super) worker: String,
}

/// A moment of a job's life.
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) at: Markup,
    pub(super) after: Option<String>,
}

/// A line, with the time since the first.
pub(super) fn line(event: JobEvent, start: DateTime<Utc>) -> Line {
    let exact = event.at.format("%Y-%m-%d %H:%M:%S%.3f UTC");
    let machine = event.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let since = (event.at - start).num_milliseconds().max(0) as f64 / 1e3;
    Line {
        at: Markup(format!("<time datetime=\"{machine}\" title=\"{exact}\" data-fixed>+{since:.2} s</time>")),
        text: cut(&told(&event.body), 500),
        kind: event.kind,
    }
}

/// What a line says: the one text in it, or all of it.
fn told(body: &Value) -> String {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let said = text("message").or_else(|| text("phase"));
    if let Some(said) = said {
        return said.to_owned();
    }
    let Some(state) = text("state") else { return body.to_string() };
    let attempt = body.get("attempt").and_then(Value::as_u64).map(|number| format!(", attempt {number}"));
    let error = body.pointer("/error/code").and_then(Value::as_str).map(|code| format!(": {code}"));
    format!("{state}{}{}", attempt.unwrap_or_default(), error.unwrap_or_default())
}

/// Attempts, with the names of those who ran them.
pub(super) fn attempts(attempts: Vec<Attempt>, hosts: &HashMap<Uuid, String>) -> Vec<AttemptRow> {
    let row = |attempt: Attempt| AttemptRow {
        number: attempt.number,
        outcome: Markup::state(attempt.outcome.as_deref().unwrap_or("running")),
        began: Markup::time(attempt.started_at),
        took: attempt.ended_at.map_or_else(Markup::dash, |end| Markup::duration(attempt.started_at, end)),
        worker: hosts.get(&attempt.worker_id).cloned().unwrap_or_else(|| attempt.worker_id.to_string()),
    };
    attempts.into_iter().map(row).collect()
}

/// From its submission to its end.
pub(super) fn timeline(job: &Job) -> Vec<Step> {
    let span =
        |what: &str, from: DateTime<Utc>, to: DateTime<Utc>| Some(format!("{what} {}", Markup::duration(from, to)));
    let mut steps = vec![Step { what: "Submitted", at: Markup::time(job.created_at), after: None }];
    if let Some(started) = job.started_at {
        let after = span("after", job.created_at, started);
        steps.push(Step { what: "Started", at: Markup::time(started), after });
    }
    if let Some(asked) = job.cancel_requested_at {
        steps.push(Step { what: "Asked to stop", at: Markup::time(asked), after: None });
    }
    if let Some(finished) = job.finished_at {
        let what = match job.state.as_str() {
            "succeeded" => "Succeeded",
            "failed" => "Failed",
            "cancelled" => "Cancelled",
            _ => "Expired",
        };
        let after = job.started_at.and_then(|started| span("ran", started, finished));
        steps.push(Step { what, at: Markup::time(finished), after });
    } else {
        steps.push(Step { what: "Deadline", at: Markup::time(job.deadline_at), after: None });
    }
    steps
}
