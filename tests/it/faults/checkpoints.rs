//! Jobs that go on from where an earlier attempt was, and those that can't.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use pare::db::blobs;
use pare::db::jobs::{self, JobState};
use pare::http::{HostRule, Limits};
use pare::id::JobId;
use pare::store::{Digest, Store};
use pare::telemetry::metrics;

use super::publishing::closed;
use super::{crashes_and_losses, let_leases_run_out};
use crate::support::app::App;
use crate::support::faulty::{Faulty, Strike};
use crate::support::invariants::Fault;
use crate::support::puppet::{Puppet, file, line};
use crate::support::worker::{Bench, config, rows, start, until};

const ONE: &str = "block one";
const TWO: &str = "block two";

/// The step and the names of what the next attempt would be given.
async fn kept(bench: &Bench, id: JobId) -> Option<(u64, Vec<String>)> {
    let found = jobs::checkpoint(bench.pool(), id).await.unwrap()?;
    Some((found.step, found.files.into_iter().map(|file| file.path).collect()))
}

async fn published(bench: &Bench, id: JobId, step: u64) {
    until("a checkpoint", async || kept(bench, id).await.filter(|(found, _)| *found == step)).await;
}

async fn notes(bench: &Bench, id: JobId) -> Vec<String> {
    let events = jobs::events(bench.pool(), id, 0, 1000).await.unwrap();
    let notes = events.into_iter().filter(|line| line.kind == "note");
    notes.map(|line| line.body["message"].as_str().unwrap().to_owned()).collect()
}

/// A counter of this process, which other tests add to as well.
fn counted(name: &str) -> u64 {
    let text = metrics::render();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or(0)
}

const FENCED: &str = "pare_fenced_writes_total{write=\"checkpoint\"}";
const MISSED: &str = "pare_checkpoints_total{what=\"missed\"}";
const REFUSED: &str = "pare_checkpoints_total{what=\"refused\"}";
const RESUMED: &str = "pare_checkpoints_total{what=\"resumed\"}";
const PUBLISHED: &str = "pare_checkpoints_total{what=\"published\"}";

#[tokio::test]
async fn f02_a_job_whose_process_was_killed_goes_on_from_its_last_checkpoint() {
    let bench = Bench::new().await;
    let what = "kill -9 of a job's process right after it told of its second checkpoint";
    let mut fault = Fault::begin("F2", what, bench.pool()).await;
    let puppet = Puppet::new(&bench);
    puppet.life(1, "keep block-1 'block one'; say first; keep block-2 'block two'; say second; die");
    puppet.life(2, "/bin/cat in/kept-0 in/kept-1 > \"$BOX/given\"");
    let (resumed, before) = (counted(RESUMED), counted(PUBLISHED));
    let worker = bench.start(puppet.on(bench.config()));
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    let input = puppet.input(1).await;
    assert_eq!(input.checkpoint, None);
    let key = puppet.key(&input);
    puppet.tell("first", &line(1, &key, &[file("block-1", ONE)]));
    published(&bench, id, 1).await;
    let app = App::over(bench.pool().clone(), bench.store.clone(), Limits::default(), HostRule::Loopback).await;
    let usage = app.get("/v1/usage").await.expect(200).json();
    assert_eq!((&usage["intermediate"]["count"], &usage["intermediate"]["size_bytes"]), (&1.into(), &9.into()));
    let rows = jobs::files(bench.pool(), pare::db::DEFAULT_TENANT, id).await.unwrap();
    app.get(&format!("/v1/artifacts/{}/content", rows[0].id)).await.expect(404);

    puppet.tell("second", &line(2, &key, &[file("block-1", ONE), file("block-2", TWO)]));
    let given = puppet.input(2).await.checkpoint.expect("what the first attempt left");
    assert_eq!((given.step, &given.key), (2, &key));
    let files: Vec<_> = given.files.into_iter().map(|given| given.file).collect();
    assert_eq!(files, [file("block-1", ONE), file("block-2", TWO)]);
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 2, 1), "{:?}", job.error);
    assert_eq!(puppet.left("given"), format!("{ONE}{TWO}").as_bytes());
    assert_eq!(notes(&bench, id).await.iter().filter(|note| *note == "goes on from step 2").count(), 1);
    let events = app.get(&format!("/v1/jobs/{id}/events")).await.expect(200).json();
    let steps: Vec<_> = events["data"].as_array().unwrap().iter().filter(|line| line["kind"] == "checkpoint").collect();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[1]["body"], serde_json::json!({"step": 2, "files": 2, "size_bytes": 18}));

    assert_eq!(kept(&bench, id).await, None);
    let usage = app.get("/v1/usage").await.expect(200).json();
    assert_eq!((&usage["intermediate"]["count"], &usage["collectable_bytes"]), (&0.into(), &18.into()), "{usage}");
    assert!(counted(RESUMED) > resumed && counted(PUBLISHED) >= before + 2);
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

/// The second attempt adds to what it was given, the third is given both: on three workers, of which one vanishes and one
/// is told to end.
#[tokio::test]
async fn f01_another_worker_goes_on_from_there() {
    let bench = Bench::new().await;
    let what = "a worker vanishes after its job's first checkpoint, another is told to end after the second";
    let mut fault = Fault::begin("F1", what, bench.pool()).await;
    let puppet = Puppet::new(&bench);
    puppet.life(1, "keep block-1 'block one'; say first; await never");
    puppet.life(2, "keep block-2 'block two'; say second; await never");
    let first = bench.start(puppet.on(bench.config()));
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    let key = puppet.key(&puppet.input(1).await);
    puppet.tell("first", &line(1, &key, &[file("block-1", ONE)]));
    published(&bench, id, 1).await;
    first.vanish().await;
    let_leases_run_out(bench.pool()).await;

    let elsewhere = |name| puppet.on(config(bench.folder.path().join(name)));
    let second = start(bench.pool(), &bench.store, elsewhere("second"));
    let given = puppet.input(2).await.checkpoint.expect("what the first one left");
    assert_eq!((given.step, given.files.len()), (1, 1));
    puppet.tell("second", &line(2, &key, &[file("block-1", ONE), file("block-2", TWO)]));
    published(&bench, id, 2).await;
    second.stop().await;
    let job = bench.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 1), "it was given back uncounted");

    let third = start(bench.pool(), &bench.store, elsewhere("third"));
    let given = puppet.input(3).await.checkpoint.expect("what both left");
    let names: Vec<_> = given.files.iter().map(|given| given.file.name.as_str()).collect();
    assert_eq!((given.step, &names[..]), (2, &["block-1", "block-2"][..]));
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", job.error);
    assert_eq!(crashes_and_losses(bench.pool()).await, (0, 1));
    assert!(notes(&bench, id).await.contains(&"goes on from step 2".to_owned()));
    third.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f03_a_worker_whose_job_was_taken_away_publishes_no_checkpoint() {
    let bench = Bench::new().await;
    let what = "a lease goes to another while the first worker's process tells of a checkpoint";
    let mut fault = Fault::begin("F3", what, bench.pool()).await;
    let puppet = Puppet::new(&bench);
    puppet.life(1, "keep block-1 'block one'; say first; keep block-2 'block two'; say second; await never");
    let mut slow = puppet.on(bench.config());
    // It does not find out by itself.
    slow.timing.heartbeat = Duration::from_hours(1);
    let late = bench.start(slow);
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    let key = puppet.key(&puppet.input(1).await);
    puppet.tell("first", &line(1, &key, &[file("block-1", ONE)]));
    published(&bench, id, 1).await;
    let fenced = counted(FENCED);
    for query in
        ["update job_leases set token = $1 where job_id = $2", "update jobs set lease_token = $1 where id = $2"]
    {
        sqlx::query(query).bind(uuid::Uuid::nil()).bind(id.0).execute(bench.pool()).await.unwrap();
    }
    puppet.tell("second", &line(2, &key, &[file("block-1", ONE), file("block-2", TWO)]));
    until("a refused write", async || (counted(FENCED) > fenced).then_some(())).await;
    assert_eq!(kept(&bench, id).await, Some((1, vec!["block-1".to_owned()])));
    let mut conn = bench.pool().acquire().await.unwrap();
    let two = Digest::of(TWO.as_bytes()).to_string();
    assert!(!blobs::exists(&mut conn, &two).await.unwrap(), "nor are its bytes told of");
    drop(conn);
    late.vanish().await;
    let_leases_run_out(bench.pool()).await;
    let worker = bench.start(puppet.on(bench.config()));
    assert_eq!(puppet.input(2).await.checkpoint.expect("what was published").step, 1);
    assert_eq!(bench.end_of(id).await.state, JobState::Succeeded);
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

/// Harms the one blob of a checkpoint, kills its process, and says what the next attempt notes.
async fn after(what: &'static str, harm: impl AsyncFn(&Bench, &Digest)) -> String {
    let bench = Bench::new().await;
    let mut fault = Fault::begin("F10", what, bench.pool()).await;
    let puppet = Puppet::new(&bench);
    puppet.life(1, "keep block-1 'block one'; say first; await harm; die");
    let worker = bench.start(puppet.on(bench.config()));
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    let key = puppet.key(&puppet.input(1).await);
    puppet.tell("first", &line(1, &key, &[file("block-1", ONE)]));
    published(&bench, id, 1).await;
    harm(&bench, &Digest::of(ONE.as_bytes())).await;
    puppet.tell("harm", "");
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 2), "{:?}", job.error);
    let notes = notes(&bench, id).await;
    assert!(!notes.iter().any(|note| note.starts_with("goes on")), "{notes:?}");
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
    notes.into_iter().find(|note| note.contains("begins anew")).expect("it says so")
}

#[tokio::test]
async fn f10_a_checkpoint_that_is_damaged_is_not_used() {
    let note = after("a byte of a checkpoint is another one in the store", async |bench: &Bench, digest: &Digest| {
        let blob = bench.folder.path().join("store/blobs").join(digest.path());
        fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(blob, "block two").unwrap();
    })
    .await;
    assert!(note.contains("'block-1' is damaged"), "{note}");
}

#[tokio::test]
async fn f10_a_checkpoint_that_is_not_there_is_not_used() {
    let note = after("a checkpoint is gone from the store", async |bench: &Bench, digest: &Digest| {
        bench.store.delete(digest).await.unwrap();
    })
    .await;
    assert!(note.contains("the store lacks a file of it"), "{note}");
}

#[tokio::test]
async fn f10_a_store_or_database_that_is_away_costs_the_checkpoint_and_not_the_job() {
    let faulty = Arc::new(Faulty::default());
    let mut bench = Bench::new().await;
    bench.store = Store::over(faulty.clone(), "p");
    let what = "an object store that is away at a checkpoint, and rows that are locked at the next one";
    let mut fault = Fault::begin("F10", what, bench.pool()).await;
    let puppet = Puppet::new(&bench);
    puppet.life(1, "keep block-1 'block one'; say first; say second; keep block-2 'block two'; say third; await end");
    let mut hasty = puppet.on(bench.config());
    hasty.timing.answer = Duration::from_secs(1);
    let worker = bench.start(hasty);
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    let key = puppet.key(&puppet.input(1).await);
    let missed = counted(MISSED);
    faulty.strike(Strike::Away, u32::MAX);
    puppet.tell("first", &line(1, &key, &[file("block-1", ONE)]));
    until("a miss", async || (counted(MISSED) > missed).then_some(())).await;
    faulty.strike(Strike::Away, 0);
    let lock = closed(bench.pool()).await;
    let missed = counted(MISSED);
    puppet.tell("second", &line(2, &key, &[file("block-1", ONE)]));
    until("another miss", async || (counted(MISSED) > missed).then_some(())).await;
    lock.rollback().await.unwrap();
    assert_eq!(kept(&bench, id).await, None);
    assert_eq!(bench.job(id).await.state, JobState::Running);
    puppet.tell("third", &line(3, &key, &[file("block-1", ONE), file("block-2", TWO)]));
    published(&bench, id, 3).await;
    puppet.tell("end", "");
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 1, 0), "{:?}", job.error);
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

#[tokio::test]
async fn f21_what_a_hostile_process_says_of_checkpoints_is_refused_without_harm() {
    let bench = Bench::new().await;
    let what = "a process that tells of checkpoints which are none: paths, links, other bytes, too many, too large";
    let mut fault = Fault::begin("F21", what, bench.pool()).await;
    let puppet = Puppet::new(&bench);
    let secret = bench.folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let key = Digest::of(b"k").to_string();
    let told = |files: &[_]| line(1, &key, files);
    let many: Vec<_> = (0..400).map(|i| file(&format!("{i}"), "")).collect();
    let refused = [
        told(&[file("../../../secret", "secret")]),
        told(&[file(secret.to_str().unwrap(), "secret")]),
        told(&[file("link", "secret")]),
        told(&[file("folder", "")]),
        told(&[file("good", "evil")]),
        told(&[file("good", "good"), file("good", "good")]),
        told(&many),
        told(&[pare::engine::checkpoint::KeptFile { size_bytes: u64::MAX, ..file("good", "good") }]),
        line(0, &key, &[file("good", "good")]),
        line(1, "no key", &[file("good", "good")]),
    ];
    let says: String = (0..refused.len()).map(|i| format!("say {i}; ")).collect();
    let link = format!("/bin/ln -s '{}' work/checkpoint/link; /bin/mkdir work/checkpoint/folder", secret.display());
    puppet.life(1, &format!("keep good 'good'; {link}; {says} say huge; say good; await end"));
    let worker = bench.start(puppet.on(bench.config()));
    let id = bench.submit(rows(3)).await;
    fault.acknowledge(&id);
    puppet.input(1).await;
    for (number, told) in refused.iter().enumerate() {
        let before = counted(REFUSED);
        puppet.tell(&number.to_string(), told);
        until("a refusal", async || (counted(REFUSED) > before).then_some(())).await;
        assert_eq!(kept(&bench, id).await, None, "{told}");
    }
    // Too long to be read, or no checkpoint at all; what comes after it is heard.
    let huge: Vec<_> = (0..10_000).map(|i| file(&format!("{i}"), "")).collect();
    let nonsense = "{\"type\":\"checkpoint\"}\n{\"type\":\"checkpoint\",\"step\":-1,\"key\":7,\"files\":{}}\n";
    puppet.tell("huge", &(told(&huge) + nonsense));
    puppet.tell("good", &told(&[file("good", "good")]));
    published(&bench, id, 1).await;
    puppet.tell("end", "");
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (JobState::Succeeded, 1, 0), "{:?}", job.error);
    let notes = notes(&bench, id).await;
    let said: Vec<_> = notes.iter().filter(|note| note.contains("refused")).collect();
    assert!(said.len() == 1 && said[0].contains("\"../../../secret\" is not the name"), "{notes:?}");
    for text in ["secret", "evil", ""] {
        assert!(bench.store.size_bytes(&Digest::of(text.as_bytes())).await.is_err(), "'{text}' is in the store");
    }
    fault.count("lines refused", refused.len() as u64);
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}
