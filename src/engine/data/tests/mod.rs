mod batches;
mod datasets;
mod documents;
mod overlaps;
mod targets;
mod tokens;
mod words;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::engine::error::{EngineError, Result};
use crate::engine::job::InputFile;
use crate::engine::problem::{Code, Problem};

/// A shared fixture, or `None` where it is not there; the test that asked says that it is skipped.
fn fixture(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures").join(what);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn input(path: &str, location: &Path) -> InputFile {
    let size_bytes = std::fs::metadata(location).unwrap().len();
    InputFile { path: path.to_owned(), location: location.to_owned(), size_bytes, sha256: None }
}

/// Reads files written to a folder for it.
fn read(files: &[(&str, &[u8])]) -> Result<Dataset> {
    let folder = TempDir::new().unwrap();
    let mut inputs = Vec::new();
    for (at, (path, bytes)) in files.iter().enumerate() {
        let location = folder.path().join(at.to_string());
        std::fs::write(&location, bytes).unwrap();
        inputs.push(input(path, &location));
    }
    Dataset::read(&inputs)
}

fn problems(files: &[(&str, &[u8])]) -> Vec<Problem> {
    match read(files) {
        Err(EngineError::Invalid(problems)) => problems,
        other => panic!("{files:?}: {other:?}"),
    }
}

fn row(text: &str, text_pair: Option<&str>, label: Option<&str>) -> Row {
    let (text_pair, label) = (text_pair.map(str::to_owned), label.map(str::to_owned));
    Row { text: text.to_owned(), text_pair, label, words: Vec::new() }
}
