//! All that the engine knows of the outside world.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::calibrate::Statistics;
use super::checkpoint::{self, Checkpoint, KeptFile};
use super::error::{EngineError, Result};

/// What a job is doing now. An open list for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading and checking input files.
    Loading,
    /// Running the stages.
    Compressing,
    /// Writing artifacts and reading them back.
    Packaging,
    /// Measuring original and result.
    Evaluating,
}

/// What the engine tells while it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A phase began.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// Work done within the phase.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// `sites`, `rows`, `tensors`, `bytes`.
        unit: String,
    },
    /// Something worth keeping in the job's log.
    Note {
        /// One sentence.
        message: String,
    },
    /// Files lie in the checkpoint's folder that are enough to go on from here.
    Checkpoint {
        /// How many there were, with those of the attempts before.
        step: u64,
        /// What it was made from: see [`checkpoint::key`].
        key: String,
        /// All files that it is made of, by name; those that an earlier attempt left lie where they were given.
        files: Vec<KeptFile>,
    },
    /// The run goes on from what an earlier attempt left.
    Resumed {
        /// From which checkpoint.
        step: u64,
    },
}

/// Where events go and whether to go on.
pub trait Observer: Send + Sync {
    /// Takes note of an event.
    fn on(&self, event: Event);
    /// True when someone asked to stop.
    fn should_stop(&self) -> bool {
        false
    }
}

/// An observer that listens to nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn on(&self, _: Event) {}
}

/// Measures elapsed time, for reports and limits. The engine has no clock of its own.
pub trait Stopwatch: Send + Sync {
    /// Wall time since some fixed moment.
    fn elapsed(&self) -> Duration;
    /// Processor time of this process, if it can be had.
    fn cpu_time(&self) -> Option<Duration>;
    /// The most memory of its own (mapped files are not) that this process was found to hold so far, in bytes, if it can be
    /// had. Asked at every step of a run.
    fn peak_memory_bytes(&self) -> Option<u64>;
}

/// What runs hold in memory of a model as f32, where nobody says otherwise: half a billion weights.
pub const RESIDENT_BYTES: u64 = 2 << 30;

/// What the engine is handed from outside.
pub struct RunContext<'a> {
    /// Progress out, cancellation in.
    pub observer: &'a dyn Observer,
    /// Elapsed time in.
    pub stopwatch: &'a dyn Stopwatch,
    /// Where tensors live.
    pub device: Device,
    /// How many threads a job may use.
    pub threads: usize,
    /// An empty folder that the run may fill.
    pub scratch: PathBuf,
    /// Weights that may be held in memory as f32, in bytes: a larger model stays in its files, and goes through block by block.
    pub resident_bytes: u64,
    /// What is known of the host, for the report: `cpu`, `os`, `instruction_set`.
    pub host: Host,
    /// What an earlier attempt left, and whether anyone keeps what this one leaves.
    pub kept: Checkpoint,
    /// What an earlier job has summed up of the original, and whether anyone keeps what this one does.
    pub statistics: Statistics,
}

/// The machine that a report names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Processor's name.
    pub cpu: String,
    /// Operating system and architecture.
    pub os: String,
    /// The architecture, and what our loops found of the processor's vector instructions: `x86_64 avx2 fma`.
    pub instruction_set: String,
    /// SHA-256 of the running binary.
    pub binary_sha256: Option<String>,
}

impl RunContext<'_> {
    /// Tells that a phase began.
    pub fn phase(&self, phase: Phase) {
        self.observer.on(Event::Phase { phase });
    }

    /// Tells progress, and stops where someone asked to.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] when the observer says so.
    pub fn progress(&self, done: usize, total: usize, unit: &str) -> Result<()> {
        self.stopwatch.peak_memory_bytes();
        self.observer.on(Event::Progress { done: done as u64, total: total as u64, unit: unit.to_owned() });
        if self.observer.should_stop() { Err(EngineError::Stopped) } else { Ok(()) }
    }

    /// The folder that files of a checkpoint are written to, each under its name. Makes it.
    ///
    /// # Errors
    ///
    /// [`EngineError::Io`].
    pub fn checkpoint_folder(&self) -> Result<PathBuf> {
        let folder = self.scratch.join(checkpoint::FOLDER);
        fs::create_dir_all(&folder).map_err(EngineError::io(&folder, "made"))?;
        Ok(folder)
    }

    /// Tells that another attempt could go on from here, with the files told before, these new ones, and without those
    /// that are dropped. A new file is whole, lies in [`RunContext::checkpoint_folder`] under its name, and is never written
    /// again; a dropped one is removed there. Where nobody keeps them ([`Checkpoint::is_kept`]) this does nothing.
    ///
    /// Reads the new files once. Whoever listens publishes them meanwhile: nothing waits for that.
    ///
    /// # Errors
    ///
    /// [`EngineError::Io`] where a file can't be read or removed; [`EngineError::Internal`] where a name is none
    /// ([`checkpoint::is_name`]) or is in use, a file lies elsewhere, or there are more than [`checkpoint::MOST_FILES`].
    pub fn keep(&self, new: &[(&str, &Path)], drop: &[&str]) -> Result<()> {
        let folder = self.scratch.join(checkpoint::FOLDER);
        let Some(event) = self.kept.next(&folder, new, drop)? else { return Ok(()) };
        self.observer.on(event);
        for path in drop.iter().filter(|name| checkpoint::is_name(name)).map(|name| folder.join(name)) {
            match fs::remove_file(&path) {
                // an earlier attempt's, which lies elsewhere
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(EngineError::io(path, "removed"))?,
            }
        }
        Ok(())
    }

    /// Leaves a note in the job's log.
    pub fn note(&self, message: impl Into<String>) {
        self.observer.on(Event::Note { message: message.into() });
    }
}
