//! Folders for jobs that run: made for one attempt, gone after it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A folder of one attempt. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder below `root` that nobody else can look into.
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        let path = root.join(Uuid::now_v7().to_string());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Blocks for as long as unlinking takes; what stays is swept at the next start.
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a job's folder stays until the next start");
        }
    }
}

/// Empties `root`: what lies there belongs to a process that is no more. Makes it if it is not there.
pub(super) fn sweep(root: &Path) -> io::Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root)
}

/// Bytes that are free where `root` lies.
pub(super) fn free_bytes(root: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(root)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_with_their_attempt_and_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("scratch");
        sweep(&root).unwrap();
        let scratch = Scratch::create(&root).unwrap();
        fs::write(scratch.path().join("x"), b"x").unwrap();
        assert!(free_bytes(&root).unwrap() > 0);
        drop(scratch);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        fs::create_dir_all(root.join("left/behind")).unwrap();
        sweep(&root).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }
}
