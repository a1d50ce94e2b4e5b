//! The thread that keeps the server running. It lives as long as the server, since the kernel's signal at a parent's
//! death follows the thread that started a process, not the process around it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

use super::account::{self, Account};
use super::binaries::{self, Binaries};
use super::error::{Error, Result};
use super::exec::OnFolder;
use super::folders::Folders;
use super::lock::StateLock;
use super::orphan::end_orphan;
use super::{ClusterConfig, init};

/// Ends further back than this count no more.
const MEMORY: Duration = Duration::from_secs(300);
/// Between an end and the next start at the most. It is never given up: a disk that was full has room again some time.
const MOST_PAUSE: Duration = Duration::from_secs(30);
/// A log beyond this is set aside at a start.
const MAX_LOG_BYTES: u64 = 16 << 20;

/// What others see of the thread.
#[derive(Debug)]
pub(super) struct Server {
    pid: Mutex<Option<Pid>>,
    stopping: AtomicBool,
    /// From then on it is started again when it ends by itself.
    ready: AtomicBool,
    wake: Mutex<Sender<()>>,
}

/// What there is once everything is in place and the server was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
    /// Where this start's lines begin.
    pub(super) log_start_bytes: u64,
}

impl Server {
    /// Starts the thread. The first channel tells when the server was started, the second one how it ended for good.
    #[allow(clippy::type_complexity)] // one caller, which takes it apart at once
    pub(super) fn spawn(
        config: ClusterConfig,
    ) -> Result<(Arc<Self>, oneshot::Receiver<Result<Started>>, watch::Receiver<Option<String>>)> {
        let (wake, woken) = channel();
        let server = Arc::new(Self {
            pid: Mutex::new(None),
            stopping: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            wake: Mutex::new(wake),
        });
        let (started, when_started) = oneshot::channel();
        let (ended, when_ended) = watch::channel(None);
        let (shared, path) = (Arc::clone(&server), config.state_dir.clone());
        std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                let how = match Place::prepare(config) {
                    Ok(place) => place.keep_running(&shared, &woken, started),
                    Err(error) => {
                        let how = error.to_string();
                        let _ = started.send(Err(error));
                        how
                    }
                };
                let _ = ended.send(Some(how));
            })
            .map_err(Error::io(path, "given a thread"))?;
        Ok((server, when_started, when_ended))
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Asks the server to end and not to be started again.
    pub(super) fn stop(&self, signal: Signal) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = self.wake.lock().unwrap_or_else(PoisonError::into_inner).send(());
        if let Some(pid) = *self.pid.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = kill_process(pid, signal);
        }
    }

    fn set_pid(&self, pid: Option<Pid>) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    /// Waits for the server's end. Its number is withdrawn before it is free for other processes.
    fn wait(&self, mut child: Child) -> std::io::Result<ExitStatus> {
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
        }
        self.set_pid(None);
        child.wait()
    }
}

/// Everything that a start needs.
struct Place {
    _lock: StateLock,
    folders: Folders,
    binaries: Binaries,
    account: Option<Account>,
    socket_dir: PathBuf,
    helper: PathBuf,
}

impl Place {
    fn prepare(config: ClusterConfig) -> Result<Self> {
        let lock = StateLock::take(&config.state_dir)?;
        let folders = Folders::open(&config.state_dir)?;
        let binaries = binaries::find(config.bin_dir.as_deref(), &folders.data)?;
        let account = account::to_switch_to(&folders.data);
        let socket_dir = folders.socket_dir(account.as_ref())?;
        init::ensure_cluster(&folders, &binaries, &config.helper, account.as_ref())?;
        Ok(Self { _lock: lock, folders, binaries, account, socket_dir, helper: config.helper })
    }

    /// Starts the server, and starts it again whenever it ends by itself, until it is told to stop. How it ended.
    fn keep_running(self, server: &Server, woken: &Receiver<()>, started: oneshot::Sender<Result<Started>>) -> String {
        let mut started = Some(started);
        let mut ends: Vec<Instant> = Vec::new();
        loop {
            let how = match self.run_once(server, &mut started) {
                Ok(status) => format!("ended with {status}"),
                Err(error) => {
                    let how = error.to_string();
                    if let Some(started) = started.take() {
                        let _ = started.send(Err(error));
                        return how;
                    }
                    how
                }
            };
            if server.stopping.load(Ordering::SeqCst) || !server.ready.load(Ordering::SeqCst) {
                return how;
            }
            ends.retain(|end| end.elapsed() < MEMORY);
            let pause = Duration::from_secs(1 << ends.len().min(8)).min(MOST_PAUSE);
            ends.push(Instant::now());
            let log = self.folders.log.display();
            tracing::error!(how, %log, "the private Postgres has ended: starting it again in {pause:?}");
            if woken.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return how;
            }
        }
    }

    fn run_once(&self, server: &Server, started: &mut Option<oneshot::Sender<Result<Started>>>) -> Result<ExitStatus> {
        end_orphan(&self.folders.data, &self.socket_dir)?;
        let (log, log_start_bytes) = open_log(&self.folders.log)?;
        let copy = log.try_clone().map_err(Error::io(&self.folders.log, "opened"))?;
        let on_folder = OnFolder { helper: &self.helper, account: self.account.as_ref(), folder: &self.folders.data };
        let socket_dir = self.socket_dir.as_os_str();
        let args = ["-k".as_ref(), socket_dir, "-c".as_ref(), "listen_addresses=".as_ref()];
        let settings = SETTINGS.iter().flat_map(|setting| [OsStr::new("-c"), OsStr::new(setting)]);
        let args: Vec<&OsStr> = args.into_iter().chain(settings).collect();
        let (mut command, _helper) = on_folder.command(&self.binaries.program("postgres"), &args)?;
        let child = command
            .stdout(Stdio::from(copy))
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(Error::io(&self.helper, "started"))?;
        server.set_pid(Pid::from_raw(child.id() as i32));
        if server.stopping.load(Ordering::SeqCst) {
            server.stop(Signal::INT); // it was told to before there was anything to signal
        }
        if let Some(started) = started.take() {
            let (socket_dir, log) = (self.socket_dir.clone(), self.folders.log.clone());
            let _ = started.send(Ok(Started { socket_dir, log, log_start_bytes }));
        }
        server.wait(child).map_err(Error::io(&self.helper, "waited for"))
    }
}

/// What is acknowledged is on the disk; nothing holds a lock for ever.
const SETTINGS: [&str; 6] = [
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "max_connections=100",
    "idle_in_transaction_session_timeout=60s",
    "timezone=UTC",
];

/// The log, open for adding, and its length.
fn open_log(path: &Path) -> Result<(File, u64)> {
    let length = fs::metadata(path).map_or(0, |log| log.len());
    if length > MAX_LOG_BYTES {
        fs::rename(path, path.with_extension("log.old")).map_err(Error::io(path, "set aside"))?;
    }
    let log = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path, "opened"))?;
    let length = log.metadata().map_err(Error::io(path, "read"))?.len();
    Ok((log, length))
}

/// The last lines that a log holds from `start_bytes` on.
pub(super) fn tail(path: &Path, start_bytes: u64) -> String {
    const LINES: usize = 8;
    const MAX_BYTES: u64 = 64 << 10;
    let mut text = Vec::new();
    let read = File::open(path).and_then(|mut log| {
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(start_bytes.max(length.saturating_sub(MAX_BYTES))))?;
        log.take(MAX_BYTES).read_to_end(&mut text)
    });
    if read.is_err() || text.is_empty() {
        return "(nothing)".to_owned();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}
