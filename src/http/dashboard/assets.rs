//! The files that the pages load: compiled in, named by their hash, kept for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::engine::hash::sha256;
use crate::engine::report::html::STYLE;
use crate::http::error::{Error, Result};
use crate::http::range::none_match;

/// Every file.
pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    // the report's style, and what pages have beyond it: one look
    style: Asset::new(
        "dashboard",
        "css",
        "text/css; charset=utf-8",
        format!("{STYLE}{}", include_str!("assets/dashboard.css")),
    ),
    script: Asset::new(
        "dashboard",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("assets/dashboard.js").to_owned(),
    ),
    icon: Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg").to_owned()),
});

/// The files of the pages.
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    pub(super) icon: Asset,
}

/// A file.
pub(super) struct Asset {
    /// Where it is: another text is at another address.
    pub(super) path: String,
    media_type: &'static str,
    text: String,
    tag: String,
}

impl Asset {
    fn new(name: &str, extension: &str, media_type: &'static str, text: String) -> Self {
        let hash = sha256(text.as_bytes());
        let path = format!("/assets/{name}-{}.{extension}", hash.get(..12).unwrap_or_default());
        Self { path, media_type, text, tag: format!("\"{hash}\"") }
    }
}

/// `GET /assets/{name}`
pub(super) async fn find(Path(name): Path<String>, headers: HeaderMap) -> Result<Response> {
    let assets = [&ASSETS.style, &ASSETS.script, &ASSETS.icon];
    let found = assets.into_iter().find(|asset| asset.path.strip_prefix("/assets/") == Some(name.as_str()));
    let asset = found.ok_or_else(|| Error::not_found("such file"))?;
    let common = [
        (ETAG, HeaderValue::from_str(&asset.tag).map_err(Error::internal)?),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
    ];
    if none_match(&headers, &asset.tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, asset.text.as_str()).into_response())
}
