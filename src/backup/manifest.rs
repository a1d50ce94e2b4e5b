//! What a backup says about itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::{LIST, MANIFEST, sync};
use crate::db::backup::NamedBlob;
use crate::db::newest_migration;
use crate::store::Digest;

/// The layout of the folder.
const FORMAT: u32 = 1;

/// A file of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout of the folder: 1.
    pub format: u32,
    /// The program that made it.
    pub version: String,
    /// When it was begun, by the clock of the machine that made it.
    pub created_at: DateTime<Utc>,
    /// The newest migration that had run.
    pub migration: i64,
    /// The major version of the Postgres that was dumped.
    pub postgres_major: u32,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// `database.dump`.
    pub database: Saved,
    /// `blobs.txt`, which names every blob.
    pub list: Saved,
    /// How many blobs there are.
    pub blobs: u64,
    /// Their bytes together.
    pub blob_bytes: u64,
}

/// What can be read of any manifest, also of a newer one.
#[derive(Deserialize)]
struct Made {
    format: u32,
    version: String,
    migration: i64,
}

impl Manifest {
    pub(super) const fn format() -> u32 {
        FORMAT
    }

    /// Writes it whole or not at all, after everything else is on the disk.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let (new, path) = (folder.join("manifest.json.new"), folder.join(MANIFEST));
        let mut file = File::create(&new).map_err(Error::io(&new, "written"))?;
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(Error::io(&new, "written"))?;
        fs::rename(&new, &path).map_err(Error::io(&path, "written"))?;
        sync(folder)
    }

    /// Reads it, and refuses one that we do not understand.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let unfinished = |why: String| Error::Unfinished { folder: folder.to_owned(), why };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(unfinished("there is no manifest.json, which is written last".to_owned()));
            }
            text => text.map_err(Error::io(&path, "read"))?,
        };
        let damaged = |error: serde_json::Error| Error::Damaged(vec![format!("manifest.json: {error}")]);
        let made: Made = serde_json::from_str(&text).map_err(damaged)?;
        let why = if made.format > FORMAT {
            format!("its layout has the number {}, and {FORMAT} is known", made.format)
        } else if made.migration > newest_migration() {
            format!("its database holds migration {}, and {} is the newest known", made.migration, newest_migration())
        } else {
            return serde_json::from_str(&text).map_err(damaged);
        };
        Err(Error::Newer { version: made.version, why })
    }
}

/// Writes `blobs.txt`.
pub(super) fn write_list(folder: &Path, blobs: &[NamedBlob]) -> Result<Saved> {
    let path = folder.join(LIST);
    let written = File::create(&path).and_then(|file| {
        let mut file = BufWriter::new(file);
        for blob in blobs {
            writeln!(file, "{} {}", blob.sha256, blob.size_bytes)?;
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    });
    written.map_err(Error::io(&path, "written"))?;
    hash(&path)
}

/// Reads `blobs.txt`. Its hash was checked: what can't be read is our own mistake.
pub(super) fn read_list(folder: &Path) -> Result<Vec<(Digest, u64)>> {
    let path = folder.join(LIST);
    let file = File::open(&path).map_err(Error::io(&path, "read"))?;
    let mut blobs = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(Error::io(&path, "read"))?;
        let blob = line.split_once(' ').and_then(|(sha256, size)| Some((sha256.parse().ok()?, size.parse().ok()?)));
        blobs.push(blob.ok_or_else(|| Error::Damaged(vec![format!("blobs.txt: '{line}' is no blob")]))?);
    }
    Ok(blobs)
}

/// Reads a file's bytes.
pub(super) fn hash(path: &Path) -> Result<Saved> {
    let (sha256, size_bytes) = Digest::of_file(path).map_err(Error::io(path, "read"))?;
    Ok(Saved { size_bytes, sha256 })
}
