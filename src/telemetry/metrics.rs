//! What can be measured of a running process, for Prometheus. Every name and label stands here; labels are from short
//! lists (routes, kinds, states), never ids.
//!
//! Counters are the process's own. What is the same for all processes (jobs, the queue) is asked of the database when
//! someone looks: see `http`'s `/metrics`.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the classes of durations: from an answer out of memory to a long poll, from a check to a long job.
const SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting; a second call changes nothing. What is counted before is lost.
pub fn start() -> &'static PrometheusHandle {
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        // refused only without bounds
        let builder =
            builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS).unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // taken already by a library's user, who then sees ours there
        let _ = metrics::set_global_recorder(recorder);
        describe();
        gauge!("pare_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    })
}

fn describe() {
    describe_gauge!("pare_build_info", "Always 1; the label names the version.");
    describe_counter!("pare_http_requests_total", "Requests answered, by route, method and class of status.");
    describe_histogram!(
        "pare_http_request_duration_seconds",
        Unit::Seconds,
        "From the head of a request to the head of its answer; long polls wait on purpose."
    );
    describe_counter!("pare_http_received_bytes_total", Unit::Bytes, "Bytes read from connections.");
    describe_counter!("pare_http_sent_bytes_total", Unit::Bytes, "Bytes written to connections.");
    describe_gauge!("pare_http_event_streams", "Clients that listen to a job's events now.");
    describe_counter!("pare_claims_total", "Jobs that workers of this process took from the queue, by kind.");
    describe_counter!("pare_attempts_total", "Attempts that ended in this process, by kind and ending.");
    describe_histogram!(
        "pare_attempt_duration_seconds",
        Unit::Seconds,
        "From the claim of a job to the end of the attempt, by kind."
    );
    describe_counter!("pare_job_crashes_total", "Processes of jobs that died, by kind.");
    describe_counter!("pare_lease_losses_total", "Leases that this process lost while a job ran.");
    describe_counter!(
        "pare_fenced_writes_total",
        "Writes of a worker that matched no row, since its job was another's by then."
    );
    describe_counter!(
        "pare_checkpoints_total",
        "Checkpoints of jobs: published, resumed from, missed since something was away, refused."
    );
    describe_counter!("pare_store_errors_total", "Failures of the blob store, by what failed.");
    describe_counter!("pare_db_unavailable_total", "Statements that found no database, or no free connection in time.");
}

/// The counters as Prometheus reads them.
pub fn render() -> String {
    start().render()
}

/// Lets go of what was gathered for histograms, which grows until somebody looks. To be called from time to time.
pub fn upkeep() {
    start().run_upkeep();
}

/// How often [`upkeep`] is due.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// A request was answered. `route` is a template, `class` is `2xx` and the like.
pub fn request_answered(method: &'static str, route: String, class: &'static str, duration: Duration) {
    counter!("pare_http_requests_total", "method" => method, "route" => route.clone(), "status" => class).increment(1);
    histogram!("pare_http_request_duration_seconds", "method" => method, "route" => route).record(duration);
}

/// Bytes came in.
pub fn received(bytes: usize) {
    static COUNTER: LazyLock<Counter> = LazyLock::new(|| {
        start();
        counter!("pare_http_received_bytes_total")
    });
    COUNTER.increment(bytes as u64);
}

/// Bytes went out.
pub fn sent(bytes: usize) {
    static COUNTER: LazyLock<Counter> = LazyLock::new(|| {
        start();
        counter!("pare_http_sent_bytes_total")
    });
    COUNTER.increment(bytes as u64);
}

/// A client that listens to events, for as long as this value lives.
#[derive(Debug)]
pub struct EventStream(());

impl EventStream {
    /// One more.
    #[must_use]
    pub fn open() -> Self {
        Self::count().increment(1.0);
        Self(())
    }

    fn count() -> Gauge {
        gauge!("pare_http_event_streams")
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        Self::count().decrement(1.0);
    }
}

/// A job was claimed.
pub fn job_claimed(kind: &'static str) {
    counter!("pare_claims_total", "kind" => kind).increment(1);
}

/// An attempt ended, `done`, `failed`, `crashed`, ….
pub fn attempt_ended(kind: &'static str, ending: &'static str, duration: Duration) {
    counter!("pare_attempts_total", "kind" => kind, "ending" => ending).increment(1);
    histogram!("pare_attempt_duration_seconds", "kind" => kind).record(duration);
    if ending == "crashed" {
        counter!("pare_job_crashes_total", "kind" => kind).increment(1);
    }
}

/// A lease was lost while its job ran.
pub fn lease_lost() {
    counter!("pare_lease_losses_total").increment(1);
}

/// A worker's write matched no row: `end`, `heartbeat`, `event` or `checkpoint`.
pub fn write_fenced(write: &'static str) {
    counter!("pare_fenced_writes_total", "write" => write).increment(1);
}

/// A checkpoint was `published`; a job was `resumed` from one; one was `missed`, since store, database or disk did not take
/// it, or `refused`, since its process told what is not so.
pub fn checkpoint(what: &'static str) {
    counter!("pare_checkpoints_total", "what" => what).increment(1);
}

/// The blob store failed: `full`, `unavailable`, `corrupt`, `io`.
pub fn store_failed(what: &'static str) {
    counter!("pare_store_errors_total", "error" => what).increment(1);
}

/// The database could not be had: `no_connection` where the pool had none in time, else `unreachable`.
pub fn database_unavailable(why: &'static str) {
    counter!("pare_db_unavailable_total", "why" => why).increment(1);
}
