//! Runs the engine in a test: no progress, a real clock, a folder of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pare::engine::calibrate::Statistics;
use pare::engine::checkpoint::Checkpoint;
use pare::engine::context::{Host, RESIDENT_BYTES, RunContext, Silent, Stopwatch};
use pare::engine::export::verify::input;
use pare::engine::job::Source;

/// The fixtures that lie beside a checkout; `None`, said aloud, where they do not.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// A fixture of our own.
pub(crate) fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// The files of a model's folder.
pub(crate) fn model(folder: &Path) -> Source {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("expected") && !name.starts_with("golden") && name != "report.json")
        .chain(["1_Pooling/config.json".to_owned()])
        .filter(|name| folder.join(name).is_file())
        .map(|name| input(folder, &name).unwrap())
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Source { name: folder.file_name().unwrap().to_string_lossy().into_owned(), files }
}

struct Clock(Instant);

impl Stopwatch for Clock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn cpu_time(&self) -> Option<Duration> {
        None
    }

    fn peak_memory_bytes(&self) -> Option<u64> {
        None
    }
}

/// Calls `f` with a context over a new folder.
pub(crate) fn with_context<T>(f: impl FnOnce(&RunContext<'_>) -> T) -> T {
    with_resident(RESIDENT_BYTES, f)
}

/// The same, where models with more weights stay in their files.
pub(crate) fn with_resident<T>(resident_bytes: u64, f: impl FnOnce(&RunContext<'_>) -> T) -> T {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Clock(Instant::now());
    f(&RunContext {
        observer: &Silent,
        stopwatch: &clock,
        device: candle_core::Device::Cpu,
        threads: 2,
        resident_bytes,
        scratch: scratch.path().to_owned(),
        host: Host::default(),
        kept: Checkpoint::default(),
        statistics: Statistics::default(),
    })
}
