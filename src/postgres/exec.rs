//! Becoming a server that ends with its parent.
//!
//! Whoever is killed with SIGKILL can end nobody. So the server asks the kernel for a signal at its parent's death. The
//! request has to be made after the change of user, which clears it, and before the server's program is loaded, which
//! keeps it: by a program that runs in between. That is `pare run-postgres`, and no `unsafe` is needed for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::Account;
use super::error::{Error, Result};

/// Stands for the folder that is open as standard input, as an argument of the server's program.
///
/// Root keeps its folders closed to others (a temporary folder, its home), so the account of the server often can't
/// get to the cluster by its path, although it owns it. An open folder needs no path.
const FOLDER_ON_STDIN: &str = "@stdin";

/// What `pare run-postgres --parent PID -- PROGRAM ARGS…` does: asks for SIGINT at the parent's death, makes sure that
/// it still lives, and becomes PROGRAM. Returns only where that fails.
pub fn exec_server(parent_pid: i32, argv: &[OsString]) -> Error {
    let Some((program, args)) = argv.split_first() else {
        return Error::NotFound { looked: "an empty command".to_owned(), install: String::new() };
    };
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    if let Err(source) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::INT)) {
        return Error::io(program, "tied to its parent's life")(source.into());
    }
    // It may have died before the request was made.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent_pid) {
        return Error::ParentGone;
    }
    // A copy, since standard input is replaced in the processes that the program starts.
    let folder = match rustix::io::dup(std::io::stdin()) {
        Ok(folder) => folder,
        Err(source) => return Error::io(program, "given its folder")(source.into()),
    };
    let by_number = open_file(folder.as_raw_fd());
    let args = args.iter().map(|arg| if arg == FOLDER_ON_STDIN { by_number.as_os_str() } else { arg.as_os_str() });
    let source = Command::new(program).args(args).exec();
    Error::io(program, "started")(source)
}

/// The path of a file that this process has open.
fn open_file(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

/// A command that runs one of the server's programs on a cluster's folder.
pub(super) struct OnFolder<'a> {
    /// The `pare` binary.
    pub(super) helper: &'a Path,
    /// Whom to run it as.
    pub(super) account: Option<&'a Account>,
    /// The cluster.
    pub(super) folder: &'a Path,
}

impl OnFolder<'_> {
    /// `program -D folder args…`, which gets SIGINT when the thread that starts it ends. The file must stay open until
    /// the command was started.
    pub(super) fn command(&self, program: &Path, args: &[&OsStr]) -> Result<(Command, Option<File>)> {
        let mut binary = None;
        let mut command = match self.account {
            Some(account) => {
                if !account.can_reach(program) {
                    return Err(Error::NotReachable { path: program.to_owned(), account: account.name.clone() });
                }
                let (mut command, file) = self.helper_for_any_account()?;
                command.uid(account.uid).gid(account.gid);
                binary = file;
                command
            }
            None => Command::new(self.helper),
        };
        let by_path = self.account.is_none_or(|account| account.can_reach(self.folder));
        // A group of its own: Ctrl-C in a terminal is for us, who end the server after everything that uses it.
        command.env_clear().env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        command.arg("run-postgres").arg("--parent").arg(std::process::id().to_string()).arg("--");
        command.arg(program).arg("-D");
        if by_path {
            command.arg(self.folder);
        } else if cfg!(target_os = "linux") {
            let folder = File::open(self.folder).map_err(Error::io(self.folder, "opened"))?;
            command.arg(FOLDER_ON_STDIN).stdin(folder);
        } else {
            let account = self.account.map(|account| account.name.clone()).unwrap_or_default();
            return Err(Error::NotReachable { path: self.folder.to_owned(), account });
        }
        command.args(args);
        Ok((command, binary))
    }

    /// The `pare` binary, started as an open file where there is such a thing: it may lie where the account can't get to.
    fn helper_for_any_account(&self) -> Result<(Command, Option<File>)> {
        if !cfg!(target_os = "linux") {
            return Ok((Command::new(self.helper), None));
        }
        let file = File::open(self.helper).map_err(Error::io(self.helper, "opened"))?;
        let mut command = Command::new(open_file(file.as_raw_fd()));
        command.arg0(self.helper);
        Ok((command, Some(file)))
    }
}
