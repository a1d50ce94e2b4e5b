//! How long one call takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::finite;
use super::statistics::quantile;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};

/// Calls that are not timed, at least.
pub const FEWEST_WARMUPS: usize = 5;
/// Calls that are timed, at least.
pub const FEWEST_RUNS: usize = 30;

/// Time of one call over some runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// 50% quantile.
    #[serde(serialize_with = "finite::number")]
    pub median_ms: f64,
    /// 95% quantile.
    #[serde(serialize_with = "finite::number")]
    pub p95_ms: f64,
    /// The fastest.
    #[serde(serialize_with = "finite::number")]
    pub min_ms: f64,
    /// Timed runs.
    pub n: u64,
}

/// Times `run`: at least [`FEWEST_WARMUPS`] calls untimed, then at least [`FEWEST_RUNS`] timed ones. Whether to stop is
/// asked between calls, never within the timed span.
///
/// # Errors
///
/// What `run` fails with, and [`EngineError::Stopped`].
pub fn measure(
    run: &mut dyn FnMut() -> Result<()>,
    ctx: &RunContext<'_>,
    runs: usize,
    warmup: usize,
) -> Result<Latency> {
    let (runs, warmup) = (runs.max(FEWEST_RUNS), warmup.max(FEWEST_WARMUPS));
    let total = runs.saturating_add(warmup);
    for done in 0..warmup {
        run()?;
        ctx.progress(done + 1, total, "runs")?;
    }
    let mut taken_ms = Vec::with_capacity(runs);
    for done in 0..runs {
        let start = ctx.stopwatch.elapsed();
        run()?;
        taken_ms.push(milliseconds(ctx.stopwatch.elapsed().saturating_sub(start)));
        ctx.progress(warmup + done + 1, total, "runs")?;
    }
    taken_ms.sort_by(f64::total_cmp);
    let at = |q| quantile(&taken_ms, q).ok_or_else(|| EngineError::Internal("no run was timed".into()));
    Ok(Latency { median_ms: at(0.5)?, p95_ms: at(0.95)?, min_ms: at(0.0)?, n: taken_ms.len() as u64 })
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests;
