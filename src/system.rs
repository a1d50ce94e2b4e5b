//! What the engine is told of this machine: clocks, memory, names. And what a process does to itself.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::engine::context::{Host, Stopwatch};
use crate::engine::hash::sha256_file;

/// The machine's clocks and this process's memory.
pub struct SystemStopwatch(Instant);

impl SystemStopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Stopwatch for SystemStopwatch {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn cpu_time(&self) -> Option<Duration> {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    }

    fn peak_memory_bytes(&self) -> Option<u64> {
        status_kib("VmHWM:").map(|kib| kib * 1024)
    }
}

/// A line of `/proc/self/status`, in KiB.
fn status_kib(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the report says of this machine.
pub fn host() -> Host {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    Host {
        cpu: name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
        os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        binary_sha256: std::env::current_exe().ok().and_then(|path| sha256_file(&path).ok()),
    }
}

/// Threads that this process may use.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Dies with the parent: asks for `signal` when it ends, and fails if it has ended already.
///
/// The signal follows the parent's *thread* that made this process.
///
/// # Errors
///
/// The parent is not `parent` any more.
pub fn die_with_parent(parent: u32, signal: Signal) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(signal))?;
    let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now == parent {
        return Ok(());
    }
    Err(std::io::Error::other(format!("the process {parent} that asked for this one has ended (the parent is {now} now)")))
}

/// Makes this process the first to go when memory is short, the last to run when the processor is, and bounds its data.
pub fn step_back(memory_limit_bytes: Option<u64>) {
    // Neither can be asked for everywhere, and a job runs without
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::nice(10);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Some(limit) = memory_limit_bytes {
        // Well above the limit that the supervisor watches: this one only stops a sudden jump between two looks
        let data = limit.saturating_add(limit / 4).saturating_add(256 << 20);
        let _ = setrlimit(Resource::Data, Rlimit { current: Some(data), maximum: Some(data) });
    }
}

/// Bytes of memory that could be had now.
pub fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
