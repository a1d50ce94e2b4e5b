//! Which request a job comes from, for the logs.

use sqlx::PgConnection;

use crate::db::{Pool, Result};
use crate::id::JobId;

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its id, as it stands in the log and in `X-Request-Id`.
    pub request_id: Option<String>,
    /// Its W3C `traceparent`, if it had one.
    pub trace_parent: Option<String>,
}

/// Notes where a job comes from.
pub async fn note_origin(conn: &mut PgConnection, id: JobId, origin: &Origin) -> Result<()> {
    sqlx::query!(
        "update jobs set request_id = $2, trace_parent = $3 where id = $1",
        id.0,
        origin.request_id,
        origin.trace_parent,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Where a job comes from; nothing for one that no request submitted.
pub async fn origin(pool: &Pool, id: JobId) -> Result<Origin> {
    let query = sqlx::query!("select request_id, trace_parent from jobs where id = $1", id.0)
        .map(|row| Origin { request_id: row.request_id, trace_parent: row.trace_parent });
    Ok(query.fetch_optional(pool).await?.unwrap_or_default())
}
