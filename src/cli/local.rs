//! What the local commands share: folders as inputs, a progress bar, and how problems are shown.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Invalid, ProcessClock, host};
use crate::engine::calibrate::Statistics;
use crate::engine::checkpoint::Checkpoint;
use crate::engine::context::{Event, Host, Observer, Phase, RunContext};
use crate::engine::export::verify::input;
use crate::engine::hash::sha256_file;
use crate::engine::job::{Datasets, InputFile, Source};
use crate::engine::recipe::{Recipe, preset, presets};

/// Folders of a model that are looked into, at most.
const MOST_FILES: usize = 10_000;

/// A model's folder.
pub(super) fn model(folder: &Path) -> anyhow::Result<Source> {
    source(folder, &is_of_a_model)
}

/// Everything in a folder, but hidden folders.
pub(super) fn folder(folder: &Path) -> anyhow::Result<Source> {
    source(folder, &|_| true)
}

fn source(folder: &Path, keep: &dyn Fn(&str) -> bool) -> anyhow::Result<Source> {
    let mut files = Vec::new();
    walk(folder, folder, keep, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Source { name: name(folder), files })
}

fn walk(root: &Path, folder: &Path, keep: &dyn Fn(&str) -> bool, files: &mut Vec<InputFile>) -> anyhow::Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} can't be opened as a folder", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if !is_hidden(&path) {
                walk(root, &path, keep, files)?;
            }
        } else if let Some(relative) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && keep(relative)
        {
            files.push(input(root, relative)?);
        }
        anyhow::ensure!(
            files.len() <= MOST_FILES,
            "{} has more than {MOST_FILES} files: is it a model?",
            root.display()
        );
    }
    Ok(())
}

/// Weight files that lie beside a safetensors model in other formats are left alone, as are its own examples.
fn is_of_a_model(path: &str) -> bool {
    let weights = path.ends_with(".safetensors") && !path.contains('/') && path.starts_with("model");
    !is_hidden(Path::new(path)) && (weights || [".json", ".txt"].iter().any(|e| path.ends_with(e)))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// The files of rows that a run may be given.
#[derive(Debug, clap::Args)]
pub(super) struct Rows {
    /// Rows that the report is made on, {"text", "label"} a line. Read once, at the end.
    #[arg(long, value_name = "FILE")]
    eval: Option<PathBuf>,
    /// Text that statistics are taken from.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Text that is trained on.
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// Rows that choices are made on, in place of the tenth of the calibration or training rows that is held out.
    #[arg(long, value_name = "FILE")]
    validation: Option<PathBuf>,
}

impl Rows {
    /// All of them.
    pub(super) fn datasets(&self) -> anyhow::Result<Datasets> {
        Ok(Datasets {
            calibration: dataset(self.calibration.as_ref())?,
            training: dataset(self.train.as_ref())?,
            validation: dataset(self.validation.as_ref())?,
            evaluation: dataset(self.eval.as_ref())?,
        })
    }
}

/// A dataset's file.
pub(super) fn dataset(path: Option<&PathBuf>) -> anyhow::Result<Option<Source>> {
    let Some(path) = path else { return Ok(None) };
    let (Some(folder), Some(file)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        anyhow::bail!("{} is not a file", path.display());
    };
    let file = input(folder, file).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Some(Source { name: name(path), files: vec![file] }))
}

/// A dataset's files, in their order; none where none are named.
pub(super) fn datasets(paths: &[PathBuf]) -> anyhow::Result<Option<Source>> {
    let mut whole: Option<Source> = None;
    for path in paths {
        match (&mut whole, dataset(Some(path))?) {
            (Some(whole), Some(more)) => whole.files.extend(more.files),
            (None, one) => whole = one,
            (Some(_), None) => {}
        }
    }
    Ok(whole)
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// A preset's name, or a file with a recipe.
pub(super) fn recipe(given: &str) -> anyhow::Result<Recipe> {
    if let Some(preset) = preset(given) {
        return Ok(preset.recipe.clone());
    }
    let names: Vec<&str> = presets().iter().map(|p| p.name).collect();
    let text = std::fs::read_to_string(given)
        .with_context(|| format!("'{given}' is neither a preset ({}) nor a file with a recipe", names.join(", ")))?;
    let value = serde_json::from_str(&text).with_context(|| format!("{given} is not JSON"))?;
    Ok(Recipe::parse(&value).map_err(Invalid)?)
}

/// A progress bar on stderr, and a stop at Ctrl-C.
pub(super) struct Terminal {
    bar: ProgressBar,
    stopped: &'static AtomicBool,
}

static STOPPED: AtomicBool = AtomicBool::new(false);

impl Terminal {
    /// `quiet`: nothing is drawn.
    pub(super) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(1) };
        let style = ProgressStyle::with_template("{prefix:12} [{bar:32}] {pos}/{len} {msg} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        watch_interrupt();
        Self { bar, stopped: &STOPPED }
    }

    /// Clears the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Notes Ctrl-C and a termination; a second one ends the process as ever.
fn watch_interrupt() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    std::thread::spawn(move || {
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                STOPPED.store(true, Ordering::Relaxed);
                let _ = tokio::signal::ctrl_c().await;
                std::process::exit(Exit::Interrupted as i32);
            }
        });
    });
}

impl Observer for Terminal {
    fn on(&self, event: Event) {
        match event {
            Event::Phase { phase } => {
                self.bar.reset();
                self.bar.set_prefix(match phase {
                    Phase::Loading => "loading",
                    Phase::Compressing => "compressing",
                    Phase::Packaging => "packaging",
                    Phase::Evaluating => "evaluating",
                });
            }
            Event::Progress { done, total, unit } => {
                self.bar.set_length(total);
                self.bar.set_position(done);
                self.bar.set_message(unit);
            }
            Event::Note { message } => self.bar.println(message),
            // nobody keeps them here
            Event::Checkpoint { .. } | Event::Resumed { .. } => {}
        }
    }

    fn should_stop(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Everything that a local run needs.
pub(super) struct Local {
    terminal: Terminal,
    clock: ProcessClock,
    host: Host,
    threads: usize,
}

impl Local {
    /// Uses `threads`, or all that there are.
    pub(super) fn new(quiet: bool, threads: Option<usize>) -> Self {
        let threads = threads
            .filter(|n| *n > 0)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        // Fails only where a pool exists already, which then is used
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        Self { terminal: Terminal::new(quiet), clock: ProcessClock::default(), host: host(own_sha256()), threads }
    }

    /// The engine's view of it.
    pub(super) fn context(&self, scratch: PathBuf) -> RunContext<'_> {
        RunContext {
            observer: &self.terminal,
            stopwatch: &self.clock,
            device: candle_core::Device::Cpu,
            threads: self.threads,
            resident_bytes: crate::engine::context::RESIDENT_BYTES,
            scratch,
            host: self.host.clone(),
            kept: Checkpoint::default(),
            statistics: Statistics::default(),
        }
    }

    /// Clears the bar.
    pub(super) fn finish(&self) {
        self.terminal.finish();
    }
}

/// The hash of this program, for the report.
fn own_sha256() -> Option<String> {
    sha256_file(&std::env::current_exe().ok()?).ok()
}

/// Seconds with a decimal.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
