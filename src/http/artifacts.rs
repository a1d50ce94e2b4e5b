//! Downloads: one range, a strong tag, the file's hash, and a name.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::error::{Error, Result};
use super::extract::{Id, Params};
use super::range::{self, Asked};
use super::{App, code};
use crate::db;
use crate::db::jobs::JobFile;
use crate::id::ArtifactId;
use crate::store::Digest;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// `GET` and `HEAD /v1/artifacts/{id}/content`
pub(super) async fn content(
    app: App,
    Id(id): Id<ArtifactId>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    Params::of(&uri, &[])?;
    let file = db::jobs::file(&app.pool, app.tenant, id).await?;
    let file = file.filter(|file| matches!(file.role.as_str(), "artifact" | "report"));
    let file = file.ok_or_else(|| Error::not_found(format_args!("artifact {id}")))?;
    let digest: Digest = file.sha256.parse().map_err(Error::internal)?;
    let tag = format!("\"{digest}\"");
    let common = describe(&file, &digest, &tag)?;
    if range::none_match(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    // a range is asked for with GET alone
    let asked = if method == Method::GET { range::asked(&headers, &tag, file.size_bytes) } else { Asked::Whole };
    let (status, wanted) = match asked {
        Asked::Whole => (StatusCode::OK, 0..file.size_bytes),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Unsatisfiable => return Err(unsatisfiable(file.size_bytes)?),
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let range = (status == StatusCode::PARTIAL_CONTENT).then(|| wanted.clone());
        Body::from_stream(app.store.read(&digest, range).await?)
    };
    let mut response = (status, common, body).into_response();
    let fixed = response.headers_mut();
    fixed.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    fixed.insert(CONTENT_LENGTH, HeaderValue::from(wanted.end - wanted.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{}", wanted.start, wanted.end - 1, file.size_bytes);
        fixed.insert(CONTENT_RANGE, HeaderValue::from_str(&range).map_err(Error::internal)?);
    }
    Ok(response)
}

/// The headers of every good answer.
fn describe(file: &JobFile, digest: &Digest, tag: &str) -> Result<HeaderMap> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let text = |text: &str| HeaderValue::from_str(text).map_err(Error::internal);
    Ok(HeaderMap::from_iter([
        (ETAG, text(tag)?),
        (REPR_DIGEST, text(&format!("sha-256=:{}:", base64(digest.as_bytes())))?),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
        (CONTENT_DISPOSITION, text(&disposition(name))?),
    ]))
}

fn unsatisfiable(size_bytes: u64) -> Result<Error> {
    let detail = format!("the range is not in the file, which has {size_bytes} bytes; one range of bytes is taken");
    let range = HeaderValue::from_str(&format!("bytes */{size_bytes}")).map_err(Error::internal)?;
    Ok(Error::new(code::RANGE_NOT_SATISFIABLE, detail).with_header(CONTENT_RANGE, range))
}

/// `attachment` with the name; one that is not plain ASCII also as `filename*` (RFC 6266, RFC 8187).
pub(super) fn disposition(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ';
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // writing to a String can't fail
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0_u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if is_padding { '=' } else { char::from(ALPHABET[value]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_vectors_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn names_can_not_break_out_of_the_header() {
        assert_eq!(disposition("model.safetensors"), "attachment; filename=\"model.safetensors\"");
        assert_eq!(
            disposition("a\"b\r\né.txt"),
            "attachment; filename=\"a_b___.txt\"; filename*=UTF-8''a%22b%0D%0A%C3%A9.txt"
        );
    }
}
