//! `pare run-job`: the child that a worker starts for a job. Not for people.
//!
//! It holds no credentials: an empty environment, no descriptors but its pipes. It reads `DIR/input.json`, tells events
//! as JSON lines on stdout, leaves files in `DIR/out` and ends with `DIR/output.json`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::{INTERRUPTED, OK};
use crate::engine::context::{Event, Observer, RunContext};
use crate::engine::error::EngineError;
use crate::engine::job::{Input, Output, run as run_task};
use crate::system::{SystemStopwatch, die_with_parent, host, step_back};

/// Progress is told this often at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Run one job in this process, for a worker.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The worker's process.
    #[arg(long)]
    parent: u32,
    /// The job's folder.
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    die_with_parent(args.parent, Signal::KILL)?;
    let text = std::fs::read(args.folder.join("input.json")).context("input.json can't be read")?;
    let input: Input = serde_json::from_slice(&text).context("input.json can't be understood")?;
    step_back(input.memory_limit_bytes);
    let _ = rayon::ThreadPoolBuilder::new().num_threads(input.threads.max(1)).build_global();
    let lines = Lines::default();
    watch_stdin();
    let stopwatch = SystemStopwatch::start();
    let ctx = RunContext {
        observer: &lines,
        stopwatch: &stopwatch,
        device: candle_core::Device::Cpu,
        threads: input.threads.max(1),
        scratch: args.folder.clone(),
        host: host(),
    };
    match run_task(&input, &ctx) {
        Ok(output) => {
            leave(&args.folder, &output)?;
            Ok(ExitCode::from(OK))
        }
        Err(EngineError::Stopped) => Ok(ExitCode::from(INTERRUPTED)),
        // Another try may mend what the machine did, but not a full disk's message
        Err(error @ EngineError::Io { .. }) if is_full(&error) => {
            leave(&args.folder, &Output::Failed { problems: error.problems() })?;
            Ok(ExitCode::from(OK))
        }
        Err(error) => Err(error.into()),
    }
}

fn is_full(error: &EngineError) -> bool {
    matches!(error, EngineError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
}

/// Writes `output.json`, whole or not at all.
fn leave(folder: &Path, output: &Output) -> anyhow::Result<()> {
    let (draft, path) = (folder.join("output.json.new"), folder.join("output.json"));
    std::fs::write(&draft, serde_json::to_vec(output)?).context("output.json can't be written")?;
    std::fs::rename(&draft, &path).context("output.json can't be written")
}

static STOP: AtomicBool = AtomicBool::new(false);

/// The worker asks to stop by closing the pipe.
fn watch_stdin() {
    std::thread::spawn(|| {
        let mut byte = [0u8; 64];
        while matches!(std::io::stdin().read(&mut byte), Ok(n) if n > 0) {}
        STOP.store(true, Ordering::Relaxed);
    });
}

/// Events as JSON lines on stdout.
#[derive(Default)]
struct Lines {
    last_progress: Mutex<Option<Instant>>,
}

impl Observer for Lines {
    fn on(&self, event: Event) {
        let whole = matches!(&event, Event::Progress { done, total, .. } if done == total);
        if matches!(event, Event::Progress { .. }) && !whole && !self.is_due() {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(&event) else { return };
        line.push(b'\n');
        // A worker that does not listen is gone, and the parent-death signal is on its way
        let _ = std::io::stdout().lock().write_all(&line);
    }

    fn should_stop(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

impl Lines {
    fn is_due(&self) -> bool {
        let Ok(mut last) = self.last_progress.lock() else { return false };
        let due = last.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
