//! The job's process: how it is started, heard, and ended.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::Told;
use super::lines::{Tail, for_each_line};
use crate::engine::context::Event;

/// How to start a job's process.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The `pare` binary.
    pub(super) program: PathBuf,
    /// Its SHA-256, for the report.
    pub(super) binary_sha256: Option<String>,
    /// The job's folder, absolute, with `input.json` in it.
    pub(super) folder: PathBuf,
    /// Threads that it may use.
    pub(super) threads: usize,
    /// Bytes on the disk that the job was predicted to need.
    pub(super) disk_bytes: u64,
    /// Whether it ends where the kernel can't hold it to its folder.
    pub(super) require_sandbox: bool,
}

/// Where a process's events go.
#[derive(Debug)]
pub(super) struct Ears {
    /// Into the job's log.
    pub(super) events: mpsc::Sender<Event>,
    /// The newest checkpoint.
    pub(super) checkpoints: watch::Sender<Option<Told>>,
}

impl Ears {
    fn hear(&self, event: Event) {
        if let Event::Checkpoint { step, key, files } = event {
            self.checkpoints.send_replace(Some(Told { step, key, files }));
        } else {
            // Full or closed: the job must not wait for those who listen.
            let _ = self.events.try_send(event);
        }
    }
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Exit {
    /// Its status.
    pub(super) status: ExitStatus,
    /// The last of what it said on standard error.
    pub(super) stderr: String,
}

/// A job's process. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Child {
    group: Group,
    exit: oneshot::Receiver<io::Result<Exit>>,
    /// Open for as long as the job should run.
    _stdin: Option<ChildStdin>,
}

/// A process group that can be signalled for as long as its leader was not reaped: a number is never used after it may
/// have become someone else's.
#[derive(Debug, Clone)]
pub(super) struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    pub(super) fn signal(&self, signal: Signal) {
        let leader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *leader
            && let Err(error) = kill_process_group(pid, signal)
        {
            tracing::warn!(pid = pid.as_raw_nonzero().get(), %error, "a job's process could not be signalled");
        }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Child {
    /// Starts the process from a thread that lives as long as it: the kernel ends the process when that *thread* ends,
    /// so it must not be one of a pool.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub(super) async fn spawn(launch: Launch, ears: Ears) -> io::Result<Self> {
        let (started, start) = oneshot::channel();
        let (ended, exit) = oneshot::channel();
        thread::Builder::new().name("job".into()).spawn(move || match start_process(&launch) {
            Err(error) => drop(started.send(Err(error))),
            Ok(mut process) => {
                let group = Group(Arc::new(Mutex::new(Pid::from_raw(process.id() as i32))));
                let stdin = process.stdin.take();
                if started.send(Ok((group.clone(), stdin))).is_err() {
                    group.signal(Signal::KILL);
                }
                // Nobody waits any more: the process was killed when its owner let go of it.
                let _ = ended.send(attend(process, &group, &ears));
            }
        })?;
        let (group, stdin) = start.await.map_err(io::Error::other)??;
        Ok(Self { group, exit, _stdin: stdin })
    }

    pub(super) fn group(&self) -> Group {
        self.group.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// When the process can't be waited for.
    pub(super) async fn wait(&mut self) -> io::Result<Exit> {
        (&mut self.exit).await.map_err(io::Error::other)?
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

fn start_process(launch: &Launch) -> io::Result<Process> {
    let mut command = Command::new(&launch.program);
    command.arg0("pare").args(["run-job", "--parent", &std::process::id().to_string()]);
    if let Some(sha256) = &launch.binary_sha256 {
        command.args(["--binary-sha256", sha256]);
    }
    command.args(["--disk-bytes", &launch.disk_bytes.to_string()]);
    if launch.require_sandbox {
        command.arg("--require-sandbox");
    }
    command.arg("--").arg(&launch.folder).current_dir(&launch.folder);
    // Nothing of ours goes in: no address, no key. Every descriptor but these three closes by itself.
    command.env_clear().env("RAYON_NUM_THREADS", launch.threads.to_string()).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Hears a process out and reaps it.
fn attend(mut process: Process, group: &Group, ears: &Ears) -> io::Result<Exit> {
    let stderr = process.stderr.take();
    let tail =
        thread::Builder::new().name("job-stderr".into()).spawn(move || stderr.map(read_tail).unwrap_or_default());
    if let Some(stdout) = process.stdout.take() {
        let passed_over = for_each_line(stdout, |line| {
            // What is no event is no business of ours: a library may print.
            if let Ok(event) = serde_json::from_slice(line) {
                ears.hear(event);
            }
        });
        if passed_over > 0 {
            tracing::warn!(lines = passed_over, "a job's process said lines that are too long to be read");
        }
    }
    // Wait without reaping, so that the number stays its own until nobody can signal it any more.
    if let Some(pid) = group.pid() {
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    }
    // Whatever it may have started goes with it.
    group.signal(Signal::KILL);
    group.forget();
    let status = process.wait()?;
    let stderr = tail?.join().unwrap_or_default();
    Ok(Exit { status, stderr })
}

fn read_tail(mut from: impl Read) -> String {
    let mut tail = Tail::default();
    // A pipe that breaks has said all that it will.
    let _ = io::copy(&mut from, &mut tail);
    tail.into_text()
}
