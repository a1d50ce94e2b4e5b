//! Bytes of uploads: one part, or the whole in one stream, which is taken apart here.
//!
//! A part is written at once where it was not acknowledged yet. One that was is only compared: a repeated request finds
//! the same bytes, and other ones are refused. The store lets one request at a time write a part.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request};
use http::header::{HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::body::Incoming;
use super::{Shown, closed, digest, known, pending};
use crate::db::uploads::{self, Noted, Upload};
use crate::db::{self, blobs};
use crate::http::error::{Error, Result};
use crate::http::extract::{Id, Params};
use crate::http::{App, State as Server, code};
use crate::id::{IdError, UploadId};
use crate::store::{self, Claim, Digest, Ended, Slot};

/// How often a request looks whether another one has let go of its part.
const LOOK: Duration = Duration::from_millis(50);
/// How much longer than a stall it waits: one that stalls is ended by then.
const SLACK: Duration = Duration::from_secs(1);

/// Upload and part in the path.
pub(in crate::http) struct PartPath {
    id: UploadId,
    number: u32,
}

impl FromRequestParts<Server> for PartPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self> {
        let params =
            RawPathParams::from_request_parts(parts, server).await.map_err(|_| Error::not_found("such path"))?;
        let get = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
        let id = get("upload_id").parse();
        let id = id.map_err(|error: IdError| Error::new(code::NOT_FOUND, error.to_string()))?;
        let number = get("number").parse().map_err(|_| Error::not_found("part of that number; they count from 0"))?;
        Ok(Self { id, number })
    }
}

/// `PUT /v1/uploads/{id}/parts/{number}`
pub(in crate::http) async fn put_part(
    app: App,
    PartPath { id, number }: PartPath,
    uri: Uri,
    request: Request,
) -> Result<StatusCode> {
    Params::of(&uri, &[])?;
    let (headers, body) = split(request);
    digest::refuse_range(&headers)?;
    let announced = digest::announced(&headers)?;
    let upload = pending(&app, id).await?;
    let slot = slot(&upload, number)?;
    let mut incoming = Incoming::new(&headers, body, slot.size_bytes, &app.limits)?;
    let part = receive(&app, id, slot, &mut incoming, announced.is_some()).await?;
    incoming.end().await?;
    check(announced, part.ended.digest())?;
    // On a task of its own: what is written is acknowledged, even if the client has gone.
    tokio::spawn(acknowledge(app, id, slot, part)).await.map_err(Error::internal)??;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /v1/uploads/{id}/content`
pub(in crate::http) async fn put_content(
    app: App,
    Id(id): Id<UploadId>,
    uri: Uri,
    request: Request,
) -> Result<Json<Shown>> {
    Params::of(&uri, &[])?;
    let (headers, body) = split(request);
    let announced = digest::announced(&headers)?;
    if announced.is_some() {
        // Its parts would be acknowledged before it could be checked.
        let detail =
            "a whole file is checked when it is completed: give sha256 there, or Content-Digest with each part";
        return Err(Error::new(code::DIGEST_INVALID, detail));
    }
    let upload = pending(&app, id).await?;
    let start = digest::start(&headers, upload.size_bytes, upload.part_size_bytes)?;
    let mut incoming = Incoming::new(&headers, body, upload.size_bytes.saturating_sub(start), &app.limits)?;
    let first = u32::try_from(start / upload.part_size_bytes.max(1)).unwrap_or(u32::MAX);
    let mut before = Acknowledgement(None);
    for number in first..upload.part_count() {
        let slot = slot(&upload, number)?;
        incoming.start_part();
        let part = receive(&app, id, slot, &mut incoming, false).await;
        // One part becomes durable while the next one comes; what came whole is kept, whatever follows.
        before.wait().await?;
        before = Acknowledgement(Some(tokio::spawn(acknowledge(app.clone(), id, slot, part?))));
    }
    before.wait().await?;
    incoming.end().await?;
    Shown::of(&app, known(&app, id).await?).await.map(Json)
}

fn split(request: Request) -> (HeaderMap, Body) {
    let (head, body) = request.into_parts();
    (head.headers, body)
}

fn slot(upload: &Upload, number: u32) -> Result<Slot> {
    let Some((offset_bytes, size_bytes)) = upload.part(number) else {
        let count = upload.part_count();
        return Err(Error::not_found(format_args!("part {number}: the upload has {count}, counted from 0")));
    };
    Ok(Slot { number, offset_bytes, size_bytes })
}

/// An acknowledgement on its way.
struct Acknowledgement(Option<JoinHandle<Result<()>>>);

impl Acknowledgement {
    async fn wait(&mut self) -> Result<()> {
        match self.0.take() {
            Some(task) => task.await.map_err(Error::internal)?,
            None => Ok(()),
        }
    }
}

/// A part all of whose bytes came.
struct Received {
    ended: Ended,
    /// It had been acknowledged before.
    is_repeated: bool,
}

/// Takes the bytes of one part.
async fn receive(app: &App, id: UploadId, slot: Slot, incoming: &mut Incoming, hash: bool) -> Result<Received> {
    let claim = claim(app, id, slot).await?;
    // After the claim: whoever had it before may have acknowledged the part.
    let row = uploads::find_part(&app.pool, id, slot.number).await?;
    let is_repeated = row.is_some();
    let mut writer = match row {
        None => claim.write(hash),
        Some(row) => {
            let known = row.sha256.map(|hex| hex.parse::<Digest>().map_err(Error::internal)).transpose()?;
            claim.compare(known, hash)
        }
    };
    let mut left = slot.size_bytes;
    while left > 0 {
        let bytes = incoming.next(left).await?;
        left = left.saturating_sub(bytes.len() as u64);
        writer.write(bytes).await?;
    }
    Ok(Received { ended: writer.end().await?, is_repeated })
}

/// The right to write a part. Another request may have it: one whose client went away has it until it is found stalled.
async fn claim(app: &App, id: UploadId, slot: Slot) -> Result<Claim> {
    let until = Instant::now() + app.limits.stall + SLACK;
    loop {
        match app.store.claim_part(id.0, slot).await {
            Ok(Some(claim)) => return Ok(claim),
            Ok(None) if Instant::now() < until => sleep(LOOK).await,
            Ok(None) => {
                let detail = format!("another request sends part {}: wait until it is done", slot.number);
                return Err(Error::new(code::PART_BUSY, detail).with_header(RETRY_AFTER, HeaderValue::from_static("2")));
            }
            Err(error) => {
                // It may have been given up since we looked.
                pending(app, id).await?;
                return Err(error.into());
            }
        }
    }
}

fn check(announced: Option<Digest>, found: Option<Digest>) -> Result<()> {
    match (announced, found) {
        (Some(announced), Some(found)) if announced != found => {
            let detail = format!("the part's SHA-256 is {found}, and Content-Digest says {announced}: send it again");
            Err(Error::new(code::DIGEST_MISMATCH, detail))
        }
        _ => Ok(()),
    }
}

/// Makes a part durable, then its row.
async fn acknowledge(app: App, id: UploadId, slot: Slot, part: Received) -> Result<()> {
    let differs = || {
        let detail = format!(
            "part {} was received before with other bytes, and is never changed: if those were wrong, cancel the upload",
            slot.number
        );
        Error::new(code::PART_DIFFERS, detail)
    };
    if part.is_repeated {
        return if part.ended.differs() { Err(differs()) } else { Ok(()) };
    }
    let kept = part.ended.keep().await?;
    let mut tx = app.pool.begin().await.map_err(db::Error::from)?;
    if let Some(blob) = kept.blob {
        blobs::insert(&mut tx, &blob.to_string(), slot.size_bytes).await?;
        // From here on its row is ours, and collection waits: what is there now stays.
        match app.store.size_bytes(&blob).await {
            Err(store::Error::NotFound(_)) => {
                return Err(Error::unavailable("the part was collected meanwhile; send it again"));
            }
            found => found?,
        };
    }
    let blob = kept.blob.map(|blob| blob.to_string());
    let noted = uploads::note_part(&mut tx, id, slot.number, slot.size_bytes, blob.as_deref()).await?;
    tx.commit().await.map_err(db::Error::from)?;
    drop(kept);
    match noted {
        Noted::Acknowledged => hash_ahead(&app, id, slot).await,
        Noted::Differs => Err(differs()),
        Noted::Closed => Err(closed(&known(&app, id).await?)),
    }
}

/// Hashes ahead. A process that does not know the upload yet, because it has started since, learns what there is.
async fn hash_ahead(app: &App, id: UploadId, slot: Slot) -> Result<()> {
    if app.store.is_hashing_ahead(id.0) {
        app.store.hash_ahead(id.0, &[slot.range()]);
        return Ok(());
    }
    let upload = known(app, id).await?;
    let (received, _) = uploads::received(&app.pool, id).await?;
    let ranges = received.iter().map(|range| {
        let start = u64::from(range.first).saturating_mul(upload.part_size_bytes);
        let end = u64::from(range.last).saturating_add(1).saturating_mul(upload.part_size_bytes);
        start..end.min(upload.size_bytes)
    });
    app.store.hash_ahead(id.0, &ranges.collect::<Vec<_>>());
    Ok(())
}
