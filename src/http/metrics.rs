//! What Prometheus reads: the process's counters, and what the database says of jobs and workers.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics::{Unit, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Door;
use super::{Limits, State as Server};
use crate::db::{self, Pool, jobs, workers};
use crate::telemetry::metrics as process;

/// The text format that every Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long the database may take: whoever scrapes does not wait for ever, and what the process counts is there anyhow.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections to a worker's metrics.
const WORKER_CONNECTIONS: usize = 16;

/// `GET /metrics`
pub(super) async fn show(State(server): State<Server>) -> Response {
    let asked_at = Instant::now();
    let read = async {
        let acquired = server.pool.acquire().await.map(|_| asked_at.elapsed());
        let acquired = acquired.map_err(db::Error::from)?;
        Ok::<_, db::Error>((acquired, jobs::count(&server.pool).await?, workers::list(&server.pool).await?))
    };
    let asked = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok((acquired, counts, workers))) => {
            let live = workers.iter().filter(|worker| worker.live).count();
            Asked::Answered(Service { acquired, counts, live_workers: live })
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the metrics lack what the database knows");
            Asked::InVain
        }
        Err(_) => {
            tracing::warn!("the metrics lack what the database knows: it does not answer");
            Asked::InVain
        }
    };
    text(format!("{}{}", process::render(), gauges(&server.pool, &asked)))
}

fn text(body: String) -> Response {
    ([(CONTENT_TYPE, TEXT)], body).into_response()
}

/// What the database was asked, and said.
enum Asked {
    Nothing,
    InVain,
    Answered(Service),
}

/// What the database knows.
struct Service {
    /// How long a connection took to be had.
    acquired: Duration,
    counts: jobs::Counts,
    live_workers: usize,
}

/// Gauges of this moment: the pool's, and what the database knows, where it was asked. A recorder of their own, so that
/// what is not there any more is not shown any more.
fn gauges(pool: &Pool, asked: &Asked) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, || {
        describe_gauge!("pare_db_connections", "Connections of this process's pool.");
        let idle = pool.num_idle() as f64;
        gauge!("pare_db_connections", "state" => "idle").set(idle);
        gauge!("pare_db_connections", "state" => "in_use").set((f64::from(pool.size()) - idle).max(0.0));
        describe_gauge!("pare_db_up", "Whether the database answered just now.");
        match asked {
            Asked::Nothing => {}
            Asked::InVain => gauge!("pare_db_up").set(0.0),
            Asked::Answered(service) => {
                gauge!("pare_db_up").set(1.0);
                set(service);
            }
        }
    });
    recorder.handle().render()
}

fn set(service: &Service) {
    describe_gauge!(
        "pare_db_acquire_seconds",
        Unit::Seconds,
        "How long a connection of the pool took to be had just now."
    );
    gauge!("pare_db_acquire_seconds").set(service.acquired.as_secs_f64());
    describe_gauge!("pare_jobs", "Jobs that are kept, by kind and state; the same from every server.");
    for (kind, state, count) in &service.counts.jobs {
        gauge!("pare_jobs", "kind" => kind.as_str(), "state" => state.as_str()).set(*count as f64);
    }
    describe_gauge!("pare_queue_depth", "Queued jobs whose time has come; the same from every server.");
    gauge!("pare_queue_depth").set(service.counts.due as f64);
    describe_gauge!("pare_queue_oldest_wait_seconds", Unit::Seconds, "How long the first of them has waited.");
    gauge!("pare_queue_oldest_wait_seconds").set(service.counts.oldest_wait_seconds.max(0.0));
    describe_gauge!("pare_workers", "Workers that were heard of within a minute; the same from every server.");
    gauge!("pare_workers").set(service.live_workers as f64);
}

/// Shows a worker process's counters at `/metrics`, and that it lives at `/healthz`, until dropped.
///
/// Never returns.
pub async fn serve_worker(listener: TcpListener, pool: Pool, stall: Duration) -> Infallible {
    let _upkeep = keep_up();
    let show = move || std::future::ready(text(format!("{}{}", process::render(), gauges(&pool, &Asked::Nothing))));
    let router = Router::new().route("/metrics", get(show)).route("/healthz", get(|| async { "ok\n" }));
    let limits = Limits { connections: WORKER_CONNECTIONS, stall, ..Limits::default() };
    match Door::new(&limits, router).open(&listener).await {}
}

/// Keeps what is gathered from growing while nobody looks.
pub(super) fn keep_up() -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async {
        loop {
            tokio::time::sleep(process::UPKEEP_EVERY).await;
            process::upkeep();
        }
    }))
}
