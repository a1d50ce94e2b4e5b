//! What time does to jobs.

use crate::db::{Pool, Result};

/// Takes back jobs whose lease ran out, ends jobs whose deadline passed, and fails those whose model or dataset turned
/// out invalid. The number of jobs that changed. Any worker may run it at any time; one does at a time.
pub async fn reap(pool: &Pool) -> Result<u64> {
    todo!("{pool:?}")
}
