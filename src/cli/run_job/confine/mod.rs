//! What this process gives up before it touches a model.
//!
//! Model bytes are hostile until shown otherwise, and a parser may have a hole. So whoever takes this process over
//! finds no privilege, no file but its job's, no network, no other program and no way to another process. Each part is
//! the kernel's; what it can't do is said ([`Sandbox::missing`]) and never passed over.

mod calls;
mod files;

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rustix::process::{Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::worker::{Sandbox, most_disk_bytes};

/// Beyond the memory limit, for what is no tensor: code's data, stacks, the allocator's slack.
const SLACK_BYTES: u64 = 256 << 20;
/// Files that may be open at once: a model has at most as many weight files as an upload may have.
const OPEN_FILES: u64 = 4096;
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

/// Makes us the first to go when the machine runs out, and the last to get a processor. Needs files that [`lock`]
/// closes.
pub(super) fn stand_back() -> anyhow::Result<()> {
    fs::write("/proc/self/oom_score_adj", "1000").context("the out-of-memory score can't be set")?;
    nice(NICENESS).context("the niceness can't be set")?;
    Ok(())
}

/// Bounds memory, files and descriptors, and forbids core dumps: one would hold the model.
pub(super) fn limit(memory_limit_bytes: Option<u64>, disk_limit_bytes: Option<u64>) -> anyhow::Result<()> {
    let at = |most| Rlimit { current: Some(most), maximum: Some(most) };
    let open_files = rustix::process::getrlimit(Resource::Nofile).maximum.map_or(OPEN_FILES, |own| own.min(OPEN_FILES));
    setrlimit(Resource::Nofile, at(open_files)).context("the number of open files can't be limited")?;
    setrlimit(Resource::Core, at(0)).context("core dumps can't be forbidden")?;
    // Not the address space: files are mapped there, and they are no memory that is taken from anyone. The worker
    // watches what is used; this is the wall behind it, for what grows too fast to be seen.
    if let Some(bytes) = memory_limit_bytes {
        let wall = bytes.saturating_add(bytes / 4).saturating_add(SLACK_BYTES);
        setrlimit(Resource::Data, at(wall)).context("the memory limit can't be set")?;
    }
    if let Some(bytes) = disk_limit_bytes {
        // Of one file. A write beyond it fails like one on a full disk, since the signal that comes along is heard.
        let wall = most_disk_bytes(bytes);
        signal_hook::flag::register(libc::SIGXFSZ, std::sync::Arc::default()).context("SIGXFSZ can't be heard")?;
        setrlimit(Resource::Fsize, at(wall)).context("the disk limit can't be set")?;
    }
    // No limit on processes: it would count those of everyone who runs as we do, and what is denied below makes none.
    Ok(())
}

/// Gives up everything but reading `folder` and writing below `work`. Threads that are started later are held alike, so
/// there must be none yet.
///
/// # Errors
///
/// Where the kernel has a part and refuses it. One that it lacks is named in the answer.
pub(super) fn lock(folder: &Path, work: &Path) -> anyhow::Result<Sandbox> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    ensure!(threads == 1, "{threads} threads run already: they would not all be held");
    let mut sandbox = Sandbox::default();
    set_no_new_privs(true).context("new privileges can't be forbidden")?;
    drop_capabilities().context("capabilities can't be dropped")?;
    files::restrict(folder, work, &mut sandbox).context("files can't be closed off")?;
    calls::restrict(&mut sandbox).context("calls can't be denied")?;
    Ok(sandbox)
}

/// What root may do beyond its own files. Files that are ours stay ours.
fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}
