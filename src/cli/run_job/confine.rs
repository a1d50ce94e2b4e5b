//! What this process gives up before it touches a model.

use std::fs;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit};

/// Beyond the limit, for what is no tensor: code's data, stacks, the allocator's slack.
const SLACK_BYTES: u64 = 256 << 20;
/// How far behind everything else we stand for a processor.
const NICENESS: i32 = 10;

/// Has the kernel kill us when the thread that started us ends. It may have ended before we asked: then our parent is
/// another one by now, and we end ourselves.
pub(super) fn die_with(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("the parent-death signal can't be set")?;
    match getppid() {
        Some(pid) if pid.as_raw_nonzero().get() == parent => Ok(()),
        _ => bail!("the worker that started this job is gone"),
    }
}

/// Bounds memory, forbids core dumps, and makes us the first to go when the machine runs out.
pub(super) fn limit(memory_limit_bytes: Option<u64>) -> anyhow::Result<()> {
    let at = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // Not the address space: files are mapped there, and they are no memory that is taken from anyone. The worker
    // watches what is used; this is the wall behind it, for what grows too fast to be seen.
    if let Some(bytes) = memory_limit_bytes {
        let wall = bytes.saturating_add(bytes / 4).saturating_add(SLACK_BYTES);
        setrlimit(Resource::Data, at(wall)).context("the memory limit can't be set")?;
    }
    setrlimit(Resource::Core, at(0)).context("core dumps can't be forbidden")?;
    fs::write("/proc/self/oom_score_adj", "1000").context("the out-of-memory score can't be set")?;
    nice(NICENESS).context("the niceness can't be set")?;
    Ok(())
}
