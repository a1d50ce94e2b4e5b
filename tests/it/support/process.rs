//! The real program, in a process of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::cluster::PARE;

/// A process of `pare`, killed when a test lets go of it.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `pare ARGUMENTS`; what it logs goes to a file in `folder`.
    pub(crate) fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = folder.join(format!("{}.log", uuid::Uuid::now_v7()));
        let mut command = bare(arguments, variables);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        Self { child: command.spawn().unwrap(), log }
    }

    /// What `serve` says on its first line: `http://…`.
    pub(crate) fn address(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        address.unwrap_or_else(|| panic!("no address: {line}\n{}", self.log())).to_owned()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Asks it to end, and waits for that; whether all was well.
    pub(crate) fn stop(mut self) -> bool {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client for what a program serves.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Runs `pare ARGUMENTS` to its end.
pub(crate) fn pare(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    bare(arguments, variables).stdin(Stdio::null()).output().unwrap()
}

/// Nothing of the environment that would name another database or folder.
fn bare(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PARE);
    for name in ["DATABASE_URL", "STORE_URL", "PARE_STATE_DIR", "PARE_LISTEN", "PARE_LOG", "PARE_LOG_FORMAT"] {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied());
    command
}

/// A command's standard output, if it succeeded.
pub(crate) fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}
