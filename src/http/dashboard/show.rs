//! Values for people, as HTML.

use std::fmt;

use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use crate::engine::report::html::format::{escape, seconds};

pub(super) use crate::engine::report::html::format::{
    bytes, change, count, grouped, name, percent, short_bytes, value,
};

/// Letters of JSON that are shown.
const JSON_LETTERS: usize = 4_000;

/// Text that is HTML already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Markup(pub(super) String);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

impl Markup {
    /// Nothing.
    pub(super) fn dash() -> Self {
        Self("<span class=\"none\">–</span>".to_owned())
    }

    /// Any text.
    pub(super) fn text(text: &str) -> Self {
        Self(escape(text))
    }

    /// Bytes, the exact number on hover.
    pub(super) fn bytes(number: u64) -> Self {
        Self(bytes(number as f64))
    }

    /// A count, the exact number on hover.
    pub(super) fn count(number: u64) -> Self {
        Self(count(number as f64))
    }

    /// A moment: how long ago, the moment itself on hover.
    pub(super) fn time(at: DateTime<Utc>) -> Self {
        let machine = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let exact = at.format("%Y-%m-%d %H:%M:%S UTC");
        Self(format!("<time datetime=\"{machine}\" title=\"{exact}\">{}</time>", relative(at, Utc::now())))
    }

    /// A moment, or a dash.
    pub(super) fn maybe_time(at: Option<DateTime<Utc>>) -> Self {
        at.map_or_else(Self::dash, Self::time)
    }

    /// From one moment to another.
    pub(super) fn duration(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let ms = (to - from).num_milliseconds().max(0);
        Self(if ms < 10_000 { format!("{:.2} s", ms as f64 / 1e3) } else { seconds(ms as f64 / 1e3) })
    }

    /// A state of anything, with its colour.
    pub(super) fn state(state: &str) -> Self {
        let class = match state {
            "ready" | "succeeded" | "live" => "good",
            "running" | "validating" => "busy",
            "invalid" | "failed" | "expired" | "crashed" => "bad",
            "cancelling" | "lost" => "warn",
            _ => "calm",
        };
        Self(format!("<span class=\"state {class}\">{}</span>", escape(state)))
    }

    /// An id or a hash, with a button that copies it.
    pub(super) fn copyable(text: &str) -> Self {
        Self::copyable_as(text, text)
    }

    /// A text that is shown short and copied whole.
    pub(super) fn copyable_as(text: &str, shown: &str) -> Self {
        let (whole, shown) = (escape(text), escape(shown));
        Self(format!(
            "<span class=\"copyable\"><code title=\"{whole}\">{shown}</code><button type=\"button\" class=\"copy\" \
             data-copy=\"{whole}\" aria-label=\"Copy {whole}\" hidden>Copy</button></span>"
        ))
    }

    /// A link to a page of ours.
    pub(super) fn link(path: &str, text: &str) -> Self {
        Self(format!("<a href=\"{}\">{}</a>", escape(path), escape(text)))
    }

    /// JSON for reading, cut where it is long.
    pub(super) fn json(value: &Value) -> Self {
        Self(escape(&cut(&serde_json::to_string_pretty(value).unwrap_or_default(), JSON_LETTERS)))
    }
}

/// `3 minutes ago`. What lies ahead of us by a clock's error is `now`.
fn relative(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let is_past = at <= now;
    // what lies ahead is rounded: a deadline of a day is not "in 23 hours" a moment later
    let span = if is_past { now - at } else { rounded(at - now) };
    let words = words(span);
    match (words, is_past) {
        (None, _) => "just now".to_owned(),
        (Some(words), true) => format!("{words} ago"),
        (Some(words), false) => format!("in {words}"),
    }
}

/// With half of its unit more.
fn rounded(span: TimeDelta) -> TimeDelta {
    let half = match span.num_seconds() {
        ..60 => 0,
        60..3_570 => 30,
        3_570..84_600 => 1_800,
        _ => 43_200,
    };
    span + TimeDelta::seconds(half)
}

/// A span in its largest unit; `None` for one of a few seconds.
fn words(span: TimeDelta) -> Option<String> {
    let seconds = span.num_seconds();
    let (number, unit) = match seconds {
        ..5 => return None,
        5..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    Some(format!("{number} {unit}{}", if number == 1 { "" } else { "s" }))
}

/// At most so many letters of a text whose length nobody bounds.
pub(super) fn cut(text: &str, letters: usize) -> String {
    let mut short: String = text.chars().take(letters).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The end of an id: enough to tell it from others at a glance.
pub(super) fn short_id(id: &str) -> String {
    let (prefix, rest) = id.split_once('_').unwrap_or(("", id));
    let tail: Vec<char> = rest.chars().rev().take(6).collect();
    format!("{prefix}_…{}", tail.into_iter().rev().collect::<String>())
}

/// The first digits of a hash.
pub(super) fn short_hash(hash: &str) -> String {
    hash.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_by_their_distance() {
        let now = Utc::now();
        for (seconds, told) in [
            (0, "just now"),
            (-3, "just now"),
            (5, "5 seconds ago"),
            (60, "1 minute ago"),
            (7_300, "2 hours ago"),
            (200_000, "2 days ago"),
            (-90_000, "in 1 day"),
            (-86_398, "in 1 day"),
            (-7_199, "in 2 hours"),
            (-100, "in 2 minutes"),
        ] {
            assert_eq!(relative(now - TimeDelta::seconds(seconds), now), told);
        }
    }

    #[test]
    fn everything_is_escaped() {
        let hostile = "<img src=x onerror=alert(1)>\"'";
        for shown in [
            Markup::text(hostile),
            Markup::state(hostile),
            Markup::copyable(hostile),
            Markup::link(hostile, hostile),
            Markup::json(&Value::from(hostile)),
        ] {
            assert!(!shown.0.contains("<img") && !shown.0.contains("\"'"), "{shown}");
        }
        assert_eq!(short_id("job_0198f2a4-7d10-7cc3-98d3-3f6b0c5a7e21"), "job_…5a7e21");
    }
}
