//! `pare run-job`: one job in a process of its own.
//!
//! The folder holds `input.json` and the job's files under `in/`; events go to standard output as JSON lines;
//! `output.json` and the files under `out/`, both below `work/`, are what is left. It stops when it is asked to by
//! SIGTERM, or when its standard input ends, as it does when the worker goes away. Model bytes are untrusted and are
//! touched here alone: this process has no environment, no open files but its pipes, no credentials, and after
//! [`confine::lock`] no way to anything but its folder.

mod confine;
mod observer;
mod probe;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::{Interrupted, ProcessClock, host};
use crate::engine::calibrate::{Statistics, statistics};
use crate::engine::checkpoint::{self, Checkpoint};
use crate::engine::context::{Event, Observer, RunContext};
use crate::engine::error::EngineError;
use crate::engine::job::{Input, Output, WORK};
use crate::engine::kernels;
use crate::engine::run;
use crate::worker::Sandbox;
use observer::LineObserver;

/// What a worker gives.
#[derive(Debug, Args)]
pub(super) struct RunJob {
    /// The worker's process id.
    #[arg(long)]
    parent: i32,
    /// SHA-256 of this program, for the report.
    #[arg(long)]
    binary_sha256: Option<String>,
    /// Bytes on the disk that the job was predicted to need.
    #[arg(long)]
    disk_bytes: Option<u64>,
    /// End at once where the kernel can't hold this process to its folder.
    #[arg(long)]
    require_sandbox: bool,
    /// Run no job, but try what a job should not be able to do.
    #[arg(long)]
    probe: bool,
    /// The job's folder.
    folder: PathBuf,
}

impl RunJob {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        confine::die_with(self.parent)?;
        confine::stand_back()?;
        if self.probe {
            return probe::run(&self.folder, self.parent);
        }
        // What the kernel's files say is read, or opened, while they can be.
        let clock = ProcessClock::default();
        let host = host(self.binary_sha256.clone());
        learn_caches()?;
        let work = self.folder.join(WORK);
        let sandbox = confine::lock(&self.folder, &work)?;
        ensure!(!self.require_sandbox || sandbox.missing.is_empty(), "no sandbox: {}", sandbox.gaps());
        let input: Input = read_input(&self.folder.join("input.json"))?;
        confine::limit(input.memory_limit_bytes, self.disk_bytes)?;
        if input.device != "cpu" {
            bail!("the device '{}' is not built in", input.device);
        }
        rayon::ThreadPoolBuilder::new().num_threads(input.threads).build_global().context("no threads")?;
        let observer = LineObserver::start()?;
        tell_gaps(&observer, &sandbox);
        let key = checkpoint::key(&input, &host)?;
        let kept = Checkpoint::open(input.checkpoint.as_ref(), &key, &observer);
        let key = statistics::key(&input.task, &input.device, &host)?;
        let statistics = Statistics::open(input.statistics.as_ref(), key, &observer);
        let ctx = RunContext {
            observer: &observer,
            stopwatch: &clock,
            device: candle_core::Device::Cpu,
            threads: input.threads,
            resident_bytes: crate::engine::context::RESIDENT_BYTES,
            scratch: work.clone(),
            host,
            kept,
            statistics,
        };
        let output = match run::run(&input, &ctx) {
            Ok(output) => output,
            Err(EngineError::Stopped) => return Err(Interrupted.into()),
            Err(error) => failure(error)?,
        };
        write_output(&work, &output)
    }
}

/// The matrix product cuts its sums by the sizes of the caches, and looks for these in the kernel's files at its first
/// call. Once they are out of reach it would guess, and a job's numbers could differ from any other process's here.
fn learn_caches() -> anyhow::Result<()> {
    let some = candle_core::Tensor::zeros((64, 64), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    kernels::linear::linear(&some, &some, None)?;
    Ok(())
}

/// What the kernel can't hold us to stands in the job's log.
fn tell_gaps(observer: &LineObserver, sandbox: &Sandbox) {
    if !sandbox.missing.is_empty() {
        observer.on(Event::Note { message: format!("runs without a whole sandbox: {}", sandbox.gaps()) });
    }
}

/// What another try may mend ends this process, and the worker tries again; the rest is an answer.
fn failure(error: EngineError) -> anyhow::Result<Output> {
    let problems = error.problems();
    let error = match error {
        EngineError::Io { ref source, .. }
            if !matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::FileTooLarge) =>
        {
            return Err(error.into());
        }
        error => anyhow::Error::new(error),
    };
    super::eprintln_error(&error);
    Ok(Output::Failed { problems })
}

fn read_input(path: &Path) -> anyhow::Result<Input> {
    let text = fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a job's input", path.display()))
}

/// Whole or not at all: the worker may look while we are killed.
fn write_output(folder: &Path, output: &Output) -> anyhow::Result<()> {
    let new = folder.join("output.json.new");
    let mut file = File::create(&new).context("output.json can't be written")?;
    file.write_all(&serde_json::to_vec(output)?).context("output.json can't be written")?;
    fs::rename(&new, folder.join("output.json")).context("output.json can't be written")
}
