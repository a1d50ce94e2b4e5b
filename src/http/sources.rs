//! What models and datasets are made of when they don't come as a form: files that were uploaded in parts, or what a job
//! left. The rules for paths and formats are the form's.

use std::collections::HashMap;

use bytes::BytesMut;
use futures::TryStreamExt;
use http::StatusCode;
use serde_json::Value;
use sqlx::PgConnection;

use super::error::{Detail, Error, Result};
use super::fields::Fields;
use super::upload::path;
use super::upload::{NAME_CHARS, Purpose};
use super::{App, code};
use crate::db::NewFile;
use crate::db::uploads::{self, Artifacts, State, Upload};
use crate::engine::foreign::{Foreign, HEAD_BYTES};
use crate::engine::problem::Code;
use crate::id::{JobId, UploadId};
use crate::store::Digest;

/// A model or dataset that is asked for, checked as far as that can be done without holding anything.
pub(super) struct Wanted {
    pub(super) name: String,
    source: Source,
}

enum Source {
    Uploads(Vec<(NewFile, UploadId)>),
    Job(JobId),
}

/// Problems of a request; the first one decides the status.
#[derive(Default)]
struct Problems {
    status: Option<StatusCode>,
    list: Vec<Detail>,
}

impl Problems {
    fn add(&mut self, pointer: String, code: impl Into<code::Code>, detail: String) {
        let code = code.into();
        // What a body names and is not there makes the body invalid; the resource itself is there.
        let status = if code == code::NOT_FOUND { StatusCode::UNPROCESSABLE_ENTITY } else { code.status };
        self.status.get_or_insert(status);
        self.list.push(Detail::new(pointer, code, detail));
    }

    fn extend(&mut self, details: Vec<Detail>) {
        if !details.is_empty() {
            self.status.get_or_insert(StatusCode::UNPROCESSABLE_ENTITY);
            self.list.extend(details);
        }
    }

    fn check(self) -> Result<()> {
        match self.status {
            Some(status) => Err(Error::problems(status, self.list)),
            None => Ok(()),
        }
    }
}

/// A file of the request.
struct Asked {
    index: usize,
    path: String,
    upload_id: UploadId,
}

impl Wanted {
    /// Reads `{name, files: [{path, upload_id}]}`, or for a model `{name, source_job_id}`, and looks at the uploads.
    ///
    /// # Errors
    ///
    /// Every problem.
    pub(super) async fn read(app: &App, body: &Value, purpose: Purpose) -> Result<Self> {
        let mut problems = Problems::default();
        let (name, job, asked) = read(app, body, purpose, &mut problems)?;
        let files = look(app, asked, purpose, &mut problems).await?;
        problems.check()?;
        let source = job.map_or(Source::Uploads(files), Source::Job);
        Ok(Self { name, source })
    }

    /// The job whose result it is.
    pub(super) fn job(&self) -> Option<JobId> {
        match self.source {
            Source::Job(id) => Some(id),
            Source::Uploads(_) => None,
        }
    }

    /// Its files. They stay in the store until the transaction ends, which is to name them.
    ///
    /// # Errors
    ///
    /// Where an upload is gone by now, or the job has no result.
    pub(super) async fn hold(&self, app: &App, conn: &mut PgConnection) -> Result<Vec<NewFile>> {
        match &self.source {
            Source::Uploads(files) => {
                let ids: Vec<UploadId> = files.iter().map(|(_, id)| *id).collect();
                if !uploads::hold(conn, app.tenant, &ids).await? {
                    return Err(Error::new(code::UPLOAD_INCOMPLETE, "an upload was given up or expired meanwhile"));
                }
                Ok(files.iter().map(|(file, _)| file.clone()).collect())
            }
            Source::Job(id) => artifacts(app, conn, *id).await,
        }
    }
}

/// What the body says.
fn read(
    app: &App,
    body: &Value,
    purpose: Purpose,
    problems: &mut Problems,
) -> Result<(String, Option<JobId>, Vec<Asked>)> {
    let known: &[&'static str] = match purpose {
        Purpose::Model => &["name", "files", "source_job_id"],
        Purpose::Dataset => &["name", "files"],
    };
    let mut fields = Fields::of(body, known).map_err(Error::invalid)?;
    let name = fields.text("name", NAME_CHARS).unwrap_or_default().to_owned();
    if fields.value("name").is_none() {
        fields.add("name", Code::MissingField, "a name is wanted");
    }
    let job = (purpose == Purpose::Model).then(|| fields.id("source_job_id")).flatten();
    let (files, has_job) = (fields.value("files"), body.get("source_job_id").is_some_and(|id| !id.is_null()));
    match files {
        Some(_) if has_job && purpose == Purpose::Model => {
            fields.add("source_job_id", Code::OutOfRange, "give files or source_job_id, not both");
        }
        None if !has_job => {
            fields.add("files", Code::MissingField, "files are wanted: a list of {path, upload_id}");
        }
        _ => {}
    }
    let list = match files {
        Some(Value::Array(list)) if !list.is_empty() => list.as_slice(),
        Some(Value::Array(_)) => {
            fields.add("files", Code::MissingField, "at least one file is wanted: {path, upload_id}");
            &[]
        }
        Some(other) => {
            fields.wrong_type("files", "a list of {path, upload_id}", other);
            &[]
        }
        None => &[],
    };
    problems.extend(fields.finish());
    let most = app.limits.upload_files;
    if list.len() > most {
        problems.add("/files".to_owned(), code::TOO_MANY_FILES, format!("more than the {most} files that are allowed"));
        return Ok((name, job, Vec::new()));
    }
    let asked = list.iter().enumerate().filter_map(|(index, file)| read_file(index, file, problems));
    Ok((name, job, asked.collect()))
}

fn read_file(index: usize, value: &Value, problems: &mut Problems) -> Option<Asked> {
    let at = format!("/files/{index}");
    let mut fields = match Fields::of(value, &["path", "upload_id"]) {
        Ok(fields) => fields,
        Err(found) => {
            problems.extend(found.into_iter().map(|one| one.under(&at)).collect());
            return None;
        }
    };
    let path = match fields.value("path") {
        Some(Value::String(path)) => Some(path.clone()),
        Some(other) => {
            fields.wrong_type("path", "a text", other);
            None
        }
        None => {
            fields.add("path", Code::MissingField, "the file's path in the whole is wanted");
            None
        }
    };
    let upload_id = fields.id("upload_id");
    if fields.value("upload_id").is_none() {
        fields.add("upload_id", Code::MissingField, "the id of a completed upload is wanted");
    }
    problems.extend(fields.finish().into_iter().map(|one| one.under(&at)).collect());
    Some(Asked { index, path: path?, upload_id: upload_id? })
}

/// Looks at paths, uploads and first bytes.
async fn look(
    app: &App,
    asked: Vec<Asked>,
    purpose: Purpose,
    problems: &mut Problems,
) -> Result<Vec<(NewFile, UploadId)>> {
    let ids: Vec<UploadId> = asked.iter().map(|file| file.upload_id).collect();
    let found = if ids.is_empty() { Vec::new() } else { uploads::find_all(&app.pool, app.tenant, &ids).await? };
    let found: HashMap<UploadId, Upload> = found.into_iter().map(|upload| (upload.id, upload)).collect();
    let mut paths: HashMap<String, usize> = HashMap::new();
    let mut files = Vec::with_capacity(asked.len());
    for Asked { index, path, upload_id } in asked {
        let (at_path, at_upload) = (format!("/files/{index}/path"), format!("/files/{index}/upload_id"));
        let by_name = Foreign::by_name(&path);
        if let Err(detail) = path::check(&path) {
            problems.add(at_path.clone(), code::PATH_INVALID, detail);
        } else if let Some(foreign) = by_name {
            refuse(problems, at_path.clone(), &path, foreign, purpose);
        } else if let Some(first) = paths.insert(path.clone(), index) {
            let detail = format!("it has the path '{}', as file {first} has", path::shown(&path));
            problems.add(at_path.clone(), code::PATH_DUPLICATE, detail);
        }
        let Some(upload) = found.get(&upload_id) else {
            problems.add(at_upload, code::NOT_FOUND, format!("there is no upload {upload_id}"));
            continue;
        };
        let (State::Completed, Some(sha256)) = (upload.state, &upload.sha256) else {
            let detail = format!("the upload {upload_id} is {}: only completed ones are files", upload.state.as_str());
            problems.add(at_upload, code::UPLOAD_INCOMPLETE, detail);
            continue;
        };
        if by_name.is_none()
            && let Some(foreign) = Foreign::by_head(&head(app, sha256).await?)
        {
            refuse(problems, at_path, &path, foreign, purpose);
        }
        files.push((NewFile { path, sha256: sha256.clone(), size_bytes: upload.size_bytes }, upload_id));
    }
    Ok(files)
}

fn refuse(problems: &mut Problems, pointer: String, path: &str, foreign: Foreign, purpose: Purpose) {
    let hint = match purpose {
        Purpose::Model => foreign.instead_of_a_model(),
        Purpose::Dataset => foreign.instead_of_rows(),
    };
    problems.add(pointer, foreign.code(), format!("'{}' is refused: {hint}", path::shown(path)));
}

/// The first bytes of a file: as many as the rules look at, or all that there are.
async fn head(app: &App, sha256: &str) -> Result<BytesMut> {
    let digest: Digest = sha256.parse().map_err(Error::internal)?;
    let mut bytes = app.store.read(&digest, Some(0..HEAD_BYTES as u64)).await?;
    let mut head = BytesMut::new();
    while let Some(chunk) = bytes.try_next().await? {
        head.extend_from_slice(&chunk);
    }
    Ok(head)
}

/// The files of a job's result that a model is read from. Those in other formats, which it wrote beside them, are not.
async fn artifacts(app: &App, conn: &mut PgConnection, id: JobId) -> Result<Vec<NewFile>> {
    let at = "/source_job_id";
    let refused = |status, code, detail: String| Error::problems(status, vec![Detail::new(at, code, detail)]);
    match uploads::hold_artifacts(conn, app.tenant, id).await? {
        Artifacts::NoJob => {
            Err(refused(StatusCode::UNPROCESSABLE_ENTITY, code::NOT_FOUND, format!("there is no job {id}")))
        }
        Artifacts::Not(state) => {
            let detail = format!("the job {id} is {}: only one that succeeded has a result", state.as_str());
            Err(refused(StatusCode::CONFLICT, code::JOB_NOT_SUCCEEDED, detail))
        }
        Artifacts::Files(mut files) => {
            files.retain(|file| Foreign::by_name(&file.path).is_none());
            if files.is_empty() {
                let detail = format!("the job {id} left no files that a model is read from");
                return Err(refused(StatusCode::CONFLICT, code::JOB_NOT_SUCCEEDED, detail));
            }
            Ok(files)
        }
    }
}
