//! Holds a job's process to its memory.
//!
//! What counts is anonymous resident memory: pages that are the process's alone and that the kernel can't drop. Files
//! that it maps don't count. A cgroup holds the limit exactly where one can be made; a watch sees it everywhere, and knows
//! how much was needed.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::cgroup::Cgroup;
use super::child::{Exit, Group};
use crate::config::kernel_bytes;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What Rust's allocator says before it gives up.
const ALLOCATION_FAILED: (&str, &str) = ("memory allocation of ", " bytes failed");

/// Watches a process and kills it when it outgrows its limit.
#[derive(Debug)]
pub(super) struct Watch {
    limit_bytes: u64,
    seen: Arc<Seen>,
    cgroup: Option<Cgroup>,
    /// Dropped, it ends the watch.
    _stop: Option<Sender<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    last_bytes: AtomicU64,
    /// Zero while the limit holds.
    exceeded_bytes: AtomicU64,
}

impl Watch {
    /// Watches the leader of `group` from now on.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(group: Group, limit_bytes: u64) -> std::io::Result<Self> {
        let cgroup = group.pid().and_then(|pid| Cgroup::around(pid, limit_bytes));
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = mpsc::channel();
        let watched = seen.clone();
        thread::Builder::new().name("job-memory".into()).spawn(move || {
            while let (Some(pid), Err(RecvTimeoutError::Timeout)) = (group.pid(), stopped.recv_timeout(LOOK_EVERY)) {
                let path = format!("/proc/{}/status", pid.as_raw_nonzero());
                let Some(bytes) = fs::read_to_string(path).ok().and_then(|text| kernel_bytes(&text, "RssAnon:")) else {
                    continue; // it has just ended
                };
                watched.last_bytes.store(bytes, Ordering::Relaxed);
                if bytes > limit_bytes {
                    watched.exceeded_bytes.store(bytes, Ordering::Relaxed);
                    group.signal(Signal::KILL);
                    return;
                }
            }
        })?;
        Ok(Self { limit_bytes, seen, cgroup, _stop: Some(stop) })
    }

    /// The memory that a process needed at the least, if that is what ended it.
    pub(super) fn needed_bytes(&self, exit: &Exit) -> Option<u64> {
        let last = self.seen.last_bytes.load(Ordering::Relaxed);
        match self.seen.exceeded_bytes.load(Ordering::Relaxed) {
            0 if self.cgroup.as_ref().is_some_and(Cgroup::killed_something) => Some(last.max(self.limit_bytes)),
            0 if exit.status.success() => None,
            0 => refused_bytes(&exit.stderr).map(|bytes| last.saturating_add(bytes)),
            exceeded => Some(exceeded),
        }
    }
}

/// The size of an allocation that failed, as the process said with its last words.
fn refused_bytes(stderr: &str) -> Option<u64> {
    let (before, after) = ALLOCATION_FAILED;
    stderr.lines().rev().find_map(|line| line.split_once(before)?.1.split_once(after)?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_understood() {
        assert_eq!(refused_bytes("x\nmemory allocation of 4096 bytes failed\nstack backtrace:\n"), Some(4096));
        assert_eq!(refused_bytes("memory allocation of many bytes failed"), None);
        assert_eq!(refused_bytes(""), None);
    }
}
