//! The private cluster's supervisor, against real servers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pare::postgres::{Cluster, DATABASE, Error};
use sqlx::{Connection, PgConnection};

use crate::support::cluster::{PARE, config};

/// Tells the test below which folder to hold a cluster in.
const HOLD: &str = "PARE_TEST_HOLD_CLUSTER_IN";

/// Far more than any of these takes: a failure then says what was waited for.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect(&cluster.url(DATABASE)).await.unwrap()
}

async fn keep_a_row(cluster: &Cluster) {
    let mut conn = connect(cluster).await;
    sqlx::raw_sql("create table kept (n integer); insert into kept values (42)").execute(&mut conn).await.unwrap();
}

async fn kept_row(cluster: &Cluster) -> i32 {
    sqlx::query_scalar("select n from kept").fetch_one(&mut connect(cluster).await).await.unwrap()
}

/// The server's process, while the cluster's folder names one.
pub(crate) fn server_pid(state_dir: &Path) -> Option<i32> {
    fs::read_to_string(state_dir.join("postgres/data/postmaster.pid")).ok()?.lines().next()?.parse().ok()
}

/// Folders of clusters that were never finished.
fn unfinished(state_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state_dir.join("postgres")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("data.new")).collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Not a test of its own: what `hold_cluster` runs in another process.
#[tokio::test]
#[ignore = "runs as a process of another test"]
async fn holds_a_cluster() {
    let Some(state_dir) = std::env::var_os(HOLD) else { return };
    let cluster = Cluster::start(config(state_dir.into())).await.unwrap();
    keep_a_row(&cluster).await;
    println!("holding");
    std::future::pending::<()>().await;
}

/// Another process that holds a cluster in `state_dir`, with a row in it.
fn hold_cluster(state_dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::holds_a_cluster", "--ignored", "--nocapture"])
        .env(HOLD, state_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let held = stdout.lines().map_while(Result::ok).any(|line| line.contains("holding"));
    assert!(held, "the other process did not start its cluster");
    child
}

#[tokio::test]
async fn a_restart_keeps_rows_and_a_second_instance_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    keep_a_row(&cluster).await;
    match Cluster::start(config(state.path().into())).await {
        Err(error @ Error::Locked { .. }) => assert!(error.to_string().contains("another pare"), "{error}"),
        other => panic!("a second instance was not refused: {other:?}"),
    }
    assert_eq!(kept_row(&cluster).await, 42, "the refused instance must leave the first one alone");
    cluster.stop().await.unwrap();
    assert_eq!(server_pid(state.path()), None, "a clean stop leaves no pid file");

    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    assert_eq!(kept_row(&cluster).await, 42);
    let listening: String =
        sqlx::query_scalar("show listen_addresses").fetch_one(&mut connect(&cluster).await).await.unwrap();
    assert_eq!(listening, "", "no port is open");
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut connect(&cluster).await).await.unwrap();
    assert_eq!(fsync, "on");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_parent_takes_its_server_along_and_loses_no_row() {
    let state = tempfile::tempdir().unwrap();
    let mut parent = hold_cluster(state.path());
    let server = server_pid(state.path()).unwrap();
    parent.kill().unwrap(); // SIGKILL
    parent.wait().unwrap();
    wait_until("the server's end", || server_pid(state.path()) != Some(server));

    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    assert_eq!(kept_row(&cluster).await, 42);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_right_after_parent_and_server_were_killed_recovers() {
    let state = tempfile::tempdir().unwrap();
    let mut parent = hold_cluster(state.path());
    let server = server_pid(state.path()).unwrap();
    let server = rustix::process::Pid::from_raw(server).unwrap();
    // The server first, so that it can't end cleanly; then its parent, which so can't start it again.
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    assert_eq!(kept_row(&cluster).await, 42);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_orphan_on_our_cluster_is_ended_on_start() {
    let state = tempfile::tempdir().unwrap();
    // Open for the account that the orphan runs as, so that it needs no help to get there.
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    keep_a_row(&cluster).await;
    let server = server_pid(state.path()).unwrap();
    let program = fs::read_link(format!("/proc/{server}/exe")).unwrap();
    cluster.stop().await.unwrap();

    let data = state.path().join("postgres/data");
    let owner = fs::metadata(&data).unwrap();
    let mut orphan = Command::new(program);
    orphan.arg("-D").arg(&data).arg("-k").arg(&data).args(["-c", "listen_addresses="]);
    if rustix::process::geteuid().is_root() {
        orphan.uid(owner.uid()).gid(owner.gid());
    }
    let mut orphan = orphan.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(orphan.id()).unwrap();
    wait_until("the orphan's start", || {
        server_pid(state.path()) == Some(pid)
            && fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|file| file.contains("ready"))
    });
    let collector = std::thread::spawn(move || orphan.wait().unwrap());

    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    assert!(collector.join().unwrap().success(), "the orphan was ended, and cleanly");
    assert_eq!(kept_row(&cluster).await, 42);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_half_made_cluster_is_made_anew() {
    let state = tempfile::tempdir().unwrap();
    let half = state.path().join("postgres/data.new/base");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("1"), "half").unwrap();
    fs::write(state.path().join("postgres/data.new/PG_VERSION"), "15\n").unwrap();
    fs::create_dir_all(state.path().join("postgres/data.new.0199/base")).unwrap();
    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    keep_a_row(&cluster).await;
    assert_eq!(unfinished(state.path()), Vec::<PathBuf>::new());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn root_lends_the_server_another_account_even_in_a_closed_folder() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let long = state.path().join("a-long-name-".repeat(10));
    fs::create_dir(&long).unwrap();
    let cluster = Cluster::start(config(long.clone())).await.unwrap();
    keep_a_row(&cluster).await;
    let server = server_pid(&long).unwrap();
    let owner = fs::metadata(format!("/proc/{server}")).unwrap().uid();
    assert_ne!(owner, 0, "Postgres does not run as root");
    assert_eq!(owner, fs::metadata(long.join("postgres/data")).unwrap().uid());
    cluster.stop().await.unwrap();
    let cluster = Cluster::start(config(long)).await.unwrap();
    assert_eq!(kept_row(&cluster).await, 42);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_killed_comes_back_at_the_same_address() {
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    keep_a_row(&cluster).await;
    let server = rustix::process::Pid::from_raw(server_pid(state.path()).unwrap()).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    let begin = Instant::now();
    while PgConnection::connect(&cluster.url(DATABASE)).await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "the server did not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(kept_row(&cluster).await, 42);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_what_its_log_says() {
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(config(state.path().into())).await.unwrap();
    cluster.stop().await.unwrap();
    fs::write(state.path().join("postgres/data/postgresql.auto.conf"), "no_such_setting = 1\n").unwrap();
    let error = Cluster::start(config(state.path().into())).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[test]
fn the_helper_refuses_to_serve_a_parent_that_is_gone() {
    let output = Command::new(PARE).args(["run-postgres", "--parent", "1", "--", "/bin/true"]).output().unwrap();
    assert!(!output.status.success(), "process 1 is not its parent");
    let missing = PathBuf::from("/no/such/program");
    let output = Command::new(PARE)
        .args(["run-postgres", "--parent", &std::process::id().to_string(), "--"])
        .arg(&missing)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/program"));
}
