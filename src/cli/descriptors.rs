//! Descriptors: each connection takes one, and many systems give a process few unless it asks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside connections: the database's, files on their way, jobs' pipes.
const OTHERS: u64 = 512;

/// Asks for as many descriptors as `connections` need, and says so where they are not to be had.
pub(super) fn raise(connections: usize) {
    let needed = (connections as u64).saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    // none: without a limit
    let allowed = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    if limit.current.is_none_or(|current| current >= allowed) {
        return;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
    if raised.is_err() || allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "few descriptors are allowed: connections beyond them have to wait (ulimit -n raises the limit)"
        );
    }
}
