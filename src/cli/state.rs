//! The state folder: one process at a time, and who we are across restarts.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use uuid::Uuid;

/// A state folder that is ours for as long as this value lives.
#[derive(Debug)]
pub(super) struct State {
    /// The folder.
    pub(super) folder: PathBuf,
    /// Names the folder, and so the leases that its processes held.
    pub(super) host_id: Uuid,
    _lock: File,
}

/// Another process has the state folder.
#[derive(Debug, thiserror::Error)]
#[error("another pare uses the state folder {}: stop it, or give this one a folder of its own with --state-dir", .0.display())]
pub(super) struct InUse(PathBuf);

impl State {
    /// Makes the folder if it is not there, and locks it.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let named = || format!("the state folder {} can't be used", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(named)?;
        let open = File::options().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"));
        let lock = open.with_context(named)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(InUse(folder.to_owned()).into()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(named),
        }
        let host_id = host_id(&folder.join("host-id")).with_context(named)?;
        Ok(Self { folder: folder.to_owned(), host_id, _lock: lock })
    }
}

fn host_id(path: &Path) -> io::Result<Uuid> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no UUID: remove it", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::now_v7();
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

/// Chooses the TLS code of this process: several libraries are linked that each could bring their own.
pub(super) fn prepare_tls() {
    // Chosen already: a test harness runs several servers in one process.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_and_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = State::open(&path).unwrap();
        let refused = State::open(&path).unwrap_err().to_string();
        assert!(refused.contains("another pare"), "{refused}");
        let host_id = first.host_id;
        drop(first);
        assert_eq!(State::open(&path).unwrap().host_id, host_id);
    }
}
