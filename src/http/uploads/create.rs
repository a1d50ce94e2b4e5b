//! `POST /v1/uploads`: the size is known before a byte moves, so that what can't be taken is refused at once.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::{StatusCode, Uri};
use serde_json::Value;

use super::Shown;
use crate::db::uploads::{self, NewUpload};
use crate::engine::problem::Code;
use crate::http::error::{Detail, Error, Result};
use crate::http::extract::{JsonBody, Params};
use crate::http::fields::Fields;
use crate::http::{App, Limits, code};
use crate::store::Digest;

/// The longest file name in characters.
const FILENAME_CHARS: usize = 255;
/// An upload has no more parts than this, as in S3.
const MOST_PARTS: u64 = 10_000;

/// `POST /v1/uploads`
pub(in crate::http) async fn create(app: App, uri: Uri, JsonBody(body): JsonBody) -> Result<Response> {
    Params::of(&uri, &[])?;
    let new = read(&body, &app.limits)?;
    let most = app.limits.live_uploads;
    let Some(upload) = uploads::create(&app.pool, app.tenant, &new, most).await? else {
        let detail = format!("{most} uploads are on their way, which is all that are allowed: complete or cancel one");
        return Err(Error::new(code::TOO_MANY_UPLOADS, detail).with_header(RETRY_AFTER, HeaderValue::from_static("60")));
    };
    // After the row: what has none is collected.
    if let Err(error) = app.store.reserve(upload.id.0, upload.size_bytes).await {
        uploads::withdraw(&app.pool, upload.id).await?;
        return Err(error.into());
    }
    app.store.hash_ahead(upload.id.0, &[]);
    let location = format!("/v1/uploads/{}", upload.id);
    let shown = Shown::of(&app, upload).await?;
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(shown)).into_response())
}

/// `{filename, size_bytes, sha256?}`
pub(super) fn read(body: &Value, limits: &Limits) -> Result<NewUpload> {
    let mut fields = Fields::of(body, &["filename", "size_bytes", "sha256"]).map_err(Error::invalid)?;
    let filename = fields.text("filename", FILENAME_CHARS);
    let size_bytes = fields.integer("size_bytes", 0..=i64::MAX).and_then(|size| u64::try_from(size).ok());
    for (field, what) in [("filename", "the file's name"), ("size_bytes", "the file's length")] {
        if fields.value(field).is_none() {
            fields.add(field, Code::MissingField, format!("{what} is wanted"));
        }
    }
    let expected_sha256 = sha256(&mut fields);
    let problems = fields.finish();
    let (Some(filename), Some(size_bytes), []) = (filename, size_bytes, problems.as_slice()) else {
        return Err(Error::invalid(problems));
    };
    if size_bytes > limits.upload_bytes {
        let detail = format!("{size_bytes} bytes are more than the {} that are allowed", limits.upload_bytes);
        let problem = Detail::new("/size_bytes", code::UPLOAD_TOO_LARGE, detail);
        return Err(Error::problems(code::UPLOAD_TOO_LARGE.status, vec![problem]));
    }
    Ok(NewUpload {
        filename: filename.to_owned(),
        size_bytes,
        part_size_bytes: part_size_bytes(size_bytes, limits.part_bytes),
        expected_sha256,
        lifetime_seconds: u32::try_from(limits.upload_lifetime.as_secs()).unwrap_or(u32::MAX),
    })
}

/// The field `sha256`, in lower case.
pub(super) fn sha256(fields: &mut Fields<'_>) -> Option<String> {
    match fields.text("sha256", 80)?.parse::<Digest>() {
        Ok(digest) => Some(digest.to_string()),
        Err(error) => {
            fields.add("sha256", Code::OutOfRange, error.to_string());
            None
        }
    }
}

/// The usual size, or the least power of two with which there are not too many parts.
fn part_size_bytes(size_bytes: u64, usual_bytes: u64) -> u64 {
    usual_bytes.max(size_bytes.div_ceil(MOST_PARTS).next_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_where_there_would_be_too_many() {
        assert_eq!(part_size_bytes(0, 16 << 20), 16 << 20);
        assert_eq!(part_size_bytes(64 << 30, 16 << 20), 16 << 20);
        let huge = 1_u64 << 40;
        let part = part_size_bytes(huge, 16 << 20);
        assert!(part.is_power_of_two() && huge.div_ceil(part) <= MOST_PARTS);
    }
}
