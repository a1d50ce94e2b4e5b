//! How long the work that a process counts will take, by its pace so far.

use std::time::{Duration, Instant};

/// A shorter look at a pace says nothing of it.
const SHORTEST: Duration = Duration::from_secs(1);

/// One count of work: from its first unit to its last. A phase may hold several.
#[derive(Debug, Default)]
pub(super) struct Pace {
    count: Option<Count>,
}

#[derive(Debug)]
struct Count {
    total: u64,
    unit: String,
    /// When it was first heard of, and how far it was then.
    began: (Instant, u64),
    last: u64,
}

impl Pace {
    /// Seconds until `done` is `total`, as seen at `now`. `None` until there is something to tell it by: some work in at
    /// least a second; and when the count is complete, for what comes then is not known.
    ///
    /// Another unit or total, or a count that went back, is a new count: a pace is never taken over from other work.
    pub(super) fn seconds_left(&mut self, now: Instant, done: u64, total: u64, unit: &str) -> Option<u64> {
        let is_same = |count: &Count| count.total == total && count.unit == unit && done >= count.last;
        if !self.count.as_ref().is_some_and(is_same) {
            self.count = Some(Count { total, unit: unit.to_owned(), began: (now, done), last: done });
        }
        let count = self.count.as_mut()?;
        count.last = done;
        let (began, before) = count.began;
        let (spent, worked) = (now.saturating_duration_since(began), done.saturating_sub(before));
        if spent < SHORTEST || worked == 0 || done >= total {
            return None;
        }
        Some((spent.as_secs_f64() / worked as f64 * (total - done) as f64).ceil() as u64)
    }

    /// Another phase began.
    pub(super) fn restart(&mut self) {
        self.count = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_so_far_goes_on() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert_eq!(pace.seconds_left(at(0.0), 1, 11, "sites"), None, "one look is no pace");
        assert_eq!(pace.seconds_left(at(0.5), 2, 11, "sites"), None, "too short a look");
        // four sites in two seconds, six to go
        assert_eq!(pace.seconds_left(at(2.0), 5, 11, "sites"), Some(3));
        // no progress for eight seconds: it takes longer now
        assert_eq!(pace.seconds_left(at(10.0), 5, 11, "sites"), Some(15));
        assert_eq!(pace.seconds_left(at(11.0), 11, 11, "sites"), None, "what comes next is not known");
    }

    #[test]
    fn another_count_starts_anew() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(pace.seconds_left(at(0), 0, 100, "rows"), None);
        assert_eq!(pace.seconds_left(at(10), 50, 100, "rows"), Some(10));
        assert_eq!(pace.seconds_left(at(20), 1, 100, "rows"), None, "it went back");
        assert_eq!(pace.seconds_left(at(30), 11, 100, "rows"), Some(89));
        assert_eq!(pace.seconds_left(at(40), 12, 100, "runs"), None, "another unit");
        pace.restart();
        assert_eq!(pace.seconds_left(at(50), 20, 100, "runs"), None, "another phase");
        assert_eq!(pace.seconds_left(at(60), 20, 100, "runs"), None, "no work was done");
        assert_eq!(pace.seconds_left(at(61), 0, 0, "runs"), None);
    }
}
