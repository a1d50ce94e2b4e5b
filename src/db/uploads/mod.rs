//! Large files on their way, in parts.
//!
//! ```text
//! pending ──► completing ──► completed
//!    │  ▲─────────┘ │            │
//!    └──────────────┴────────────┴──► cancelled, expired
//! ```
//!
//! A row of `upload_parts` is the acknowledgement of a part: it is written after the part's bytes are durable, and never
//! changed. Every statement that acknowledges holds the upload's row, so that nothing is acknowledged to an upload that
//! has ended. An upload whose time is up counts as expired before anyone has said so.

/// `select`s uploads and makes them [`Upload`]s; what comes after `from uploads` is given.
macro_rules! upload_query {
    ($tail:tt $(, $arg:expr)* $(,)?) => {
        sqlx::query!(
            r#"select id as "id: UploadId", filename, size_bytes, part_size_bytes,
                case when state in ('pending', 'completing', 'completed') and expires_at <= now() then 'expired'
                    else state end as "state!: State",
                encode(expected_sha256, 'hex') as expected_sha256, encode(sha256, 'hex') as sha256, created_at, expires_at
            from uploads "# + $tail
            $(, $arg)*
        )
        .map(|row| Upload {
            id: row.id,
            filename: row.filename,
            state: row.state,
            size_bytes: unsigned(row.size_bytes),
            part_size_bytes: unsigned(row.part_size_bytes),
            expected_sha256: row.expected_sha256,
            sha256: row.sha256,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    };
}

mod create;
mod end;
mod hold;
mod numbers;
mod parts;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Pool, Result, unsigned};
use crate::id::UploadId;

pub use create::{NewUpload, create, withdraw};
pub use end::{cancel, expire, live, purge};
pub use hold::{Artifacts, find_all, hold, hold_artifacts};
pub use numbers::{PartRange, missing, part, part_count};
pub use parts::{Completing, Noted, PartRow, complete, find_part, note_part, received, reopen, start_completing};

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    /// It takes parts.
    Pending,
    /// All parts are there, and are put together.
    Completing,
    /// It is a file.
    Completed,
    /// Its owner gave it up.
    Cancelled,
    /// Its time was up.
    Expired,
}

impl State {
    /// As it stands in the table and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completing => "completing",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Which.
    pub id: UploadId,
    /// What its owner calls it. A label.
    pub filename: String,
    /// Where it stands.
    pub state: State,
    /// Its length.
    pub size_bytes: u64,
    /// The length of every part but the last.
    pub part_size_bytes: u64,
    /// What it should hash to, 64 hex digits, where that was said at the start.
    pub expected_sha256: Option<String>,
    /// Its hash, once it is a file.
    pub sha256: Option<String>,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// Until when it is kept.
    pub expires_at: DateTime<Utc>,
}

impl Upload {
    /// How many parts it has.
    pub fn part_count(&self) -> u32 {
        part_count(self.size_bytes, self.part_size_bytes)
    }

    /// Offset and length of a part; `None` if it has no such part.
    pub fn part(&self, number: u32) -> Option<(u64, u64)> {
        part(self.size_bytes, self.part_size_bytes, number)
    }
}

/// An upload, whatever became of it.
pub async fn find(pool: &Pool, tenant: Uuid, id: UploadId) -> Result<Option<Upload>> {
    Ok(upload_query!("where id = $1 and tenant_id = $2", id.0, tenant).fetch_optional(pool).await?)
}

/// An upload that is there, in the caller's transaction. Its row stays as it is until that ends.
async fn lock(conn: &mut PgConnection, tenant: Uuid, id: UploadId) -> Result<Option<Upload>> {
    Ok(upload_query!("where id = $1 and tenant_id = $2 for update", id.0, tenant).fetch_optional(conn).await?)
}
