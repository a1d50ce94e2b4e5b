//! Which job a worker gets next.

use uuid::Uuid;

use super::Job;
use crate::db::{Pool, Result};

/// A worker that asks for a job, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// This process's worker; new with every start.
    pub id: Uuid,
    /// The state folder that it runs from; stays. See [`super::release_all_of`].
    pub host_id: Uuid,
    /// What one job may use.
    pub memory_bytes: u64,
    /// Free scratch space.
    pub disk_bytes: u64,
    /// `cpu`, `cuda`, …
    pub devices: Vec<String>,
}

/// A job that is now a worker's, for as long as it renews the lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The job, already `running`.
    pub job: Job,
    /// What every later write must name.
    pub token: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// Takes the next job that this worker can run, if there is one.
///
/// The order is priority, then the tenant with fewest running jobs, then age. One claim happens at a time, so that a
/// tenant's limit holds exactly; a worker that finds nothing never waits for another. A job whose models and datasets
/// are not all ready is passed over, except by `validate`.
pub async fn claim(pool: &Pool, worker: &Worker) -> Result<Option<Claimed>> {
    todo!("{pool:?} {worker:?}")
}
