//! Whether what a process tells of a checkpoint makes sense, before any file is looked at.

use std::collections::BTreeSet;

use super::Told;
use crate::engine::checkpoint::{MOST_FILES, is_name};
use crate::store::Digest;

/// Characters of a name that is shown.
const SHOWN_CHARS: usize = 80;

/// A checkpoint that makes sense.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) step: u64,
    /// A SHA-256 too.
    pub(super) key: Digest,
    pub(super) files: Vec<Wanted>,
}

/// A file that should be there.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its name: fit to be joined to a folder.
    pub(super) path: String,
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
}

impl Wanted {
    /// What it is known by.
    pub(super) fn name(&self) -> (String, Digest) {
        (self.path.clone(), self.digest)
    }
}

/// Says what is wrong with it otherwise. Together its files may have `most_bytes`.
pub(super) fn check(told: Told, most_bytes: u64) -> Result<Checked, String> {
    if told.step == 0 || i64::try_from(told.step).is_err() {
        return Err(format!("{} is no step", told.step));
    }
    let key: Digest = told.key.parse().map_err(|_| "its key is no SHA-256".to_owned())?;
    if told.files.len() > MOST_FILES {
        return Err(format!("it has {} files, and {MOST_FILES} are allowed", told.files.len()));
    }
    let mut names = BTreeSet::new();
    let mut total_bytes = 0_u64;
    let mut files = Vec::with_capacity(told.files.len());
    for file in told.files {
        let shown: String = file.name.chars().take(SHOWN_CHARS).collect();
        if !is_name(&file.name) {
            return Err(format!("{shown:?} is not the name of a file of a checkpoint"));
        }
        let digest: Digest = file.sha256.parse().map_err(|_| format!("the hash of '{shown}' is no SHA-256"))?;
        total_bytes = total_bytes.saturating_add(file.size_bytes);
        if !names.insert(file.name.clone()) {
            return Err(format!("it has two files '{shown}'"));
        }
        files.push(Wanted { path: file.name, digest, size_bytes: file.size_bytes });
    }
    if total_bytes > most_bytes {
        return Err(format!("it has {total_bytes} bytes, and the job may have {most_bytes} on the disk"));
    }
    Ok(Checked { step: told.step, key, files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::checkpoint::KeptFile;

    fn file(name: &str, size_bytes: u64) -> KeptFile {
        KeptFile { name: name.into(), size_bytes, sha256: Digest::of(b"x").to_string() }
    }

    fn told(files: Vec<KeptFile>) -> Told {
        Told { step: 1, key: Digest::of(b"k").to_string(), files }
    }

    #[test]
    fn what_makes_sense_is_taken() {
        let checked = check(told(vec![file("a", 6), file("b.st", 4)]), 10).unwrap();
        assert_eq!((checked.step, checked.key, checked.files.len()), (1, Digest::of(b"k"), 2));
        assert!(check(told(Vec::new()), 0).is_ok());
    }

    #[test]
    fn what_does_not_is_refused_with_a_reason() {
        let many = (0..=MOST_FILES).map(|i| file(&format!("f{i}"), 0)).collect();
        let unhashed = KeptFile { sha256: "x".into(), ..file("a", 1) };
        for (bad, why) in [
            (Told { step: 0, ..told(Vec::new()) }, "no step"),
            (Told { step: u64::MAX, ..told(Vec::new()) }, "no step"),
            (Told { key: String::new(), ..told(Vec::new()) }, "key"),
            (told(vec![file("../a", 1)]), "\"../a\" is not the name"),
            (told(vec![file("/etc/passwd", 1)]), "not the name"),
            (told(vec![file("a\0", 1)]), "\"a\\0\" is not the name"),
            (told(vec![file(&"a".repeat(1 << 15), 1)]), "not the name"),
            (told(vec![unhashed]), "the hash of 'a'"),
            (told(vec![file("a", 1), file("a", 1)]), "two files 'a'"),
            (told(many), "257 files"),
            (told(vec![file("a", 11)]), "11 bytes"),
            (told(vec![file("a", u64::MAX), file("b", 2)]), "bytes"),
        ] {
            let refused = check(bad, 10).unwrap_err();
            assert!(refused.contains(why) && refused.len() < 500, "{refused}");
        }
    }
}
