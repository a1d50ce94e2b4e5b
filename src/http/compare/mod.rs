//! `GET /v1/compare`: two to four reports side by side.

mod shown;

use axum::Json;
use http::Uri;
use serde_json::Value;

use super::error::{Error, Result};
use super::extract::Params;
use super::{App, code, jobs};
use crate::db;
use crate::db::jobs::Job;
use crate::engine::report::Report;
use crate::id::JobId;
use shown::{Comparison, Side};

/// So many reports at once.
const JOBS: std::ops::RangeInclusive<usize> = 2..=4;

/// `GET /v1/compare`
pub(super) async fn show(app: App, uri: Uri) -> Result<Json<Comparison>> {
    let params = Params::of(&uri, &["jobs"])?;
    let mut sides = Vec::new();
    for id in ids(&params)? {
        sides.push(side(&app, id).await?);
    }
    Ok(Json(Comparison::of(&sides)))
}

/// The jobs that are named, each once.
fn ids(params: &Params) -> Result<Vec<JobId>> {
    let allowed = "a list of two to four different ids of jobs, separated by commas,";
    let text = params.get("jobs").unwrap_or_default();
    let refuse = || Params::refuse("jobs", text, allowed);
    let ids: Vec<JobId> = text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| refuse())?;
    let is_repeated = ids.iter().enumerate().any(|(i, id)| ids.iter().take(i).any(|earlier| earlier == id));
    if JOBS.contains(&ids.len()) && !is_repeated { Ok(ids) } else { Err(refuse()) }
}

/// A job with its report and the name of its model, where that is still there.
async fn side(app: &App, id: JobId) -> Result<Side> {
    let value = jobs::find_report(app, id).await?;
    let job = db::jobs::find(&app.pool, app.tenant, id).await?;
    let job = job.ok_or_else(|| Error::not_found(format_args!("job {id}")))?;
    let report = read(&job, value)?;
    let model = match job.model_id {
        Some(model) => db::models::find(&app.pool, app.tenant, model).await?,
        None => None,
    };
    Ok(Side { job, report, model_name: model.map(|model| model.name) })
}

fn read(job: &Job, report: Value) -> Result<Report> {
    serde_json::from_value(report).map_err(|error| {
        tracing::warn!(job = %job.id, %error, "a report is not one of this version");
        let detail = format!("the report of job {} was made by another version, which this one can't compare", job.id);
        Error::new(code::REPORT_UNAVAILABLE, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Vec<JobId>> {
        ids(&Params::of(&format!("/v1/compare?jobs={query}").parse().unwrap(), &["jobs"]).unwrap())
    }

    #[test]
    fn two_to_four_different_jobs_are_compared() {
        let all: Vec<JobId> = (0..5).map(|_| JobId::new()).collect();
        let list = |ids: &[JobId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(read(&list(&all[..2])).unwrap(), all[..2]);
        assert_eq!(read(&list(&all[..4])).unwrap(), all[..4]);
        for bad in [
            list(&all[..1]),
            list(&all),
            String::new(),
            ",".to_owned(),
            list(&[all[0], all[0]]),
            format!("{},", all[0]),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
