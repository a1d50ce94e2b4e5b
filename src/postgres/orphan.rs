//! Servers that an earlier run left behind.
//!
//! We hold the state folder's lock, so a server on our cluster can only be an orphan: its parent was killed, and the
//! signal did not reach it, or it is still on its way out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::error::{Error, Result};
use super::folders::SOCKET_LOCK;

/// How long a server may take to write everything down.
const CLEAN_END: Duration = Duration::from_secs(30);
/// How long it may take after that without doing so.
const HARD_END: Duration = Duration::from_secs(10);
/// How long a dead server may wait for whoever is to collect it.
const COLLECTION: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// Sees that nobody serves the cluster, and that nothing left over keeps a new server from starting: a server's number
/// stands in `postmaster.pid` and beside its socket, and after a crash of the machine it may be another process's.
pub(super) fn end_orphan(data_dir: &Path, socket_dir: &Path) -> Result<()> {
    end_named_by(&data_dir.join("postmaster.pid"), data_dir)?;
    end_named_by(&socket_dir.join(SOCKET_LOCK), data_dir)
}

fn end_named_by(file: &Path, data_dir: &Path) -> Result<()> {
    let Some(pid) = read_pid(file) else { return Ok(()) };
    if is_zombie(pid) {
        // Postgres takes a dead server that nobody has collected for a living one.
        wait_until(COLLECTION, || !is_alive(pid));
    } else if serves(pid, data_dir) {
        tracing::warn!(pid = pid.as_raw_nonzero().get(), "ending a Postgres server of an earlier run");
        let gone = || !is_alive(pid) || is_zombie(pid);
        let _ = kill_process(pid, Signal::INT);
        if !wait_until(CLEAN_END, gone) {
            let _ = kill_process(pid, Signal::QUIT);
            if !wait_until(HARD_END, gone) {
                return Err(Error::Orphan { pid: pid.as_raw_nonzero().get() });
            }
        }
        wait_until(COLLECTION, || !is_alive(pid));
    }
    // Whoever has this number now is no server of ours, or will never move again.
    if is_alive(pid) && read_pid(file) == Some(pid) {
        fs::remove_file(file).map_err(Error::io(file, "removed"))?;
    }
    Ok(())
}

/// Where the server that runs on a cluster now listens: the fifth line of `postmaster.pid`.
pub(super) fn socket_of_running(data_dir: &Path) -> Option<PathBuf> {
    let file = data_dir.join("postmaster.pid");
    let pid = read_pid(&file)?;
    let text = fs::read_to_string(&file).ok()?;
    let folder = text.lines().nth(4).map(str::trim).filter(|folder| folder.starts_with('/'))?;
    (is_alive(pid) && !is_zombie(pid) && serves(pid, data_dir)).then(|| PathBuf::from(folder))
}

/// The first line of `postmaster.pid`; a server in single-user mode writes it negative.
fn read_pid(file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    let number: i32 = text.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(number.checked_abs()?)
}

/// Whether the number names a process, zombies included. One that we may not signal exists as well.
fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// Whether a process has ended and was not collected. `/proc/PID/stat` reads `PID (name) Z …`.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Whether a process is a server of this cluster: servers work in the cluster's folder. Without `/proc`, its command
/// line has to name the folder.
fn serves(pid: Pid, data_dir: &Path) -> bool {
    if let Ok(cwd) = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())) {
        return data_dir.canonicalize().is_ok_and(|data_dir| data_dir == cwd);
    }
    let pid = pid.as_raw_nonzero().to_string();
    let command = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid]).output();
    command.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&*data_dir.to_string_lossy()))
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        sleep(STEP);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_that_names_a_stranger_is_removed_and_the_stranger_left_alone() {
        let data = tempfile::tempdir().unwrap();
        let files = [data.path().join("postmaster.pid"), data.path().join(SOCKET_LOCK)];
        for file in &files {
            fs::write(file, format!("{}\n/somewhere\n", std::process::id())).unwrap();
        }
        end_orphan(data.path(), data.path()).unwrap();
        assert!(!files.iter().any(|file| file.exists()));
    }

    #[test]
    fn a_pid_file_of_a_process_that_is_gone_is_left_to_postgres() {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let file = data.path().join("postmaster.pid");
        fs::write(&file, format!("{pid}\n")).unwrap();
        end_orphan(data.path(), data.path()).unwrap();
        assert!(file.exists());
    }

    #[test]
    fn a_process_that_works_in_the_cluster_is_ended() {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("600").current_dir(data.path()).spawn().unwrap();
        fs::write(data.path().join("postmaster.pid"), format!("{}\n", child.id())).unwrap();
        // Collected by another thread, as PID 1 would.
        let collector = std::thread::spawn(move || child.wait());
        end_orphan(data.path(), data.path()).unwrap();
        assert!(!collector.join().unwrap().unwrap().success());
    }
}
