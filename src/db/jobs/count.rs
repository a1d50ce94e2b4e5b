//! How many jobs there are, for those who watch over the service.

use super::{JobKind, JobState};
use crate::db::{Pool, Result, unsigned};

/// The jobs of all tenants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// How many of each kind are in each state; pairs without any are left out.
    pub jobs: Vec<(JobKind, JobState, u64)>,
    /// Queued jobs whose time has come.
    pub due: u64,
    /// How long the one of them that has waited longest has done so.
    pub oldest_wait_seconds: f64,
}

/// Counts. Reads indexes alone, but all of one: cost grows with the jobs that are kept.
pub async fn count(pool: &Pool) -> Result<Counts> {
    let jobs = sqlx::query!(
        r#"select kind as "kind: JobKind", state as "state: JobState", count(*) as "count!" from jobs group by kind, state"#
    )
    .map(|row| (row.kind, row.state, unsigned(row.count)))
    .fetch_all(pool)
    .await?;
    let queue = sqlx::query!(
        r#"select count(*) as "due!",
            coalesce(extract(epoch from now() - min(run_after)), 0)::double precision as "oldest_wait_seconds!"
        from jobs where state = 'queued' and run_after <= now()"#
    )
    .fetch_one(pool)
    .await?;
    Ok(Counts { jobs, due: unsigned(queue.due), oldest_wait_seconds: queue.oldest_wait_seconds })
}
