//! Large files, in parts that may come in any order, at once, and more than once.
//!
//! A part is acknowledged after its bytes are durable and its row is committed; it is never changed after that. So
//! whoever was cut off, or whose server was, sends what [`find`] does not list, and completes.

mod body;
mod complete;
mod create;
mod digest;
mod parts;
mod shown;

use axum::Json;
use http::{StatusCode, Uri};

pub(super) use complete::complete;
pub(super) use create::create;
pub(super) use digest::start;
pub(super) use parts::{put_content, put_part};
pub(super) use shown::Shown;

use super::error::{Error, Result};
use super::extract::{Id, Params};
use super::{App, code};
use crate::db::uploads::{self, State as Stage, Upload};
use crate::id::UploadId;

/// `GET /v1/uploads/{id}`
pub(super) async fn find(app: App, Id(id): Id<UploadId>, uri: Uri) -> Result<Json<Shown>> {
    Params::of(&uri, &[])?;
    Shown::of(&app, known(&app, id).await?).await.map(Json)
}

/// `DELETE /v1/uploads/{id}`
pub(super) async fn cancel(app: App, Id(id): Id<UploadId>, uri: Uri) -> Result<StatusCode> {
    Params::of(&uri, &[])?;
    if !uploads::cancel(&app.pool, app.tenant, id).await? {
        return Err(Error::not_found(format_args!("upload {id}")));
    }
    discard(&app, id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// An upload that is there.
async fn known(app: &App, id: UploadId) -> Result<Upload> {
    let upload = uploads::find(&app.pool, app.tenant, id).await?;
    upload.ok_or_else(|| Error::not_found(format_args!("upload {id}")))
}

/// An upload that takes parts.
async fn pending(app: &App, id: UploadId) -> Result<Upload> {
    let upload = known(app, id).await?;
    if upload.state == Stage::Pending { Ok(upload) } else { Err(closed(&upload)) }
}

/// The refusal of what an upload does not take any more.
fn closed(upload: &Upload) -> Error {
    let detail = match upload.state {
        Stage::Pending | Stage::Completing => "the upload is being completed: all its parts are there".to_owned(),
        Stage::Completed => "the upload is completed: it is a file, which is never changed".to_owned(),
        Stage::Cancelled | Stage::Expired => format!("the upload is {}: start another one", upload.state.as_str()),
    };
    Error::new(code::UPLOAD_CLOSED, detail)
}

/// Removes what nobody needs any more. What can't be removed now is collected later.
async fn discard(app: &App, id: UploadId) {
    if let Err(error) = app.store.discard(id.0).await {
        tracing::warn!(upload = %id, %error, "an upload's bytes could not be removed; they are collected later");
    }
}
