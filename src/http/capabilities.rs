//! What this server can do, and what it allows.

use axum::Json;
use http::Uri;
use serde::Serialize;
use serde_json::Value;

use super::error::Result;
use super::extract::Params;
use super::{App, jobs};
use crate::db::jobs::JobKind;
use crate::engine::method;
use crate::engine::model::arch::ARCHITECTURES;
use crate::engine::recipe::presets;

/// What can be asked for.
#[derive(Debug, Serialize)]
pub(super) struct Capabilities {
    version: &'static str,
    job_kinds: &'static [JobKind],
    methods: Value,
    families: Vec<&'static str>,
    presets: Vec<&'static str>,
    formats: Vec<&'static str>,
    devices: Vec<&'static str>,
    limits: Allowed,
}

/// The limits that concern clients.
#[derive(Debug, Serialize)]
struct Allowed {
    json_bytes: u64,
    upload_bytes: u64,
    upload_files: u64,
    live_uploads: u32,
    part_bytes: u64,
    upload_seconds: u64,
    request_seconds: u64,
    wait_seconds: u64,
    page_rows: u32,
}

/// `GET /v1/capabilities`
pub(super) async fn show(app: App, uri: Uri) -> Result<Json<Capabilities>> {
    Params::of(&uri, &[])?;
    Ok(Json(Capabilities {
        version: env!("CARGO_PKG_VERSION"),
        job_kinds: jobs::SUBMITTED,
        methods: method::capabilities(),
        families: ARCHITECTURES.iter().map(|family| family.model_type()).collect(),
        presets: presets().iter().map(|preset| preset.name).collect(),
        formats: vec!["safetensors", "packed"],
        devices: vec!["cpu"],
        limits: Allowed {
            json_bytes: app.limits.json_bytes as u64,
            upload_bytes: app.limits.upload_bytes,
            upload_files: app.limits.upload_files as u64,
            live_uploads: app.limits.live_uploads,
            part_bytes: app.limits.part_bytes,
            upload_seconds: app.limits.upload_lifetime.as_secs(),
            request_seconds: app.limits.request.as_secs(),
            wait_seconds: super::prefer::LONGEST.as_secs(),
            page_rows: super::page::MOST_ROWS,
        },
    }))
}
