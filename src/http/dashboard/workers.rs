//! `/workers`: who is there, and what they can do.

use askama::Template;
use axum::response::Response;

use super::frame::{Frame, page};
use super::show::Markup;
use crate::db;
use crate::db::workers::WorkerRow;
use crate::http::App;
use crate::http::error::Result;

struct Row {
    id: String,
    host: String,
    state: Markup,
    is_live: bool,
    running: u64,
    memory: Markup,
    disk: Markup,
    devices: String,
    version: String,
    seen: Markup,
    since: Markup,
}

impl Row {
    fn of(worker: WorkerRow) -> Self {
        Self {
            id: worker.beat.id.to_string(),
            host: worker.beat.host,
            state: Markup::state(if worker.live { "live" } else { "gone" }),
            is_live: worker.live,
            running: worker.running,
            memory: Markup::bytes(worker.beat.memory_bytes),
            disk: Markup::bytes(worker.beat.disk_bytes),
            devices: worker.beat.devices.join(", "),
            version: worker.beat.version,
            seen: Markup::time(worker.heartbeat_at),
            since: Markup::time(worker.started_at),
        }
    }
}

#[derive(Template)]
#[template(path = "workers.html")]
struct WorkersPage {
    frame: Frame,
    told: String,
    workers: Vec<Row>,
}

/// `GET /workers`
pub(super) async fn list(app: App) -> Result<Response> {
    let workers = db::workers::list(&app.pool).await?;
    let live = workers.iter().filter(|worker| worker.live).count();
    let told = match live {
        0 => "None is there now: jobs wait.".to_owned(),
        1 => "One is there. One that was silent for a minute counts as gone.".to_owned(),
        many => format!("{many} are there. One that was silent for a minute counts as gone."),
    };
    let frame = Frame::new("Workers", "/workers");
    page(&WorkersPage { frame, told, workers: workers.into_iter().map(Row::of).collect() })
}
