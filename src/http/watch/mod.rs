//! Jobs that someone watches: long polls and event streams.
//!
//! One task looks at all of them together ([`look`]): at once at those that the database hints at, and each second at
//! all that have not ended, since a hint may be lost. What it sees lies in one [`View`] a job, which every listener
//! shares. So nobody but that task asks the database while nothing happens, however many listen.

mod look;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::db::jobs::Glance;

/// Lines of a job's log that are kept for its listeners. Whoever is further behind reads the database.
const TAIL_LINES: usize = 64;
/// Bytes of them.
const TAIL_BYTES: usize = 256 << 10;

/// Jobs that are watched. A clone shares all of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    topics: Mutex<HashMap<Uuid, watch::Sender<View>>>,
    /// There is a job that nobody has looked at yet.
    fresh: Notify,
}

impl Watch {
    /// Watches a job for as long as the receiver lives. What it holds may be a second old, or nothing yet; what happens
    /// from now on changes it.
    pub(super) fn subscribe(&self, id: Uuid) -> watch::Receiver<View> {
        let mut topics = self.topics();
        let topic = topics.entry(id).or_insert_with(|| {
            self.0.fresh.notify_one();
            watch::Sender::new(View::default())
        });
        topic.subscribe()
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<View>>> {
        // a map of senders is whole after every step
        self.0.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a watched job.
#[derive(Debug, Default)]
pub(super) struct View {
    /// `None` until the first look.
    pub(super) seen: Option<Seen>,
    /// How far it is, ready to be sent, with the revision that says so. There while it runs.
    pub(super) progress: Option<(i64, Bytes)>,
    lines: VecDeque<Line>,
    lines_bytes: usize,
}

/// What a look saw.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// There is no such job, or no more.
    Nothing,
    /// The job.
    Job(Glance),
}

/// A line of the log, ready to be sent.
#[derive(Debug)]
struct Line {
    seq: i64,
    frame: Bytes,
}

/// What a listener that has heard the log up to some line gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The lines after that, perhaps none, up to this one.
    Lines(Vec<Bytes>, i64),
    /// There are lines that are not kept here.
    Behind,
}

impl Next {
    /// Whether there is nothing to get.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Lines(lines, _) if lines.is_empty())
    }
}

impl View {
    /// The job, if it is there.
    pub(super) fn job(&self) -> Option<&Glance> {
        match &self.seen {
            Some(Seen::Job(job)) => Some(job),
            Some(Seen::Nothing) | None => None,
        }
    }

    /// Whether nothing will come after line `seq`.
    pub(super) fn is_over_after(&self, seq: i64) -> bool {
        match &self.seen {
            Some(Seen::Nothing) => true,
            Some(Seen::Job(job)) => job.state.is_terminal() && job.last_seq <= seq,
            None => false,
        }
    }

    /// What comes after line `seq`.
    pub(super) fn after(&self, seq: i64) -> Next {
        let last = self.job().map_or(0, |job| job.last_seq);
        if last <= seq {
            return Next::Lines(Vec::new(), seq);
        }
        match self.lines.front() {
            Some(first) if first.seq <= seq.saturating_add(1) => {
                let lines = self.lines.iter().filter(|line| line.seq > seq);
                Next::Lines(lines.map(|line| line.frame.clone()).collect(), last)
            }
            _ => Next::Behind,
        }
    }

    /// Adds the line that follows those that are there.
    fn push(&mut self, line: Line) {
        self.lines_bytes += line.frame.len();
        self.lines.push_back(line);
        while self.lines.len() > TAIL_LINES || self.lines_bytes > TAIL_BYTES {
            let Some(first) = self.lines.pop_front() else { break };
            self.lines_bytes -= first.frame.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DEFAULT_TENANT;
    use crate::db::jobs::JobState;
    use crate::id::JobId;

    fn view(last_seq: i64, frame_bytes: usize) -> View {
        let mut view = View::default();
        for seq in 1..=last_seq {
            view.push(Line { seq, frame: Bytes::from(vec![b'x'; frame_bytes]) });
        }
        let job = Glance {
            id: JobId::new(),
            tenant_id: DEFAULT_TENANT,
            state: JobState::Succeeded,
            phase: None,
            progress: None,
            revision: 1,
            last_seq,
        };
        View { seen: Some(Seen::Job(job)), ..view }
    }

    #[test]
    fn a_listener_gets_what_it_lacks_or_is_sent_to_the_log() {
        let known = view(3, 1);
        let count = |seq| match known.after(seq) {
            Next::Lines(lines, last) => (lines.len(), last),
            Next::Behind => panic!("all lines are there"),
        };
        assert_eq!((count(0), count(2), count(3), count(9)), ((3, 3), (1, 3), (0, 3), (0, 9)));
        assert!(known.is_over_after(3) && !known.is_over_after(2));
        let long = view(TAIL_LINES as i64 + 1, 1);
        assert_eq!(long.after(0), Next::Behind);
        assert!(matches!(long.after(1), Next::Lines(lines, _) if lines.len() == TAIL_LINES));
    }

    #[test]
    fn what_is_kept_of_a_log_is_bounded() {
        assert!(view(10, TAIL_BYTES / 4).lines.len() <= 4);
        let huge = view(2, TAIL_BYTES + 1);
        assert_eq!((huge.lines.len(), huge.lines_bytes, huge.after(1)), (0, 0, Next::Behind));
    }
}
