//! Which files are uploaded, and under which paths.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::super::Invalid;
use crate::engine::foreign::Foreign;
use crate::engine::problem::{Problem, escape_pointer};

/// More files than this are no model.
const MOST_FILES: usize = 10_000;

/// A file that is to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its path in the whole.
    pub(super) path: String,
    /// Where it lies.
    pub(super) location: PathBuf,
    /// Its length.
    pub(super) size_bytes: u64,
    /// When it was changed last, in nanoseconds.
    pub(super) modified_ns: u128,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<File>,
    /// What was left out, for people.
    pub(super) notes: Vec<String>,
}

/// The files of folders, and those that are named.
///
/// # Errors
///
/// [`Invalid`] where a named file is of a format that is refused, or two files would have one path.
pub(super) fn find(given: &[PathBuf]) -> anyhow::Result<Found> {
    let (mut found, mut problems) = (Found::default(), Vec::new());
    for path in given {
        let about = std::fs::metadata(path).with_context(|| format!("{} can't be read", path.display()))?;
        if about.is_dir() {
            walk(path, path, &mut found)?;
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no name that can be sent", path.display()))?;
        match Foreign::by_name(name) {
            Some(foreign) => {
                let pointer = format!("/files/{}", escape_pointer(name));
                problems.push(Problem::new(pointer, foreign.code(), foreign.instead_of_a_model()));
            }
            None => found.files.push(file(name.to_owned(), path)?),
        }
    }
    let mut paths = HashSet::new();
    for file in &found.files {
        let twice = !paths.insert(file.path.as_str());
        ensure!(!twice, "two files would have the path '{}': upload a folder that holds them apart", file.path);
    }
    if !problems.is_empty() {
        return Err(Invalid(problems).into());
    }
    ensure!(!found.files.is_empty(), "there is nothing to upload");
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Found) -> anyhow::Result<()> {
    let cant = || format!("{} can't be opened as a folder", folder.display());
    let mut entries =
        std::fs::read_dir(folder).with_context(cant)?.collect::<Result<Vec<_>, _>>().with_context(cant)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found)?;
            continue;
        }
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        let name = name.with_context(|| format!("{} has no name that can be sent", path.display()))?;
        // Weights in other formats lie beside those in safetensors everywhere.
        if Foreign::by_name(name).is_some() {
            found.notes.push(format!("left out {name}: its format is not read"));
        } else {
            found.files.push(file(name.to_owned(), &path)?);
        }
        ensure!(found.files.len() <= MOST_FILES, "{} has more than {MOST_FILES} files: is it a model?", root.display());
    }
    Ok(())
}

fn file(path: String, location: &Path) -> anyhow::Result<File> {
    let cant = || format!("{} can't be read", location.display());
    let location = std::path::absolute(location).with_context(cant)?;
    let about = std::fs::metadata(&location).with_context(cant)?;
    let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let modified_ns = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(File { path, location, size_bytes: about.len(), modified_ns })
}

/// A name for the whole: the first folder's or file's.
pub(super) fn name(given: &[PathBuf]) -> Option<String> {
    let first = std::path::absolute(given.first()?).ok()?;
    let name = if first.is_dir() { first.file_name() } else { first.file_stem() };
    name.map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_keep_their_paths_and_foreign_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("my-model");
        std::fs::create_dir_all(root.join("1_Pooling")).unwrap();
        for name in ["config.json", "1_Pooling/config.json", "pytorch_model.bin", ".gitattributes"] {
            std::fs::write(root.join(name), b"{}").unwrap();
        }
        let found = find(std::slice::from_ref(&root)).unwrap();
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["1_Pooling/config.json", "config.json"]);
        assert_eq!(found.notes.len(), 1);
        assert_eq!(name(std::slice::from_ref(&root)).as_deref(), Some("my-model"));
        // named, it is refused; twice under one name is, too
        assert!(find(&[root.join("pytorch_model.bin")]).unwrap_err().is::<Invalid>());
        assert!(find(&[root.join("config.json"), root.join("1_Pooling/config.json")]).is_err());
        assert!(find(&[folder.path().join("nowhere")]).is_err());
    }
}
