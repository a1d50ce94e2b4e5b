//! An upload as clients see it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::db::uploads::{PartRange, State, Upload, received};
use crate::http::App;
use crate::http::error::Result;
use crate::id::UploadId;

/// An upload as clients see it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Shown {
    id: UploadId,
    filename: String,
    state: State,
    size_bytes: u64,
    part_size_bytes: u64,
    part_count: u32,
    received_bytes: u64,
    received_parts: Vec<PartRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl Shown {
    /// With what was received of it.
    pub(super) async fn of(app: &App, upload: Upload) -> Result<Self> {
        let part_count = upload.part_count();
        let (received_parts, received_bytes) = match upload.state {
            State::Pending | State::Completing => received(&app.pool, upload.id).await?,
            State::Completed => {
                let all = part_count.checked_sub(1).map(|last| PartRange { first: 0, last });
                (all.into_iter().collect(), upload.size_bytes)
            }
            State::Cancelled | State::Expired => (Vec::new(), 0),
        };
        Ok(Self {
            id: upload.id,
            filename: upload.filename,
            state: upload.state,
            size_bytes: upload.size_bytes,
            part_size_bytes: upload.part_size_bytes,
            part_count,
            received_bytes,
            received_parts,
            sha256: upload.sha256,
            created_at: upload.created_at,
            expires_at: upload.expires_at,
        })
    }
}
