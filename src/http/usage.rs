//! What is stored: how many things, and the bytes that they take up.

use axum::Json;
use http::Uri;
use serde::{Deserialize, Serialize};

use super::App;
use super::error::Result;
use super::extract::Params;
use crate::db::usage;

/// What is stored, as clients see it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    total_bytes: u64,
    collectable_bytes: u64,
    models: Group,
    datasets: Group,
    artifacts: Group,
    intermediate: Group,
    uploads: Group,
    jobs: u64,
}

/// Things of one kind.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    count: u64,
    size_bytes: u64,
}

impl From<usage::Group> for Group {
    fn from(group: usage::Group) -> Self {
        Self { count: group.count, size_bytes: group.size_bytes }
    }
}

/// `GET /v1/usage`
pub(super) async fn show(app: App, uri: Uri) -> Result<Json<Shown>> {
    Params::of(&uri, &[])?;
    let usage = usage::usage(&app.pool, app.tenant).await?;
    Ok(Json(Shown {
        total_bytes: usage.total_bytes,
        collectable_bytes: usage.collectable_bytes,
        models: usage.models.into(),
        datasets: usage.datasets.into(),
        artifacts: usage.artifacts.into(),
        intermediate: usage.intermediate.into(),
        uploads: usage.uploads.into(),
        jobs: usage.jobs,
    }))
}
