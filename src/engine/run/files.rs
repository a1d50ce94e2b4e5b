//! The files that a run leaves.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::engine::calibrate::statistics;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::export::packed;
use crate::engine::hash::{sha256, sha256_file};
use crate::engine::job::{OutputFile, Role, Source};
use crate::engine::model::ModelHeader;
use crate::engine::report::{DatasetProvenance, FileHash};

/// Where the report lies in the output folder.
pub(super) const REPORT: &str = "report.json";

/// A written file of the artifact.
pub(super) fn artifact(folder: &Path, path: &str, loaders: Vec<String>) -> Result<OutputFile> {
    let location = folder.join(path);
    let size_bytes = std::fs::metadata(&location).map_err(EngineError::io(&location, "read"))?.len();
    let format = path.rsplit_once('.').map_or("binary", |(_, extension)| extension).to_owned();
    let sha256 = sha256_file(&location)?;
    Ok(OutputFile { role: Role::Artifact, path: path.to_owned(), format, size_bytes, sha256, loaders })
}

/// The format of a model's weight files.
pub(super) fn weight_format(header: &ModelHeader) -> &'static str {
    if header.is_packed() { packed::FORMAT } else { "safetensors" }
}

/// Writes the report.
pub(super) fn report(folder: &Path, bytes: &[u8]) -> Result<OutputFile> {
    let path = folder.join(REPORT);
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder, "created"))?;
    let mut file = File::create(&path).map_err(EngineError::io(&path, "written"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(EngineError::io(&path, "written"))?;
    Ok(OutputFile {
        role: Role::Report,
        path: REPORT.to_owned(),
        format: "json".to_owned(),
        size_bytes: bytes.len() as u64,
        sha256: sha256(bytes),
        loaders: Vec::new(),
    })
}

/// What was summed up of the original, for later jobs; none where it is not whole, or nobody keeps it. A job does not fail
/// for it.
pub(super) fn statistics(folder: &Path, ctx: &RunContext<'_>) -> Result<Option<OutputFile>> {
    let left = match ctx.statistics.leave(folder) {
        Err(EngineError::Io { .. }) => {
            let _ = std::fs::remove_file(folder.join(statistics::NAME)); // what there is of it only takes room
            ctx.note("the statistics are not kept for later jobs: their file can't be written");
            None
        }
        left => left?,
    };
    Ok(left.map(|(size_bytes, sha256)| OutputFile {
        role: Role::Statistics,
        path: statistics::NAME.to_owned(),
        format: "safetensors".to_owned(),
        size_bytes,
        sha256,
        loaders: Vec::new(),
    }))
}

/// The hashes of a source's files, computed where the caller does not know them.
pub(super) fn hashes(source: &Source) -> Result<Vec<FileHash>> {
    let hash = |file: &crate::engine::job::InputFile| {
        let sha256 = file.sha256.clone().map_or_else(|| sha256_file(&file.location), Ok)?;
        Ok(FileHash { path: file.path.clone(), size_bytes: file.size_bytes, sha256 })
    };
    source.files.iter().map(hash).collect()
}

/// A dataset that was read.
pub(super) fn dataset(source: &Source, rows: u64) -> Result<DatasetProvenance> {
    Ok(DatasetProvenance { name: source.name.clone(), rows, files: hashes(source)? })
}
