//! The table of an earlier job that was asked the same, so that it need not be made again.

use std::path::Path;

use super::report::{NO_RESULT, Told, untold};
use crate::engine::context::{Host, RunContext};
use crate::engine::error::Result;
use crate::engine::hash::sha256;
use crate::engine::report::{FileHash, Provenance, Report};
use crate::engine::run::sides;

/// A longer report is not read.
const MOST_BYTES: u64 = 256 << 20;

/// This job's report with the earlier one's table, where all that a table depends on is the same: the program, the device and the
/// processor's model, the bytes of model and data, and the plan. Else nothing, and a note says why.
///
/// Not the number of threads, which no number depends on, and not what model and data are called.
///
/// # Errors
///
/// As [`Told::report`].
pub(super) fn find(path: &Path, told: &Told<'_>, ctx: &RunContext<'_>) -> Result<Option<Report>> {
    let mut provenance = told.origin.provenance(None, ctx)?;
    let (earlier, sha256) = match read(path) {
        Ok(found) if depends_on(&found.0.provenance) != depends_on(&provenance) => {
            return Ok(unused(ctx, "it comes from other bytes, another program or another processor"));
        }
        Ok(found) if found.0.plan.as_ref() != Some(told.plan) => return Ok(unused(ctx, "its plan is another")),
        Ok(found) => found,
        Err(why) => return Ok(unused(ctx, why)),
    };
    ctx.note(format!("an earlier job was asked the same: the table of its report {sha256} is used again"));
    provenance.evaluation.clone_from(&earlier.provenance.evaluation);
    provenance.table_from = Some(earlier.provenance.table_from.unwrap_or(sha256));
    let mut report = Report {
        model: sides::summary(&told.origin.source.name, &told.opened.inspected.header),
        recipe: Some(told.recipe.clone()),
        measurements: told.measurements(ctx),
        provenance,
        ..earlier
    };
    // What a machine does not tell may be told now
    report
        .unmeasured
        .retain(|pointer, _| !["/measurements/", "/provenance/host"].iter().any(|at| pointer.starts_with(at)));
    report.unmeasured("/measurements/latency", NO_RESULT);
    untold(&mut report);
    Ok(Some(report))
}

fn unused(ctx: &RunContext<'_>, why: &str) -> Option<Report> {
    ctx.note(format!("an earlier job's table is not used: {why}. It is made anew"));
    None
}

/// A whole report with a table, and its hash.
fn read(path: &Path) -> std::result::Result<(Report, String), &'static str> {
    let is_small = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MOST_BYTES);
    let bytes = if is_small { std::fs::read(path).ok() } else { None };
    let bytes = bytes.ok_or("its report can't be read")?;
    let report = Report::read(&bytes).map_err(|_| "its report is of another version, or damaged")?;
    if report.result.sensitivity.is_none() || report.check().is_err() {
        return Err("its report is not whole");
    }
    Ok((report, sha256(&bytes)))
}

/// A dataset's role, rows and files.
type Data<'a> = (&'a str, u64, &'a [FileHash]);

/// What a table depends on beside the plan.
fn depends_on(provenance: &Provenance) -> (&str, Host, &str, &[FileHash], Vec<Data<'_>>) {
    let host = Host { os: String::new(), ..provenance.host.clone() };
    let datasets = provenance.datasets.iter();
    let datasets = datasets.map(|(role, data)| (role.as_str(), data.rows, data.files.as_slice())).collect();
    (&provenance.pare_version, host, &provenance.device, &provenance.model_files, datasets)
}
