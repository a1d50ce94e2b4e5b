//! Makes a job's results visible: bytes to the store first, then one transaction.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::Context;
use super::ending::{Refusal, chain};
use super::lease::Lease;
use crate::db::jobs::{Job, NewJobFile, finish_succeeded};
use crate::db::statistics::{self, NewStatistics};
use crate::db::{datasets, models};
use crate::engine::data::DatasetSummary;
use crate::engine::job::{Output, OutputFile, Role};
use crate::engine::model::ModelHeader;
use crate::engine::problem::{Code, Problem};
use crate::engine::run::OUT;
use crate::id::{DatasetId, ModelId};
use crate::store::{Digest, Error, Stored};

/// A longer `output.json` or `report.json` is not read.
const MOST_BYTES: u64 = 256 << 20;

/// A job's results, ready to be told.
#[derive(Debug)]
enum Published {
    /// A model is ready.
    Model(ModelId, Box<ModelHeader>),
    /// A dataset is ready.
    Dataset(DatasetId, Box<DatasetSummary>),
    /// A model is invalid.
    InvalidModel(ModelId, Vec<Problem>),
    /// A dataset is invalid.
    InvalidDataset(DatasetId, Vec<Problem>),
    /// Files lie in the store.
    Files {
        /// All of them.
        files: Vec<NewJobFile>,
        /// `report.json`.
        report: Option<Value>,
        /// For later jobs.
        statistics: Option<NewStatistics>,
    },
}

/// Reads `output.json`. `None` if there is none.
pub(super) fn read_output(folder: &Path) -> Result<Option<Output>, Refusal> {
    match read_small(&folder.join("output.json")) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(Refusal::internal),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::internal(error)),
    }
}

/// Takes a process's results over and tells of them; false if the job was taken away before. The process has ended:
/// nothing in its folder changes any more. `key` is the one that statistics are kept under. Can be repeated.
///
/// # Errors
///
/// [`Refusal`]: what the process left is not what it says, or store or database do not take it.
pub(super) async fn publish(
    context: &Context,
    job: &Job,
    lease: &Lease,
    output: &Output,
    (folder, key): (&Path, Option<&str>),
) -> Result<bool, Refusal> {
    let published = store(context, job, output.clone(), (folder, key)).await?;
    lease.last_word(tell(context, job, lease.token, &published)).await
}

async fn store(
    context: &Context,
    job: &Job,
    output: Output,
    (folder, key): (&Path, Option<&str>),
) -> Result<Published, Refusal> {
    match (output, job.model_id, job.dataset_id) {
        (Output::Model { header }, Some(id), _) => Ok(Published::Model(id, header)),
        (Output::Dataset { summary }, _, Some(id)) => Ok(Published::Dataset(id, summary)),
        (Output::Invalid { problems }, _, Some(id)) => Ok(Published::InvalidDataset(id, problems)),
        (Output::Invalid { problems }, Some(id), None) => Ok(Published::InvalidModel(id, problems)),
        (Output::Failed { problems }, ..) => Err(Refusal::Problems(problems)),
        (Output::Files { files }, ..) => store_files(context, &files, &folder.join(OUT), key).await,
        _ => Err(Refusal::internal("the job's process answered something else than was asked")),
    }
}

async fn store_files(
    context: &Context,
    outputs: &[OutputFile],
    out: &Path,
    key: Option<&str>,
) -> Result<Published, Refusal> {
    let mut files = Vec::with_capacity(outputs.len());
    let mut report = None;
    let mut statistics = None;
    for output in outputs {
        let path = locate(out, &output.path).map_err(|error| {
            Refusal::internal(format!("the file '{}' that the job's process left: {error}", output.path))
        })?;
        if output.role == Role::Report {
            let text = read_small(&path).map_err(Refusal::internal)?;
            report = Some(serde_json::from_slice(&text).map_err(Refusal::internal)?);
        }
        // What was computed for hours waits until there is room again.
        let Stored { digest, size_bytes } = context.store.put_file(&path).await.map_err(|error| match error {
            Error::Full(_) => Refusal::NotNow(chain(&error)),
            error => error.into(),
        })?;
        if digest.to_string() != output.sha256 || size_bytes != output.size_bytes {
            return Err(Refusal::internal(format!("the file '{}' is not what its process says", output.path)));
        }
        let role = match output.role {
            Role::Artifact => "artifact",
            Role::Report => "report",
            Role::Statistics => {
                let key =
                    key.ok_or_else(|| Refusal::internal("the job's process left statistics that nobody keeps"))?;
                statistics = Some(NewStatistics { key: key.to_owned(), sha256: output.sha256.clone(), size_bytes });
                continue;
            }
        };
        files.push(NewJobFile {
            role: role.to_owned(),
            path: output.path.clone(),
            format: output.format.clone(),
            sha256: output.sha256.clone(),
            size_bytes,
            loaders: output.loaders.clone(),
        });
    }
    Ok(Published::Files { files, report, statistics })
}

/// Tells of the results in one transaction. False if the job was taken away: then nothing was told.
///
/// # Errors
///
/// [`Refusal::NotNow`] also where a blob was collected between its storing and now: store it again.
async fn tell(context: &Context, job: &Job, token: Uuid, published: &Published) -> Result<bool, Refusal> {
    let mut tx = context.pool.begin().await?;
    let (files, report, statistics) = match published {
        Published::Files { files, report, statistics } => (files.as_slice(), report.as_ref(), statistics.as_ref()),
        _ => (&[][..], None, None),
    };
    if !finish_succeeded(&mut tx, job.id, token, files, report).await? {
        return Ok(false);
    }
    if let Some(statistics) = statistics {
        statistics::keep(&mut tx, job.id, statistics).await?;
    }
    match published {
        Published::Model(id, header) => models::finish(&mut tx, *id, header).await?,
        Published::Dataset(id, summary) => datasets::finish(&mut tx, *id, summary).await?,
        Published::InvalidModel(id, problems) => models::reject(&mut tx, *id, problems).await?,
        Published::InvalidDataset(id, problems) => datasets::reject(&mut tx, *id, problems).await?,
        Published::Files { .. } => true,
    };
    // From here on the rows of the blobs are ours, and collection waits: what is there now stays.
    // The lease is not renewed meanwhile, so a slow store is left for the next try.
    let sha256s = files.iter().map(|file| &file.sha256).chain(statistics.map(|statistics| &statistics.sha256));
    timeout(context.config.timing.answer, are_stored(context, sha256s))
        .await
        .map_err(|_| Refusal::NotNow("the store does not answer".into()))??;
    tx.commit().await?;
    Ok(true)
}

async fn are_stored(context: &Context, sha256s: impl Iterator<Item = &String>) -> Result<(), Refusal> {
    let digests: Vec<Digest> =
        sha256s.map(|sha256| sha256.parse()).collect::<Result<_, _>>().map_err(Refusal::internal)?;
    match context.store.look_for(digests).await {
        Err(Error::NotFound(_)) => Err(Refusal::NotNow("a blob was collected meanwhile".into())),
        found => Ok(found?),
    }
}

/// What a failed job says when its process needed more memory than it may have.
pub(super) fn out_of_memory(job: &Job, needed_bytes: u64, allowed_bytes: u64) -> Vec<Problem> {
    let predicted = job.plan.as_ref().map_or(0, |plan| plan.predicted.peak_memory_bytes);
    let needed = needed_bytes.max(predicted);
    let detail = format!(
        "the job needed at least {needed} bytes of memory and may use {allowed_bytes}: \
         retry it where --memory-limit is larger, or with a smaller model"
    );
    vec![Problem::new("", Code::OutOfMemory, detail)]
}

/// A file below `root`, by the path that an untrusted process gave it: no links on the way, a plain file at the end.
fn locate(root: &Path, path: &str) -> io::Result<PathBuf> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
    let mut at = root.to_owned();
    if !fs::symlink_metadata(&at)?.is_dir() {
        return Err(refused("its folder is no folder"));
    }
    let segments: Vec<_> = Path::new(path).components().collect();
    for (i, segment) in segments.iter().enumerate() {
        let Component::Normal(name) = segment else { return Err(refused("its path leaves the folder")) };
        at.push(name);
        let kind = fs::symlink_metadata(&at)?.file_type();
        let fits = if i + 1 == segments.len() { kind.is_file() } else { kind.is_dir() };
        if !fits {
            return Err(refused("it is a link, or no plain file"));
        }
    }
    if segments.is_empty() { Err(refused("it has no name")) } else { Ok(at) }
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() > MOST_BYTES {
        let why = format!("{} is no plain file of at most {MOST_BYTES} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_below_the_folder_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir_all(out.join("sub")).unwrap();
        fs::write(out.join("sub/file"), b"x").unwrap();
        fs::write(folder.path().join("secret"), b"x").unwrap();
        std::os::unix::fs::symlink(folder.path(), out.join("up")).unwrap();
        std::os::unix::fs::symlink("sub/file", out.join("link")).unwrap();
        assert_eq!(locate(&out, "sub/file").unwrap(), out.join("sub/file"));
        let absolute = folder.path().join("secret");
        for path in ["", ".", "sub", "../secret", "up/secret", "link", "sub/../../secret", absolute.to_str().unwrap()] {
            assert!(locate(&out, path).is_err(), "{path}");
        }
        assert_eq!(read_small(&out.join("link")).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
