//! What the kernel holds a job's process to, as that process itself finds out at a worker's start.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::scratch::Scratch;
use crate::engine::job::WORK;

/// How long the probe may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the kernel holds a job's process to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Landlock's version; 0 where there is none.
    pub landlock_version: u32,
    /// Whether calls are filtered.
    pub seccomp: bool,
    /// What the kernel lacks, in words.
    pub missing: Vec<String>,
    /// What a process in it could do and should not, by name.
    pub reached: Vec<String>,
}

impl Sandbox {
    /// Notes something that the kernel lacks.
    pub fn lacks(&mut self, what: impl Into<String>) {
        self.missing.push(what.into());
    }

    /// Whether every part is there, and held.
    pub fn is_whole(&self) -> bool {
        self.landlock_version > 0 && self.seccomp && self.missing.is_empty() && self.reached.is_empty()
    }

    /// What is open, in words; nothing where it is whole.
    pub fn gaps(&self) -> String {
        let reached = self.reached.iter().map(|what| format!("a job's process can {what}"));
        self.missing.iter().cloned().chain(reached).collect::<Vec<_>>().join("; ")
    }

    /// Starts a job's process that tries what it should not be able to do, in a folder below `scratch`. Blocks.
    ///
    /// Whatever stands in the way of finding out is itself something that is missing.
    pub fn probe(program: &Path, scratch: &Path) -> Self {
        match Self::try_probe(program, scratch) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                let missing = vec![format!("it could not be tried out: {error}")];
                Self { missing, ..Self::default() }
            }
        }
    }

    fn try_probe(program: &Path, scratch: &Path) -> io::Result<Self> {
        let place = Scratch::create(scratch)?;
        let folder = lay_out(place.path())?;
        let mut command = Command::new(program);
        command.arg0("pare").args(["run-job", "--parent", &std::process::id().to_string(), "--probe", "--"]);
        command.arg(&folder).current_dir(&folder).env_clear().process_group(0);
        let (out, said) = (place.path().join("stdout"), place.path().join("stderr"));
        command.stdin(Stdio::piped()).stdout(fs::File::create(&out)?).stderr(fs::File::create(&said)?);
        let mut child = command.spawn()?;
        let started = Instant::now();
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if started.elapsed() > PATIENCE => {
                    child.kill()?;
                    break child.wait()?;
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let said = fs::read_to_string(said)?;
        if !status.success() {
            return Err(io::Error::other(format!("the probe ended with {status}: {}", said.trim())));
        }
        serde_json::from_slice(&fs::read(out)?).map_err(io::Error::other)
    }
}

/// A job's folder, and beside it a file that no job should reach.
fn lay_out(place: &Path) -> io::Result<PathBuf> {
    let folder = place.join("job");
    fs::create_dir_all(folder.join("in"))?;
    fs::create_dir_all(folder.join(WORK))?;
    fs::write(folder.join("in/0"), "given")?;
    fs::write(place.join("canary"), "secret")?;
    Ok(folder)
}
