//! `/jobs/{id}`: where a job stands, what came of it, what happened.

use std::collections::HashMap;

use askama::Template;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::form::{InQuery, encode};
use super::frame::{Frame, Problems, page_with, see};
use super::home::origin;
use super::job_log::{self, AttemptRow, Line, Step};
use super::job_row::{link, title, waits};
use super::model::PROBLEMS;
use super::plan::quote;
use super::show::{Markup, cut, grouped, short_hash, short_id};
use crate::db;
use crate::db::jobs::{Job, JobFile, JobKind, JobState};
use crate::engine::problem::escape_pointer;
use crate::http::error::{Detail, Result};
use crate::http::extract::Id;
use crate::http::{App, ROUTES, jobs};
use crate::id::JobId;

/// Lines of the log on a page.
const LINES: u32 = 100;

struct Phase {
    name: &'static str,
    class: &'static str,
}

struct Failure {
    title: &'static str,
    detail: String,
    code: String,
    hint: &'static str,
    phase: Option<String>,
    problems: Vec<Detail>,
}

struct FileRow {
    path: String,
    size: Markup,
    loaders: String,
    hash: Markup,
    link: String,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    path: String,
    raw_id: String,
    stream: Option<String>,
    id: Markup,
    title: String,
    kind: JobKind,
    state: Markup,
    can_retry: bool,
    is_cancelling: bool,
    can_cancel: bool,
    again: Option<String>,
    report: String,
    report_json: String,
    problems: Problems,
    phases: Vec<Phase>,
    share: Option<String>,
    told: String,
    error: Option<Failure>,
    verdict: Option<String>,
    unmeasured: Option<String>,
    files: Vec<FileRow>,
    curl: String,
    timeline: Vec<Step>,
    attempts: Vec<AttemptRow>,
    log: Vec<Line>,
    more_log: Option<String>,
    facts: Vec<(&'static str, Markup)>,
    chips: Vec<(String, String)>,
    recipe: Option<Markup>,
}

/// `GET /jobs/{id}`
pub(super) async fn show(app: App, Id(id): Id<JobId>, InQuery(query): InQuery, headers: HeaderMap) -> Result<Response> {
    let after = query.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    draw(&app, id, after, &headers, StatusCode::OK, Problems::default()).await
}

/// `POST /jobs/{id}/cancel`: then the job's page.
pub(super) async fn cancel(app: App, Id(id): Id<JobId>, headers: HeaderMap) -> Result<Response> {
    match jobs::stop(&app, id).await {
        Ok(_) => Ok(see(&format!("/jobs/{id}"))),
        Err(error) => {
            let (status, problems) = Problems::of("It was not cancelled:", error)?;
            draw(&app, id, 0, &headers, status, problems).await
        }
    }
}

/// `POST /jobs/{id}/retry`: then the new job's page.
pub(super) async fn retry(app: App, Id(id): Id<JobId>, headers: HeaderMap) -> Result<Response> {
    let retried = async {
        let new = jobs::again(&app, id, None).await?;
        jobs::store(&app, &new).await
    };
    match retried.await {
        Ok(job) => Ok(see(&format!("/jobs/{}", job.id))),
        Err(error) => {
            let (status, problems) = Problems::of("It was not retried:", error)?;
            draw(&app, id, 0, &headers, status, problems).await
        }
    }
}

async fn draw(
    app: &App,
    id: JobId,
    after: i64,
    headers: &HeaderMap,
    status: StatusCode,
    problems: Problems,
) -> Result<Response> {
    let job = jobs::get(app, id).await?;
    let report =
        if job.state == JobState::Succeeded { db::jobs::report(&app.pool, app.tenant, id).await? } else { None };
    let files = db::jobs::files(&app.pool, app.tenant, id).await?;
    let files: Vec<JobFile> = files.into_iter().filter(|file| file.role == jobs::ARTIFACT).collect();
    let events = db::jobs::events(&app.pool, id, after, LINES).await?;
    let attempts = db::jobs::attempts(&app.pool, id).await?;
    let workers = db::workers::list(&app.pool).await?;
    let hosts: HashMap<_, _> = workers.into_iter().map(|worker| (worker.beat.id, worker.beat.host)).collect();
    let more_log = events.last().filter(|_| events.len() >= LINES as usize);
    let path = format!("/jobs/{id}");
    let page = JobPage {
        frame: Frame::new(title(&job), "/jobs").live(!job.state.is_terminal()),
        raw_id: id.to_string(),
        stream: stream(id, events.last().map_or(0, |event| event.seq)),
        id: Markup::copyable(&id.to_string()),
        title: title(&job),
        kind: job.kind,
        state: Markup::state(job.state.as_str()),
        can_retry: job.state.is_terminal() && job.state != JobState::Succeeded && job.kind != JobKind::Validate,
        is_cancelling: job.state == JobState::Cancelling,
        can_cancel: !job.state.is_terminal(),
        again: again(&job),
        report: format!("/v1/jobs/{id}/report.html"),
        report_json: format!("/v1/jobs/{id}/report"),
        problems,
        phases: phases(&job),
        share: share(&job),
        told: told(&job),
        error: failure(&job),
        verdict: report.as_ref().map(verdict),
        unmeasured: report.as_ref().filter(|_| job.kind != JobKind::Sensitivity).and_then(unmeasured),
        curl: curl(&files, &origin(headers)),
        files: files.into_iter().map(file).collect(),
        timeline: job_log::timeline(&job),
        attempts: job_log::attempts(attempts, &hosts),
        more_log: more_log.map(|line| format!("{path}?after={}#log", line.seq)),
        log: events.into_iter().map(|event| job_log::line(event, job.created_at)).collect(),
        facts: facts(app, &job).await?,
        chips: chips(&job.labels),
        recipe: job.recipe.as_ref().map(Markup::json),
        path,
    };
    page_with(status, &page)
}

/// Where the job's events flow, after those that the page shows.
fn stream(id: JobId, last_seq: i64) -> Option<String> {
    let is_there = ROUTES.iter().any(|route| route.path == "/v1/jobs/{job_id}/events/stream");
    is_there.then(|| format!("/v1/jobs/{id}/events/stream?after={last_seq}"))
}

/// The form of a job like this one.
fn again(job: &Job) -> Option<String> {
    if !job.state.is_terminal() {
        return None;
    }
    let mut pairs = vec![("model_id", job.model_id?.to_string())];
    match job.kind {
        JobKind::Compress => pairs.push(("recipe_name", job.recipe_name.clone()?)),
        JobKind::Evaluate => {
            pairs.push(("kind", "evaluate".to_owned()));
            pairs.extend(job.reference_model_id.map(|id| ("reference_model_id", id.to_string())));
            let metrics = job.evaluate.as_ref().and_then(|evaluate| evaluate.get("metrics")?.as_array());
            let metrics = metrics.into_iter().flatten().filter_map(Value::as_str);
            pairs.extend(metrics.map(|metric| ("metrics", metric.to_owned())));
        }
        JobKind::Sensitivity => {
            pairs.push(("kind", "sensitivity".to_owned()));
            pairs.extend(job.recipe_name.clone().map(|name| ("recipe_name", name)));
            let bits = job.recipe.as_ref().and_then(|recipe| recipe.pointer("/sensitivity/bits")?.as_array());
            let bits: Vec<String> = bits.into_iter().flatten().map(ToString::to_string).collect();
            pairs.extend((!bits.is_empty()).then(|| ("bits", bits.join(", "))));
        }
        _ => return None,
    }
    for (name, id) in [
        ("evaluation_dataset_id", job.evaluation_dataset_id),
        ("calibration_dataset_id", job.calibration_dataset_id),
        ("validation_dataset_id", job.validation_dataset_id),
        ("training_dataset_id", job.training_dataset_id),
    ] {
        pairs.extend(id.map(|id| (name, id.to_string())));
    }
    let tokens = job.evaluate.as_ref().and_then(|evaluate| evaluate.get("max_seq_length")?.as_u64());
    pairs.extend(tokens.map(|tokens| ("max_seq_length", tokens.to_string())));
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={}", encode(&value))).collect();
    Some(format!("/jobs/new?{}", pairs.join("&")))
}

/// The phases of a job that has not ended.
fn phases(job: &Job) -> Vec<Phase> {
    if job.state.is_terminal() {
        return Vec::new();
    }
    let all: &[&'static str] = match job.kind {
        JobKind::Validate => &["queued", "loading"],
        JobKind::Evaluate | JobKind::Sensitivity => &["queued", "loading", "evaluating"],
        _ => &["queued", "loading", "compressing", "packaging", "evaluating"],
    };
    let now = match (job.state, job.phase.as_deref()) {
        (JobState::Queued, _) => 0,
        (_, phase) => all.iter().position(|name| Some(*name) == phase).unwrap_or(1),
    };
    let class = |place: usize| match place.cmp(&now) {
        std::cmp::Ordering::Less => "done",
        std::cmp::Ordering::Equal => "now",
        std::cmp::Ordering::Greater => "then",
    };
    all.iter().enumerate().map(|(place, name)| Phase { name, class: class(place) }).collect()
}

/// How much of the phase is done.
fn share(job: &Job) -> Option<String> {
    let progress = job.progress.as_ref()?;
    let (done, total) = (progress.get("done")?.as_f64()?, progress.get("total")?.as_f64()?);
    (total > 0.0).then(|| format!("{:.4}", (done / total).clamp(0.0, 1.0)))
}

/// Where a job that has not ended stands, in a sentence.
fn told(job: &Job) -> String {
    match job.state {
        JobState::Queued => match job.waiting_reason.as_deref() {
            Some(reason) => format!("Waits: {}.", waits(reason)),
            None => "Waits for a worker.".to_owned(),
        },
        JobState::Cancelling => "Stops as soon as it can.".to_owned(),
        _ => {
            let number = |key: &str| job.progress.as_ref().and_then(|progress| progress.get(key)?.as_u64());
            let unit = job.progress.as_ref().and_then(|progress| progress.get("unit")?.as_str()).unwrap_or_default();
            match (number("done"), number("total")) {
                (Some(done), Some(total)) => format!("{} of {} {unit}", grouped(done), grouped(total)),
                _ => "Runs.".to_owned(),
            }
        }
    }
}

fn failure(job: &Job) -> Option<Failure> {
    let error = job.error.as_ref()?;
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = text("code");
    let problems = error.get("errors").cloned().and_then(|errors| serde_json::from_value(errors).ok());
    let mut problems: Vec<Detail> = problems.unwrap_or_default();
    problems.truncate(PROBLEMS);
    Some(Failure {
        title: if job.state == JobState::Expired { "Why it was given up" } else { "Why it failed" },
        detail: cut(&text("detail"), 2_000),
        hint: hint(&code),
        code,
        phase: job.phase.clone(),
        problems,
    })
}

/// What to do about a failure, where its detail does not say.
fn hint(code: &str) -> &'static str {
    match code {
        "worker_crashed" => {
            "The process died twice. If the log does not tell why, try a smaller model or another recipe."
        }
        "out_of_memory" => "Give the workers more memory for a job (PARE_MEMORY), or choose a recipe that needs less.",
        "deadline_exceeded" => "Run it again with a later deadline, or when the queue is shorter.",
        "model_invalid" | "dataset_invalid" => {
            "Mend the files and upload them again; their page lists all that is wrong."
        }
        "internal" | "internal_error" => "This is our fault. Try it again; the server’s log has the cause.",
        _ => "",
    }
}

fn verdict(report: &Value) -> String {
    let summary = report.pointer("/result/verdict/summary").and_then(Value::as_str);
    summary.unwrap_or("The report has no verdict.").replace(" -", " −")
}

/// Why there is no task quality.
fn unmeasured(report: &Value) -> Option<String> {
    if report.pointer("/result/after/quality").is_some_and(|quality| !quality.is_null()) {
        return None;
    }
    let reason = report.pointer(&format!("/unmeasured/{}", escape_pointer("/result/after/quality")));
    Some(reason.and_then(Value::as_str).unwrap_or("the report gives no reason").to_owned())
}

fn file(file: JobFile) -> FileRow {
    FileRow {
        size: Markup::bytes(file.size_bytes),
        loaders: file.loaders.join(", "),
        hash: Markup::copyable_as(&file.sha256, &short_hash(&file.sha256)),
        link: format!("/v1/artifacts/{}/content", file.id),
        path: file.path,
    }
}

/// Downloads, and the check of their hashes.
fn curl(files: &[JobFile], origin: &str) -> String {
    let get = |file: &JobFile| {
        let path = quote(&file.path);
        format!("curl --create-dirs -o {path} {origin}/v1/artifacts/{}/content\n", file.id)
    };
    let sums: String = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.path)).collect();
    format!("{}sha256sum --check <<'END'\n{sums}END", files.iter().map(get).collect::<String>())
}

async fn facts(app: &App, job: &Job) -> Result<Vec<(&'static str, Markup)>> {
    let mut facts = Vec::new();
    for (name, id) in [("Model", job.model_id), ("Compared with", job.reference_model_id)] {
        let Some(id) = id else { continue };
        let named = db::names::models(&app.pool, app.tenant, &[id.0]).await?;
        facts.extend(named.iter().map(|model| (name, link("models", "mdl", model))));
    }
    for (name, id) in [
        ("Dataset", job.dataset_id),
        ("Evaluation rows", job.evaluation_dataset_id),
        ("Calibration text", job.calibration_dataset_id),
        ("Validation rows", job.validation_dataset_id),
        ("Training text", job.training_dataset_id),
    ] {
        let Some(id) = id else { continue };
        let named = db::names::datasets(&app.pool, app.tenant, &[id.0]).await?;
        facts.extend(named.iter().map(|dataset| (name, link("datasets", "dst", dataset))));
    }
    if job.kind == JobKind::Compress {
        facts.push(("Recipe", Markup::text(&title(job))));
    }
    if let Some(tried) = job.plan.as_ref().and_then(|plan| plan.sensitivity.as_ref()) {
        let bits: Vec<String> = tried.bits.iter().map(ToString::to_string).collect();
        facts.push(("Bits", Markup(bits.join(", "))));
        facts.push(("Changes that are tried", Markup(grouped(tried.cells))));
    }
    if let Some(tokens) = job.plan.as_ref().map(|plan| plan.evaluate.max_seq_length) {
        facts.push(("Tokens of a row", Markup(grouped(tokens as u64))));
    }
    if job.memory_bytes > 0 {
        facts.push(("Memory", Markup(format!("{} needed", Markup::bytes(job.memory_bytes)))));
    }
    if job.priority != 0 {
        facts.push(("Priority", Markup(job.priority.to_string())));
    }
    if let Some(other) = job.retry_of {
        facts.push(("Repeats", Markup::link(&format!("/jobs/{other}"), &short_id(&other.to_string()))));
    }
    facts.push(("Deadline", Markup::time(job.deadline_at)));
    Ok(facts)
}

/// Labels with the lists of jobs that share them.
fn chips(labels: &Value) -> Vec<(String, String)> {
    let pairs = labels.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| format!("{name}:{}", value.as_str().unwrap_or_default()))
        .map(|label| (format!("/jobs?label={}", encode(&label)), label))
        .collect()
}
