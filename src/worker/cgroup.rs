//! A cgroup (version 2) around a job's process, where we may make one.
//!
//! That is so where our own group, or the one above it, was delegated to us with the memory controller (systemd's
//! `Delegate=memory` with `DelegateSubgroup=`, or a container with a writable tree).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use uuid::Uuid;

/// Where version 2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A group that holds one process. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a group with a limit and moves a process into it. `None` where that can't be done.
    pub(super) fn around(pid: Pid, limit_bytes: u64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = Path::new(ROOT).join(own_group(&groups)?);
        let parents = [Some(own.as_path()), own.parent().filter(|parent| parent.starts_with(ROOT))];
        parents.into_iter().flatten().find_map(|parent| Self::below(parent, pid, limit_bytes).ok())
    }

    fn below(parent: &Path, pid: Pid, limit_bytes: u64) -> io::Result<Self> {
        let path = parent.join(format!("pare-job-{}", Uuid::now_v7()));
        fs::create_dir(&path)?;
        let group = Self(path);
        // Only there when the parent hands the memory controller down.
        set(&group.0.join("memory.max"), &limit_bytes.to_string())?;
        set(&group.0.join("memory.oom.group"), "1")?;
        // Not there where the kernel knows no swap.
        let _ = set(&group.0.join("memory.swap.max"), "0");
        set(&group.0.join("cgroup.procs"), &pid.as_raw_nonzero().to_string())?;
        Ok(group)
    }

    /// Whether the limit ended a process of the group.
    pub(super) fn killed_something(&self) -> bool {
        fs::read_to_string(self.0.join("memory.events")).is_ok_and(|events| oom_kills(&events) > 0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "a job's cgroup stays");
        }
    }
}

/// The file must be there: in a folder that is no cgroup, none is made.
fn set(path: &Path, value: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::File::options().write(true).open(path)?, value.as_bytes())
}

/// Our group's path below the root, from `/proc/self/cgroup`.
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

fn oom_kills(events: &str) -> u64 {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        assert_eq!(own_group("1:name=systemd:/x\n0::/a/b\n"), Some("a/b"));
        assert_eq!(own_group("4:memory:/x\n"), None);
        assert_eq!(oom_kills("low 0\noom 2\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills(""), 0);
    }

    #[test]
    fn a_folder_that_is_no_cgroup_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let pid = rustix::process::getpid();
        assert!(Cgroup::below(folder.path(), pid, 1).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
