//! Following a job: event streams, and long polls that cost nothing.

use std::time::{Duration, Instant};

use http::Method;
use pare::db::jobs::{self, Claimed, NewJob};
use pare::db::{self, Pool};
use pare::engine::problem::{Code, Problem};
use pare::http::{HostRule, Limits};
use pare::id::JobId;
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::document::{DOCUMENT, validator};

/// A test that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// An event as a client sees it.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: Option<i64>,
    kind: String,
    data: Value,
}

/// An open stream.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(app: &App, id: JobId, last: Option<&str>) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{}/v1/jobs/{id}/events/stream", app.base));
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let event = read(&block);
                if event.is_some() {
                    return event;
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("something comes");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    /// The next event that is a line of the log.
    async fn line(&mut self) -> Option<Event> {
        loop {
            let event = self.next().await?;
            if event.id.is_some() {
                return Some(event);
            }
        }
    }

    async fn rest(mut self) -> Vec<Event> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        lines
    }
}

/// An event; `None` for a comment or what else has no data.
fn read(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = serde_json::from_str(field("data")?).unwrap();
    Some(Event { id: field("id").map(|id| id.parse().unwrap()), kind: field("event").unwrap().to_owned(), data })
}

async fn note(pool: &Pool, claimed: &Claimed, message: &str) {
    let body = json!({ "message": message });
    assert!(jobs::append_event(pool, claimed.job.id, claimed.token, "note", &body).await.unwrap());
}

async fn fail(pool: &Pool, claimed: &Claimed) {
    let problems = [Problem::new("", Code::Internal, "it was a test")];
    let mut tx = pool.begin().await.unwrap();
    assert!(jobs::finish_failed(&mut tx, claimed.job.id, claimed.token, &problems).await.unwrap());
    tx.commit().await.unwrap();
}

async fn paged(app: &App, id: JobId) -> Vec<Value> {
    let page = app.get(&format!("/v1/jobs/{id}/events?limit=200")).await.expect(200).json();
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_log_is_told_as_it_grows_and_ends_with_the_job() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let mut events = Events::open(&app, id, None).await;
    assert_eq!(events.next().await.unwrap().data["body"], json!({"state": "queued"}));
    let claimed = app.claim().await;
    let running = events.next().await.unwrap();
    assert_eq!((running.id, running.kind.as_str()), (Some(2), "state"));
    // neither of the two is hinted at
    note(&app.pool, &claimed, "one\ntwo").await;
    assert_eq!(events.next().await.unwrap().data["body"]["message"], "one\ntwo");
    let progress = json!({"done": 1, "total": 4, "unit": "rows"});
    jobs::heartbeat(&app.pool, id, claimed.token, Some("evaluating"), Some(&progress)).await.unwrap();
    let told = events.next().await.unwrap();
    assert_eq!((told.id, told.kind.as_str()), (None, "progress"));
    assert_eq!(told.data, json!({"phase": "evaluating", "progress": progress}));
    assert!(validator(&DOCUMENT["components"]["schemas"]["JobProgress"]).is_valid(&told.data));
    // whoever comes later is told too
    let mut late = Events::open(&app, id, Some("3")).await;
    assert_eq!(late.next().await.unwrap(), told);
    fail(&app.pool, &claimed).await;
    for mut stream in [events, late] {
        let last = stream.next().await.unwrap();
        assert_eq!((last.id, &last.data["body"]["state"]), (Some(4), &json!("failed")));
        assert_eq!(stream.next().await, None, "nothing comes after the end");
    }
    let all: Vec<Value> = Events::open(&app, id, None).await.rest().await.into_iter().map(|event| event.data).collect();
    assert_eq!(all, paged(&app, id).await);
}

#[tokio::test]
async fn a_client_that_comes_again_gets_what_it_lacks() {
    let app = App::start().await;
    let id = app.finished_job("model.safetensors", b"x").await;
    let numbers = async |last| {
        let lines = Events::open(&app, id, last).await.rest().await;
        lines.into_iter().map(|line| line.id.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(None).await, [1, 2, 3]);
    assert_eq!(numbers(Some("0")).await, [1, 2, 3]);
    assert_eq!(numbers(Some("2")).await, [3]);
    let path = format!("/v1/jobs/{id}/events/stream");
    // nothing is left: 204 makes a browser stop
    app.get_with(&path, &[("last-event-id", "3")]).await.expect(204);
    app.get(&format!("{path}?after=3")).await.expect(204);
    let both = app.get_with(&format!("{path}?after=3"), &[("last-event-id", "2")]).await.expect(200);
    assert!(String::from_utf8_lossy(&both.body).contains("id: 3\n"), "the header goes first");
    for bad in ["", "x", "-1", "1.5", "99999999999999999999", "+1"] {
        let answer = app.get_with(&path, &[("last-event-id", bad)]).await;
        assert_eq!(answer.problem(), (400, "event_id_invalid".to_owned()), "{bad}");
    }
    assert_eq!(app.get(&format!("{path}?after=x")).await.problem(), (400, "query_invalid".to_owned()));
    let missing = app.get(&format!("/v1/jobs/{}/events/stream", JobId::new())).await;
    assert_eq!(missing.problem(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn a_storm_of_listeners_gets_a_long_log_whole() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let claimed = app.claim().await;
    for number in 0..150 {
        note(&app.pool, &claimed, &number.to_string()).await;
    }
    let listeners = (0..120_i64).map(|after| {
        let app = &app;
        async move {
            let events = Events::open(app, id, Some(&after.to_string())).await;
            (after, events.rest().await)
        }
    });
    let all = futures::future::join_all(listeners);
    // ends once all are there: a stream ends with its job alone
    let end = async {
        let mut last = Events::open(&app, id, Some("151")).await;
        assert_eq!(last.line().await.unwrap().id, Some(152));
        fail(&app.pool, &claimed).await;
    };
    let (all, ()) = futures::join!(all, end);
    for (after, lines) in all {
        let numbers: Vec<i64> = lines.iter().filter_map(|line| line.id).collect();
        assert_eq!(numbers, (after + 1..=153).collect::<Vec<_>>(), "after {after}");
    }
}

#[tokio::test]
async fn streams_are_limited() {
    let app = App::with(Limits { streams: 2, ..Limits::default() }, HostRule::Loopback).await;
    let id = app.queued_job().await;
    let (one, _two) = (Events::open(&app, id, None).await, Events::open(&app, id, None).await);
    let path = format!("/v1/jobs/{id}/events/stream");
    let refused = app.get(&path).await;
    assert_eq!(refused.problem(), (503, "too_many_streams".to_owned()));
    assert_eq!(refused.header("retry-after"), "10");
    app.get(&format!("/v1/jobs/{id}")).await.expect(200);
    drop(one);
    // the server notices when it next looks at the connection
    let missing = format!("/v1/jobs/{}/events/stream", JobId::new());
    let started = Instant::now();
    while app.get(&missing).await.status.as_u16() != 404 {
        assert!(started.elapsed() < PATIENCE, "the place of a stream that was left is not given to another");
    }
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let mut app = App::start().await;
    let id = app.queued_job().await;
    let mut events = Events::open(&app, id, None).await;
    assert!(events.next().await.is_some());
    app.stop();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_job_that_is_deleted_ends_its_streams() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let mut events = Events::open(&app, id, None).await;
    assert!(events.next().await.is_some());
    // what no hint tells of
    sqlx::query("delete from jobs where id = $1").bind(id.0).execute(&app.pool).await.unwrap();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_poll_that_waits_hears_of_what_no_hint_tells() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let claimed = app.claim().await;
    let path = format!("/v1/jobs/{id}");
    let tag = app.get(&path).await.expect(200).header("etag").to_owned();
    let headers = [("prefer", "wait=60"), ("if-none-match", tag.as_str())];
    let started = Instant::now();
    let change = jobs::heartbeat(&app.pool, id, claimed.token, Some("compressing"), None);
    let (answer, changed) = futures::join!(app.get_with(&path, &headers), change);
    changed.unwrap();
    assert_eq!(answer.expect(200).json()["phase"], "compressing");
    // far below the minute that it would wait
    assert!(started.elapsed() < Duration::from_secs(30));
}

/// Statements that the database has finished in this database, as far as its statistics know.
async fn transactions(pool: &Pool) -> i64 {
    let query = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn whoever_listens_asks_nothing_while_nothing_happens() {
    const LISTENERS: usize = 150;
    let app = App::start().await;
    let mut ids = vec![app.queued_job().await];
    let first = jobs::find(&app.pool, db::DEFAULT_TENANT, ids[0]).await.unwrap().unwrap();
    for _ in 0..4 {
        let new = NewJob { model_id: first.model_id, recipe_name: first.recipe_name.clone(), ..NewJob::default() };
        let mut tx = app.pool.begin().await.unwrap();
        ids.push(jobs::enqueue(&mut tx, db::DEFAULT_TENANT, &new).await.unwrap().id);
        tx.commit().await.unwrap();
    }
    let mut streams = Vec::new();
    for number in 0..LISTENERS {
        let mut events = Events::open(&app, ids[number % ids.len()], None).await;
        assert!(events.next().await.is_some());
        streams.push(events);
    }
    let paths: Vec<String> = ids.iter().map(|id| format!("/v1/jobs/{id}")).collect();
    let before = transactions(&app.pool).await;
    let started = std::time::Instant::now();
    // time is what is measured: each waits so long
    let waits = (0..LISTENERS).map(|number| app.get_with(&paths[number % paths.len()], &[("prefer", "wait=4")]));
    let answers = futures::future::join_all(waits).await;
    assert!(answers.iter().all(|answer| answer.status.as_u16() == 200));
    let asked = transactions(&app.pool).await - before;
    // each long poll reads when it comes and when it ends, and once if it came before the first look; all share a look a
    // second. One look a second for each would be 1200.
    // A busy machine takes longer over it, and looks as often as the clock says.
    let most = 2 * LISTENERS as i64 + 12 * (started.elapsed().as_secs() as i64 + 1);
    assert!(asked <= most, "{asked} transactions");
    // and when something happens all hear of it
    let cancelled = app.send(Method::POST, &format!("{}/cancel", paths[0]), &[], Vec::new()).await.expect(200);
    assert_eq!(cancelled.json()["state"], "cancelled");
    for events in streams.iter_mut().step_by(ids.len()) {
        assert_eq!(events.line().await.unwrap().data["body"]["state"], "cancelled");
    }
}

#[tokio::test]
async fn a_database_that_goes_away_is_no_end() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let mut events = Events::open(&app, id, None).await;
    assert!(events.next().await.is_some());
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    sqlx::query(kill).execute(&app.pool).await.unwrap();
    let tenant = db::DEFAULT_TENANT;
    // the first of the pool's connections may be dead still
    let started = Instant::now();
    while jobs::cancel(&app.pool, tenant, id).await.is_err() {
        assert!(started.elapsed() < PATIENCE);
    }
    assert_eq!(events.line().await.unwrap().data["body"]["state"], "cancelled");
    assert_eq!(events.next().await, None);
}
