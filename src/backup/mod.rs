//! Backups: the database and every blob that its rows name, in a folder, and back.
//!
//! ```text
//! manifest.json     versions, counts, hashes; written last: a folder without it is no backup
//! database.dump     pg_dump's custom format
//! blobs.txt         a line a blob: its hash and its length
//! blobs/ab/cdef…    the blobs
//! ```
//!
//! # Why nothing that the dump names can be missing
//!
//! A server goes on while its backup is made: models come and are deleted, and blobs that no row names any more are
//! collected. Collection spares blobs that were *published* lately, whichever order the two halves are saved in: a
//! model that is a year old and is deleted while its backup is made leaves old blobs, which the next round would take
//! from under a dump that names them. So a backup holds collection off for as long as it runs, by a lock in the database
//! that collection asks for with each blob ([`crate::db::blobs::may_collect`]) and that ends with the backup's
//! connection, however it ends. Under that lock: one snapshot, by which the dump is made and the blobs are listed; then
//! the blobs are copied. Whatever the snapshot's rows name was in the store when it was taken, since a row is written
//! after its bytes; it stays there until the lock is let go; and blobs are never changed.
//!
//! Each blob is hashed while it is copied, here and on the way back.

mod error;
mod load;
mod manifest;
mod progress;
mod save;
mod tools;

pub use error::{Error, Result};
pub use load::{check, load};
pub use manifest::{Manifest, Saved};
pub use progress::Progress;
pub use save::save;

use std::path::{Path, PathBuf};

use crate::store::Store;

/// What is saved, or filled.
#[derive(Debug, Clone)]
pub struct Service {
    /// The database's address.
    pub url: String,
    /// The blobs.
    pub store: Store,
    /// The folder of `pg_dump` and `pg_restore`; found if not given.
    pub programs: Option<PathBuf>,
}

const MANIFEST: &str = "manifest.json";
const DUMP: &str = "database.dump";
const LIST: &str = "blobs.txt";
const BLOBS: &str = "blobs";

/// Makes a file or a folder, and what was renamed in it, durable.
fn sync(path: &Path) -> Result<()> {
    std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path, "written to disk"))
}
