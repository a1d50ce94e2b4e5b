//! What a long run leaves on its way, so that the next attempt goes on from there.
//!
//! A run says with [`RunContext::keep`](super::context::RunContext::keep) which files are enough to go on; whoever started
//! it keeps them, and hands them to the next attempt. That one trusts them only where their bytes are those that were told
//! of, and where they were made under the same [`key`]: from the same model, recipe and data, by the same program on the
//! same processor. All else begins anew, and says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::context::{Event, Host, Observer};
use super::error::{EngineError, Result};
use super::hash::{sha256, sha256_file};
use super::job::{Datasets, Input, Source, Task};

#[cfg(test)]
mod tests;

/// The folder in a run's scratch folder that a checkpoint's files lie in.
pub const FOLDER: &str = "checkpoint";
/// Files of one checkpoint, at most: with the longest names, what is told of them is a line that a worker still reads.
pub const MOST_FILES: usize = 256;
/// A file's name, at most.
pub const NAME_BYTES: usize = 64;

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its name: see [`is_name`].
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
}

/// A file that an earlier attempt left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenFile {
    /// What it should be.
    #[serde(flatten)]
    pub file: KeptFile,
    /// Where it lies on this machine, read-only.
    pub location: PathBuf,
}

/// The checkpoint that an earlier attempt left, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// How many checkpoints the run had left by then.
    pub step: u64,
    /// What it was made from.
    pub key: String,
    /// All of its files.
    pub files: Vec<GivenFile>,
}

/// Whether a file of a checkpoint may be called so: `[a-z0-9._-]+`, not beginning with a dot, of at most [`NAME_BYTES`].
pub fn is_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=NAME_BYTES).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(is_fit)
}

/// What a run's checkpoints depend on, as a hash: the program, the device and the processor's model, the task with its
/// recipe, plan and seed, and what the files of its model and datasets hash to. Not the number of threads, which no result
/// depends on, and not where files lie.
///
/// # Errors
///
/// [`EngineError::Internal`] where the task can't be written as JSON.
pub fn key(input: &Input, host: &Host) -> Result<String> {
    let mut task = input.task.clone();
    if let Task::Sensitivity { earlier, .. } = &mut task {
        *earlier = None;
    }
    for source in sources(&mut task) {
        for file in &mut source.files {
            file.location = PathBuf::new();
        }
    }
    // A new kernel changes no number.
    let host = Host { os: String::new(), ..host.clone() };
    let basis = serde_json::to_vec(&(env!("CARGO_PKG_VERSION"), host, &input.device, task));
    Ok(sha256(&basis.map_err(|error| EngineError::Internal(format!("the task can't be hashed: {error}")))?))
}

fn sources(task: &mut Task) -> Vec<&mut Source> {
    match task {
        Task::ValidateModel { model: source } | Task::ValidateDataset { dataset: source } => vec![source],
        Task::Compress { model, datasets, .. } | Task::Sensitivity { model, datasets, .. } => {
            [model].into_iter().chain(named(datasets)).collect()
        }
        Task::Evaluate { model, reference, datasets, .. } => {
            [model].into_iter().chain(reference).chain(named(datasets)).collect()
        }
    }
}

fn named(datasets: &mut Datasets) -> impl Iterator<Item = &mut Source> {
    let Datasets { calibration, training, validation, evaluation } = datasets;
    [calibration, training, validation, evaluation].into_iter().flatten()
}

/// The files that an earlier attempt left, and those that this one has told of. The default keeps nothing.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// `None` where nobody keeps what this run leaves.
    key: Option<String>,
    step: u64,
    found: BTreeMap<String, PathBuf>,
    now: Mutex<Now>,
}

/// The checkpoint as it was told last.
#[derive(Debug, Default)]
struct Now {
    step: u64,
    files: BTreeMap<String, KeptFile>,
}

impl Checkpoint {
    /// Begins with what was given, if every file is what it should be and `key` fits; else with nothing, and a note that
    /// says why. Reads all files once.
    pub fn open(given: Option<&Given>, key: &str, observer: &dyn Observer) -> Self {
        let begun =
            |step, found, files| Self { key: Some(key.to_owned()), step, found, now: Mutex::new(Now { step, files }) };
        let Some(given) = given else { return begun(0, BTreeMap::new(), BTreeMap::new()) };
        if let Err(why) = check(given, key) {
            let message = format!("the checkpoint of step {} is not used: {why}. The run begins anew", given.step);
            observer.on(Event::Note { message });
            return begun(0, BTreeMap::new(), BTreeMap::new());
        }
        observer.on(Event::Resumed { step: given.step });
        let found = given.files.iter().map(|it| (it.file.name.clone(), it.location.clone())).collect();
        let files = given.files.iter().map(|it| (it.file.name.clone(), it.file.clone())).collect();
        begun(given.step, found, files)
    }

    /// Whether anyone keeps what this run leaves. Where not, a run need not write it.
    pub fn is_kept(&self) -> bool {
        self.key.is_some()
    }

    /// Whether so many more files can be kept.
    pub fn has_room(&self, files: usize) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).files.len() + files <= MOST_FILES
    }

    /// The step that an earlier attempt came to; 0 where this one begins anew.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// A file of an earlier attempt, for reading.
    pub fn file(&self, name: &str) -> Option<&Path> {
        self.found.get(name).map(PathBuf::as_path)
    }

    /// All files of an earlier attempt, in the order of their names; none where this one begins anew.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.found.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// The next checkpoint: the last one with `new` files, which lie in `folder`, and without those in `drop`. `None` where
    /// nobody keeps it.
    ///
    /// # Errors
    ///
    /// [`EngineError::Io`] where a new file can't be read; [`EngineError::Internal`] where its name is none or is in use, it
    /// lies elsewhere, or there are too many.
    pub(super) fn next(&self, folder: &Path, new: &[(&str, &Path)], drop: &[&str]) -> Result<Option<Event>> {
        let Some(key) = &self.key else { return Ok(None) };
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = now.files.clone();
        files.retain(|name, _| !drop.contains(&name.as_str()));
        for (name, path) in new {
            // A file that was told of may be on its way still: it is never written again.
            if !is_name(name) || now.files.contains_key(*name) || *path != folder.join(name) {
                let why = "is no name, in use already, or not where checkpoints lie";
                return Err(EngineError::Internal(format!("'{name}' at {} {why}", path.display())));
            }
            let size_bytes = fs::metadata(path).map_err(EngineError::io(*path, "read"))?.len();
            let file = KeptFile { name: (*name).to_owned(), size_bytes, sha256: sha256_file(path)? };
            files.insert((*name).to_owned(), file);
        }
        if files.len() > MOST_FILES {
            let count = files.len();
            return Err(EngineError::Internal(format!("a checkpoint of {count} files; {MOST_FILES} are allowed")));
        }
        let step = now.step + 1;
        let event = Event::Checkpoint { step, key: key.clone(), files: files.values().cloned().collect() };
        *now = Now { step, files };
        Ok(Some(event))
    }
}

/// Says what is wrong with a checkpoint.
fn check(given: &Given, key: &str) -> Result<(), String> {
    if given.key != key {
        return Err("it was made from something else, by another program, or on another processor".to_owned());
    }
    for GivenFile { file, location } in &given.files {
        let name: String = file.name.chars().take(NAME_BYTES).collect();
        if !is_name(&file.name) {
            return Err(format!("{name:?} is not the name of one of its files"));
        }
        let is_whole = fs::metadata(location).is_ok_and(|found| found.is_file() && found.len() == file.size_bytes)
            && sha256_file(location).is_ok_and(|found| found == file.sha256);
        if !is_whole {
            return Err(format!("its file '{name}' is damaged"));
        }
    }
    Ok(())
}
