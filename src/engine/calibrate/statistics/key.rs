//! What statistics depend on.

use serde::Serialize;

use crate::engine::calibrate::Wanted;
use crate::engine::context::Host;
use crate::engine::error::{EngineError, Result};
use crate::engine::hash::sha256;
use crate::engine::job::{Source, Task};
use crate::engine::method;
use crate::engine::plan::{PlannedCalibration, PlannedStage};

/// Changed whenever the file, or the way in which rows are chosen, becomes another.
const FORMAT: &str = "statistics 1";

/// All that statistics depend on; not the number of threads, which no sum depends on, and not the names of model and data.
#[derive(Serialize)]
struct Basis<'a> {
    format: &'static str,
    version: &'static str,
    host: Host,
    device: &'a str,
    model: Vec<(&'a str, u64, &'a str)>,
    rows: Vec<(&'a str, u64, &'a str)>,
    calibration: &'a PlannedCalibration,
    seed: u64,
    wanted: Wanted,
    sites: Vec<&'a str>,
}

/// The hash of all that the statistics of a task's first stage depend on: the program, the device and the processor's
/// model, the files of model and data, how rows are chosen of these, which sites are looked at and which sums are taken.
/// `None` where there are none to keep: no data is given or looked at, the task is not planned, or its files' hashes are
/// not known.
///
/// # Errors
///
/// [`EngineError::Internal`] where it can't be written as JSON.
pub fn key(task: &Task, device: &str, host: &Host) -> Result<Option<String>> {
    let (Task::Compress { model, plan: Some(plan), datasets, .. }
    | Task::Sensitivity { model, plan: Some(plan), datasets, .. }) = task
    else {
        return Ok(None);
    };
    let rows = datasets.calibration.as_ref().or(datasets.training.as_ref());
    let (Some(stage), Some(calibration), Some(rows)) = (plan.stages.first(), &plan.calibration, rows) else {
        return Ok(None);
    };
    let (Some(wanted), Some(model), Some(rows)) = (wanted(stage), files(model), files(rows)) else { return Ok(None) };
    let mut sites: Vec<&str> = stage.sites.iter().map(String::as_str).collect();
    sites.sort_unstable();
    let basis = Basis {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION"),
        // A new kernel changes no number.
        host: Host { os: String::new(), ..host.clone() },
        device,
        model,
        rows,
        calibration,
        seed: plan.seed,
        wanted,
        sites,
    };
    let text = serde_json::to_vec(&basis);
    let text = text.map_err(|error| EngineError::Internal(format!("the statistics' key can't be hashed: {error}")))?;
    Ok(Some(sha256(&text)))
}

/// The sums that a stage wants of the original alone.
fn wanted(stage: &PlannedStage) -> Option<Wanted> {
    let params = stage.params.as_object().cloned().unwrap_or_default();
    let wanted = method::find(&stage.method)?.bind(&params).ok()?.wants()?;
    let Wanted { gram: _, cross, weights: _ } = wanted;
    (!cross).then_some(wanted)
}

/// Paths, lengths and hashes, if all are known.
fn files(source: &Source) -> Option<Vec<(&str, u64, &str)>> {
    source.files.iter().map(|file| Some((file.path.as_str(), file.size_bytes, file.sha256.as_deref()?))).collect()
}
