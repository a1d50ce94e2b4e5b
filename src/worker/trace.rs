//! The span of a job: every line that is logged on its behalf carries its id, and the request's that submitted it.

use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;
use tracing::field::Empty;

use crate::db::Pool;
use crate::db::jobs::{self, Claimed};
use crate::id::JobId;

/// How long a job waits for its origin.
const PATIENCE: Duration = Duration::from_secs(5);

/// The span of a claimed job.
pub(super) fn span(claimed: &Claimed) -> Span {
    let Claimed { job, attempt, .. } = claimed;
    tracing::info_span!("job", job_id = %job.id, kind = %job.kind, attempt, request_id = Empty, trace_id = Empty)
}

/// Adds to the current span where the job comes from. Without an answer the lines carry less, and the job runs all the
/// same.
pub(super) async fn add_origin(pool: &Pool, id: JobId) {
    match timeout(PATIENCE, jobs::origin(pool, id)).await {
        Ok(Ok(origin)) => {
            let span = Span::current();
            if let Some(request_id) = origin.request_id {
                span.record("request_id", request_id);
            }
            // 00-<trace>-<span>-<flags>
            if let Some(trace_id) = origin.trace_parent.as_deref().and_then(|text| text.split('-').nth(1)) {
                span.record("trace_id", trace_id);
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "where the job comes from could not be read"),
        Err(_) => tracing::warn!("the database does not say where the job comes from"),
    }
}
