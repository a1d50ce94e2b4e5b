//! Server-Sent Events as bytes.

use bytes::Bytes;
use serde_json::{Value, json};

use super::shown::Event;
use crate::db::jobs::JobEvent;

/// What a stream starts with: how long a client should wait before it connects again, in milliseconds.
pub(in crate::http) const START: Bytes = Bytes::from_static(b"retry: 2000\n\n");
/// Says that the stream is alive.
pub(in crate::http) const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// A line of the log: its number, its kind, and the JSON that the paged list has.
pub(in crate::http) fn line(line: JobEvent) -> Bytes {
    let (seq, kind) = (line.seq, plain(&line.kind));
    let data = serde_json::to_string(&Event::from(line)).unwrap_or_default();
    Bytes::from(format!("id: {seq}\nevent: {kind}\ndata: {data}\n\n"))
}

/// How far a job is. It has no number: a client that comes again asks for the log's lines alone.
pub(in crate::http) fn progress(phase: Option<&str>, progress: &Value) -> Bytes {
    Bytes::from(format!("event: progress\ndata: {}\n\n", json!({ "phase": phase, "progress": progress })))
}

/// A text that can't end its line.
fn plain(kind: &str) -> String {
    kind.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_three_lines_whatever_it_holds() {
        let body = json!({ "message": "two\nlines\r\n\ndata: x" });
        let event =
            JobEvent { seq: 7, at: chrono::DateTime::UNIX_EPOCH, kind: "no\nte".to_owned(), body: body.clone() };
        let frame = String::from_utf8(line(event).to_vec()).unwrap();
        let lines: Vec<&str> = frame.split('\n').collect();
        let [id, kind, data, "", ""] = lines.as_slice() else { panic!("{frame}") };
        assert_eq!((*id, *kind), ("id: 7", "event: note"));
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&data["seq"], &data["body"]), (&json!(7), &body));
        assert!(!frame.contains('\r'));
    }
}
