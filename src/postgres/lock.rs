//! One process to a state folder.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::{Error, Result};

/// The lock on a state folder. The kernel lets go of it when this process ends, however that happens.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Makes the folder, for its owner alone, if it is not there, and locks it.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] where another process holds it.
    pub fn take(state_dir: &Path) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(Error::io(state_dir, "made"))?;
        let path = state_dir.join("cluster.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path, "opened"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { state_dir: state_dir.to_owned() }),
            Err(source) => Err(Error::io(path, "locked")(source.into())),
        }
    }
}
