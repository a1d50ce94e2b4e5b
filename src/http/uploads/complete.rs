//! `POST /v1/uploads/{id}/complete`: all parts become one blob.

use axum::Json;
use http::Uri;
use serde_json::Value;

use super::create::sha256;
use super::{Shown, closed, discard, known};
use crate::db::uploads::{self, Completing, PartRange, State as Stage, Upload};
use crate::db::{self, blobs};
use crate::http::error::{Error, Result};
use crate::http::extract::{Id, OptionalJson, Params};
use crate::http::fields::Fields;
use crate::http::{App, code};
use crate::id::UploadId;
use crate::store::{self, Digest, Sealed, Stored};

/// Ranges of missing parts that a refusal names.
const MOST_SHOWN: usize = 10;

/// `POST /v1/uploads/{id}/complete`
pub(in crate::http) async fn complete(
    app: App,
    Id(id): Id<UploadId>,
    uri: Uri,
    OptionalJson(body): OptionalJson,
) -> Result<Json<Shown>> {
    Params::of(&uri, &[])?;
    let claimed = body.as_ref().map(claimed).transpose()?.flatten();
    // On a task of its own: a client that goes away meanwhile finds it done when it comes again.
    tokio::spawn(async move { finish(&app, id, claimed).await }).await.map_err(Error::internal)?.map(Json)
}

/// `{sha256?}`
fn claimed(body: &Value) -> Result<Option<String>> {
    let mut fields = Fields::of(body, &["sha256"]).map_err(Error::invalid)?;
    let claimed = sha256(&mut fields);
    let problems = fields.finish();
    if problems.is_empty() { Ok(claimed) } else { Err(Error::invalid(problems)) }
}

async fn finish(app: &App, id: UploadId, claimed: Option<String>) -> Result<Shown> {
    let begun = uploads::start_completing(&app.pool, app.tenant, id).await?;
    let (upload, parts) = match begun.ok_or_else(|| Error::not_found(format_args!("upload {id}")))? {
        Completing::Ready(upload, parts) => (upload, parts),
        Completing::Missing(upload, there) => return Err(missing(&upload, &there)),
        Completing::Ended(upload) => return ended(app, upload, claimed.as_deref()).await,
    };
    let blobs = parts.into_iter().map(|part| part.map(|hex| hex.parse::<Digest>()).transpose());
    let blobs = blobs.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
    let mut sealed = match app.store.seal(id.0, upload.size_bytes, &blobs).await {
        Ok(sealed) => sealed,
        Err(error) => return ended_or(app, id, claimed.as_deref(), error.into()).await,
    };
    let stored = sealed.stored();
    if stored.size_bytes != upload.size_bytes {
        return Err(Error::internal(format!(
            "{id} has {} bytes and should have {}",
            stored.size_bytes, upload.size_bytes
        )));
    }
    for wanted in [&upload.expected_sha256, &claimed].into_iter().flatten() {
        if let Err(error) = check(wanted, stored.digest) {
            uploads::reopen(&app.pool, id).await?;
            return Err(error);
        }
    }
    if let Err(error) = publish(app, id, &mut sealed).await {
        return ended_or(app, id, claimed.as_deref(), error).await;
    }
    discard(app, id).await;
    ended(app, known(app, id).await?, None).await
}

/// Publishes the blob and names it, so that it is never without a row for long.
async fn publish(app: &App, id: UploadId, sealed: &mut Sealed) -> Result<()> {
    let Stored { digest, size_bytes } = app.store.publish(sealed).await?;
    let sha256 = digest.to_string();
    let mut tx = app.pool.begin().await.map_err(db::Error::from)?;
    blobs::insert(&mut tx, &sha256, size_bytes).await?;
    // From here on its row is ours, and collection waits: what is there now stays. An old blob of the same bytes may have
    // been collected just before, and ours with it.
    if !is_there(app, digest).await? {
        app.store.publish(sealed).await?;
        if !is_there(app, digest).await? {
            return Err(Error::unavailable("the file was collected meanwhile; complete the upload again"));
        }
    }
    // If it was given up meanwhile, the blob has its row, and is collected.
    uploads::complete(&mut tx, id, &sha256).await?;
    tx.commit().await.map_err(db::Error::from)?;
    Ok(())
}

async fn is_there(app: &App, digest: Digest) -> Result<bool> {
    match app.store.size_bytes(&digest).await {
        Ok(_) => Ok(true),
        Err(store::Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The answer for an upload that is completed; the refusal for one that was given up.
async fn ended(app: &App, upload: Upload, claimed: Option<&str>) -> Result<Shown> {
    if upload.state != Stage::Completed {
        return Err(closed(&upload));
    }
    if let (Some(claimed), Some(sha256)) = (claimed, &upload.sha256) {
        check(claimed, sha256.parse().map_err(Error::internal)?)?;
    }
    Shown::of(app, upload).await
}

/// As [`ended`] where another request was faster and has tidied up, and else the error.
async fn ended_or(app: &App, id: UploadId, claimed: Option<&str>, error: Error) -> Result<Shown> {
    let upload = known(app, id).await?;
    match upload.state {
        Stage::Pending | Stage::Completing => Err(error),
        _ => ended(app, upload, claimed).await,
    }
}

fn check(wanted: &str, found: Digest) -> Result<()> {
    if wanted.parse() == Ok(found) {
        return Ok(());
    }
    let detail =
        format!("the file's SHA-256 is {found}, not {wanted}: complete it with that, or cancel it and send it anew");
    Err(Error::new(code::DIGEST_MISMATCH, detail))
}

fn missing(upload: &Upload, there: &[PartRange]) -> Error {
    let gaps = uploads::missing(upload.part_count(), there);
    let more = if gaps.len() > MOST_SHOWN { ", …" } else { "" };
    let shown = gaps
        .iter()
        .take(MOST_SHOWN)
        .map(|&PartRange { first, last }| if first == last { first.to_string() } else { format!("{first}-{last}") });
    let shown = shown.collect::<Vec<_>>().join(", ");
    Error::new(code::PARTS_MISSING, format!("parts {shown}{more} are missing: send them first"))
}
