//! `GET /v1/jobs/{id}/artifacts.tar`: all that a job left, in one download.
//!
//! Headers are laid out first, so the length is known; then each file streams from the store, one after another.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::read::get;
use super::results::{ARTIFACT, REPORT};
use crate::db;
use crate::db::jobs::{Job, JobFile, JobState};
use crate::http::artifacts::disposition;
use crate::http::error::{Error, Result};
use crate::http::extract::{Id, Params};
use crate::http::{App, code, range, tar};
use crate::id::JobId;
use crate::store::{self, Digest, Store};

/// A file of the archive.
struct Member {
    header: Bytes,
    digest: Digest,
    size_bytes: u64,
}

impl Member {
    fn of(file: &JobFile) -> Result<Self> {
        let header = tar::header(&file.path, file.size_bytes).map_err(Error::internal)?;
        let digest = file.sha256.parse().map_err(Error::internal)?;
        Ok(Self { header: header.into(), digest, size_bytes: file.size_bytes })
    }

    fn total_bytes(&self) -> u64 {
        self.header.len() as u64 + self.size_bytes + tar::padding_bytes(self.size_bytes) as u64
    }

    /// Header, bytes and padding. The store is asked when the reader gets here.
    fn stream(self, store: Store) -> impl Stream<Item = Result<Bytes, store::Error>> {
        let Self { header, digest, size_bytes } = self;
        let padding = Bytes::from(vec![0; tar::padding_bytes(size_bytes)]);
        let opened = stream::once(async move { store.read(&digest, None).await }).try_flatten().boxed();
        stream::iter([Ok(header)]).chain(exact(opened, size_bytes)).chain(stream::iter([Ok(padding)]))
    }
}

/// A blob's bytes, and a failure where there are fewer or more than its row says: what comes after them in the archive
/// would be read as something else.
fn exact(
    bytes: BoxStream<'static, Result<Bytes, store::Error>>,
    size_bytes: u64,
) -> impl Stream<Item = Result<Bytes, store::Error>> {
    let wrong = || {
        let source = std::io::Error::other("a blob has another length than its row says");
        store::Error::Io { doing: "read", source }
    };
    stream::try_unfold((bytes, size_bytes), move |(mut bytes, left)| async move {
        match bytes.try_next().await? {
            Some(chunk) => match left.checked_sub(chunk.len() as u64) {
                Some(left) => Ok(Some((chunk, (bytes, left)))),
                None => Err(wrong()),
            },
            None if left > 0 => Err(wrong()),
            None => Ok(None),
        }
    })
}

/// `GET /v1/jobs/{id}/artifacts.tar`
pub(crate) async fn archive(app: App, Id(id): Id<JobId>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    Params::of(&uri, &[])?;
    let job = get(&app, id).await?;
    let members = members(&app, &job).await?;
    let tag = format!("\"{}\"", Digest::of(&fingerprint(&members)));
    let text = |text: &str| HeaderValue::from_str(text).map_err(Error::internal);
    let common = [
        (ETAG, text(&tag)?),
        (CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
        (CONTENT_DISPOSITION, text(&disposition(&format!("{id}.tar")))?),
    ];
    if range::none_match(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    for member in &members {
        // before the answer begins: afterwards a failure can only cut it off
        let found = app.store.size_bytes(&member.digest).await?;
        if found != member.size_bytes {
            return Err(Error::internal(format!(
                "blob {} has {found} bytes, not {}",
                member.digest, member.size_bytes
            )));
        }
    }
    let length = members.iter().map(Member::total_bytes).sum::<u64>() + tar::END.len() as u64;
    let store = app.store.clone();
    let files = stream::iter(members).flat_map(move |member| member.stream(store.clone()));
    let files = files.inspect_err(|error| tracing::error!(%error, "an archive was cut off"));
    let body = files.chain(stream::iter([Ok(Bytes::from_static(tar::END))]));
    let mut response = (common, Body::from_stream(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// The artifacts by path, then the report.
async fn members(app: &App, job: &Job) -> Result<Vec<Member>> {
    let mut files = db::jobs::files(&app.pool, app.tenant, job.id).await?;
    files.retain(|file| matches!(file.role.as_str(), ARTIFACT | REPORT));
    // by bytes, not as the database sorts texts: the order is part of the archive
    files.sort_by(|a, b| (&a.role, &a.path).cmp(&(&b.role, &b.path)));
    if files.is_empty() {
        let why = match job.state {
            JobState::Succeeded => format!("a job of kind '{}' leaves none", job.kind),
            state if state.is_terminal() => format!("it is {state}; the job's 'error' says why"),
            state => format!("it is {state}; files are there once it has succeeded"),
        };
        return Err(Error::new(code::ARTIFACTS_UNAVAILABLE, format!("job {} has no files: {why}", job.id)));
    }
    files.iter().map(Member::of).collect()
}

/// What the archive's bytes follow from.
fn fingerprint(members: &[Member]) -> Vec<u8> {
    let parts = members.iter().flat_map(|member| [member.header.as_ref(), member.digest.as_bytes()]);
    parts.flatten().copied().collect()
}
