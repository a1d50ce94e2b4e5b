//! `multipart/form-data` to the store: the part `name`, and the part `files` once per file, in any order.
//!
//! Files stream to the store while they are hashed, and are published only when the whole form is good. What is wrong
//! is gathered; after the first problem file bytes are thrown away, and only so many more are read.

pub(super) mod meter;
pub(super) mod path;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::error::{Detail, Error, Result};
use super::extract::{content_length, media_type, refuse_encoding};
use super::fields::check_text;
use super::{App, Limits, code};
use crate::db::NewFile;
use crate::engine::foreign::{Foreign, HEAD_BYTES};
use crate::engine::problem::{Code, escape_pointer, nearest};
use crate::store::{self, Digest, Staged};
use meter::{Cut, Meter, Metered};

/// The longest name in characters.
pub(super) const NAME_CHARS: usize = 200;
/// Bytes of the part `name` that are read.
const NAME_BYTES: usize = 4 * NAME_CHARS;
/// Bytes that are read after the first problem, to find more of them and to let the client finish sending.
const PATIENCE_BYTES: u64 = 64 << 20;

/// What is uploaded: the advice differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Weights and configuration.
    Model,
    /// Rows.
    Dataset,
}

/// A form whose files are in the store.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) name: String,
    pub(super) files: Vec<NewFile>,
}

impl Received {
    /// What makes two forms the same, in whatever order their parts came.
    pub(super) fn identity(&self) -> (&str, BTreeMap<&str, &str>) {
        (&self.name, self.files.iter().map(|file| (file.path.as_str(), file.sha256.as_str())).collect())
    }
}

/// Looks whether the files of a form are still stored. To be called once their rows are written, in the same transaction:
/// from then on collection waits for it, but one of an old model's blobs may have been collected while the form's other
/// files still came.
///
/// # Errors
///
/// 503: the form is to be sent again.
pub(super) async fn are_stored(app: &App, files: &[NewFile]) -> Result<()> {
    let digests: Vec<Digest> =
        files.iter().map(|file| file.sha256.parse()).collect::<Result<_, _>>().map_err(Error::internal)?;
    match app.store.look_for(digests).await {
        Err(store::Error::NotFound(_)) => {
            Err(Error::unavailable("a file was collected meanwhile; send the form again"))
        }
        found => Ok(found?),
    }
}

/// Reads a form to its end.
///
/// # Errors
///
/// Every problem of the form; the store's failures.
pub(super) async fn receive(app: &App, request: Request, purpose: Purpose) -> Result<Received> {
    refuse_encoding(request.headers())?;
    let meter = Arc::new(Meter::default());
    let mut parts = open(request, Arc::clone(&meter), &app.limits).await?;
    let mut form = Form::new(app, purpose, &meter);
    loop {
        let part = parts.next_field().await.map_err(|error| form.broken(&error))?;
        let Some(part) = part else { break };
        meter.start_part();
        form.read(part).await?;
        if form.is_hopeless() {
            break;
        }
    }
    form.finish().await
}

/// The parts of a body of that media type and length.
async fn open(request: Request, meter: Arc<Meter>, limits: &Limits) -> Result<Multipart> {
    let given = media_type(request.headers());
    if given != "multipart/form-data" {
        let detail = format!("the body must be multipart/form-data, not '{given}'");
        return Err(Error::new(code::MEDIA_TYPE_UNSUPPORTED, detail));
    }
    // before a byte is read: a client that waits for '100 Continue' then sends none
    if content_length(request.headers()).is_some_and(|length| length > limits.upload_bytes) {
        return Err(too_large(limits));
    }
    let (head, body) = request.into_parts();
    let body = Body::from_stream(Metered::new(body, meter, limits.upload_bytes, limits.stall));
    Multipart::from_request(Request::from_parts(head, body), &())
        .await
        .map_err(|error| Error::new(code::MULTIPART_INVALID, error.body_text()))
}

fn too_large(limits: &Limits) -> Error {
    let detail = format!("the upload is longer than the {} bytes that are allowed", limits.upload_bytes);
    Error::new(code::BODY_TOO_LARGE, detail)
}

/// A form on its way.
struct Form<'a> {
    app: &'a App,
    purpose: Purpose,
    meter: &'a Meter,
    name: Option<String>,
    paths: HashSet<String>,
    files: Vec<(String, Staged)>,
    problems: Vec<Detail>,
    status: StatusCode,
    patience_until: Option<u64>,
}

impl<'a> Form<'a> {
    fn new(app: &'a App, purpose: Purpose, meter: &'a Meter) -> Self {
        Self {
            app,
            purpose,
            meter,
            name: None,
            paths: HashSet::new(),
            files: Vec::new(),
            problems: Vec::new(),
            status: StatusCode::UNPROCESSABLE_ENTITY,
            patience_until: None,
        }
    }

    /// Notes a problem; the first one decides the status.
    fn add(&mut self, pointer: &str, code: impl Into<super::code::Code>, detail: impl Into<String>) {
        let code = code.into();
        if self.problems.is_empty() {
            self.status = code.status;
            self.patience_until = Some(self.meter.fed().saturating_add(PATIENCE_BYTES));
            self.files.clear();
        }
        self.problems.push(Detail::new(pointer, code, detail));
    }

    /// Whether enough was read of a form that is refused anyhow.
    fn is_hopeless(&self) -> bool {
        self.patience_until.is_some_and(|until| self.meter.fed() > until)
    }

    async fn read(&mut self, part: Field<'_>) -> Result<()> {
        match part.name().unwrap_or_default() {
            "name" => self.read_name(part).await,
            "files" => self.read_file(part).await,
            other => {
                let shown = path::shown(other);
                let hint = match nearest(&shown, ["name", "files"]) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "known are name, files".to_owned(),
                };
                let pointer = format!("/{}", escape_pointer(&shown));
                self.add(&pointer, Code::UnknownField, format!("there is no part '{shown}'; {hint}"));
                self.skip(part).await
            }
        }
    }

    async fn read_name(&mut self, mut part: Field<'_>) -> Result<()> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.chunk(&mut part).await? {
            if bytes.len() <= NAME_BYTES {
                bytes.extend_from_slice(&chunk);
            }
        }
        let checked = match std::str::from_utf8(&bytes) {
            Ok(text) => check_text(text, NAME_CHARS).map(|()| text.to_owned()),
            Err(_) => Err("it is no UTF-8".to_owned()),
        };
        match checked {
            Ok(_) if self.name.is_some() => self.add("/name", Code::OutOfRange, "the part 'name' stands twice"),
            Ok(name) => self.name = Some(name),
            Err(why) => self.add("/name", Code::OutOfRange, format!("the name is not allowed: {why}")),
        }
        Ok(())
    }

    async fn read_file(&mut self, mut part: Field<'_>) -> Result<()> {
        let Some(path) = part.file_name().map(str::to_owned) else {
            let detail = "a part 'files' has no filename, which says its path: with curl, -F 'files=@config.json'";
            self.add("/files", code::FILENAME_MISSING, detail);
            return self.skip(part).await;
        };
        if !self.accepts(&path) {
            return self.skip(part).await;
        }
        let head = self.head(&mut part).await?;
        if let Some(foreign) = Foreign::by_head(&head) {
            self.refuse(&path, foreign);
        }
        if !self.problems.is_empty() {
            return self.skip(part).await;
        }
        let mut staged = self.app.store.writer().await?;
        staged.write(head).await?;
        while let Some(chunk) = self.chunk(&mut part).await? {
            staged.write(chunk).await?;
        }
        self.files.push((path, staged));
        Ok(())
    }

    /// Whether a file may be called so; the problems if not.
    fn accepts(&mut self, path: &str) -> bool {
        let before = self.problems.len();
        if let Err(detail) = path::check(path) {
            self.add(&pointer(path), code::PATH_INVALID, detail);
        } else if let Some(foreign) = Foreign::by_name(path) {
            self.refuse(path, foreign);
        } else if self.paths.len() >= self.app.limits.upload_files {
            let detail = format!("more than the {} files that are allowed", self.app.limits.upload_files);
            self.add("/files", code::TOO_MANY_FILES, detail);
            self.patience_until = Some(0);
        } else if !self.paths.insert(path.to_owned()) {
            let detail = format!("two files have the path '{}'", path::shown(path));
            self.add(&pointer(path), code::PATH_DUPLICATE, detail);
        }
        self.problems.len() == before
    }

    /// Takes note of a file that is refused before a byte of it is stored.
    fn refuse(&mut self, path: &str, foreign: Foreign) {
        let hint = match self.purpose {
            Purpose::Model => foreign.instead_of_a_model(),
            Purpose::Dataset => foreign.instead_of_rows(),
        };
        self.add(&pointer(path), foreign.code(), format!("'{}' is refused: {hint}", path::shown(path)));
    }

    /// The first bytes of a file: as many as the rules look at, or all that there are.
    async fn head(&mut self, part: &mut Field<'_>) -> Result<Bytes> {
        let mut head = BytesMut::new();
        while head.len() < HEAD_BYTES {
            let Some(chunk) = self.chunk(part).await? else { break };
            head.extend_from_slice(&chunk);
        }
        Ok(head.freeze())
    }

    /// Throws a part's bytes away, as long as there is patience.
    async fn skip(&mut self, mut part: Field<'_>) -> Result<()> {
        while !self.is_hopeless() && self.chunk(&mut part).await?.is_some() {}
        Ok(())
    }

    async fn chunk(&mut self, part: &mut Field<'_>) -> Result<Option<Bytes>> {
        let chunk = part.chunk().await.map_err(|error| self.broken(&error))?;
        if let Some(chunk) = &chunk {
            self.meter.take(chunk.len());
        }
        Ok(chunk)
    }

    /// The refusal of a body that can't be read on; problems that were found before count more.
    fn broken(&mut self, error: &MultipartError) -> Error {
        if !self.problems.is_empty() {
            return Error::problems(self.status, std::mem::take(&mut self.problems));
        }
        match self.meter.cut() {
            Some(Cut::TooLarge) => too_large(&self.app.limits),
            Some(Cut::Stalled) => Error::new(code::REQUEST_TIMEOUT, "the upload paused for too long"),
            Some(Cut::Headers) => Error::new(code::MULTIPART_INVALID, "a part's headers have no end"),
            None if error.status().is_client_error() => Error::new(code::MULTIPART_INVALID, error.body_text()),
            None => Error::new(code::MULTIPART_INVALID, "the body ended before the form did"),
        }
    }

    /// Publishes the files.
    async fn finish(mut self) -> Result<Received> {
        if self.problems.is_empty() && self.files.is_empty() {
            let detail = "at least one part 'files' is wanted: with curl, -F 'files=@config.json'";
            self.add("/files", Code::MissingField, detail);
        }
        if !self.is_hopeless() && self.name.is_none() && self.problems.iter().all(|one| one.pointer != "/name") {
            self.add("/name", Code::MissingField, "the part 'name' is wanted: with curl, -F name=my-model");
        }
        let name = match self.name {
            Some(name) if self.problems.is_empty() => name,
            _ => return Err(Error::problems(self.status, self.problems)),
        };
        let mut files = Vec::with_capacity(self.files.len());
        for (path, staged) in self.files {
            let stored = staged.finish().await?;
            files.push(NewFile { path, sha256: stored.digest.to_string(), size_bytes: stored.size_bytes });
        }
        Ok(Received { name, files })
    }
}

fn pointer(path: &str) -> String {
    format!("/files/{}", escape_pointer(&path::shown(path)))
}
