//! Maps a file into memory, read-only. The only `unsafe` of the engine outside its kernels.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::engine::error::{EngineError, Result};

/// A file's bytes. They are the page cache's, not this process's own memory.
#[derive(Debug)]
pub(crate) struct Map(Mmap);

impl Map {
    /// Maps all of the file at `location`, which the caller owns and nothing changes while the map lives.
    ///
    /// # Errors
    ///
    /// [`EngineError::Io`] where it can't be opened or mapped.
    pub(crate) fn open(location: &Path) -> Result<Self> {
        let file = File::open(location).map_err(EngineError::io(location, "opened"))?;
        // SAFETY: a map is unsound where someone writes to the file, or cuts it short, while it is mapped. The files
        // that the engine is given are immutable blobs (published once under their hash, never written again, removed
        // by unlinking, which keeps mapped bytes) or a folder that the person at the command line does not change
        // meanwhile. The map is private and read-only, and only ever handed out as `&[u8]` that borrows from it.
        let map = unsafe { Mmap::map(&file) }.map_err(EngineError::io(location, "mapped into memory"))?;
        Ok(Self(map))
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
