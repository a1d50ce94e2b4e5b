//! The first start of a service that keeps its own Postgres: killed at many moments, without Postgres, with another one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::program::{Server, output, pare};
use crate::support::worker::write_program;

/// How much later each kill comes.
const LATER: f64 = 1.3;
/// Far more than a first start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a server and kills it after a while; whether it was ready by then.
fn killed_after(state_dir: &Path, after: Duration) -> bool {
    let mut serve = pare("serve", state_dir);
    serve.args(["--listen", "127.0.0.1:0", "--workers", "0", "--log", "error"]);
    let mut child = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (ready, is_ready) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok_and(|length| length > 0) {
            let _ = ready.send(line);
        }
    });
    let was_ready = is_ready.recv_timeout(after).is_ok();
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    was_ready
}

#[tokio::test]
async fn a_first_start_that_is_killed_at_any_moment_is_mended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut after = Duration::from_millis(15);
    let mut kills = 0;
    // Each start finds what the one before it left, however far that had come.
    while !killed_after(&state, after) {
        kills += 1;
        assert!(after < PATIENCE, "it never got ready");
        after = after.mul_f64(LATER);
    }
    assert!(kills >= 5, "{kills} kills came before it was ready");

    let server = Server::start(&state, &["--workers", "0"], &[]);
    assert_eq!(server.get("/readyz").await.0, 200);
    let left: Vec<_> = fs::read_dir(state.join("postgres")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with("data.new")), "{left:?}");
    let (status, rows) = server.upload("/v1/datasets/files", &[("rows.jsonl", b"{\"text\": \"a\"}\n".to_vec())]).await;
    assert_eq!(status, 201, "{rows}");

    // What was acknowledged outlives the whole of it.
    drop(server); // SIGKILL
    let server = Server::start(&state, &["--workers", "0"], &[]);
    let (status, _) = server.get(&format!("/v1/datasets/{}", rows["id"].as_str().unwrap())).await;
    assert_eq!(status, 200);
    server.stop();
}

#[test]
fn without_postgres_one_message_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut serve = pare("serve", &folder.path().join("state"));
    serve.env("PATH", "").arg("--postgres-bin").arg(&empty).args(["--log", "error"]);
    let begin = Instant::now();
    let done = output(&mut serve);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    for part in ["no PostgreSQL server", "Install one (", "DATABASE_URL", &*empty.to_string_lossy()] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(begin.elapsed() < PATIENCE, "it does not wait for one to appear");
}

#[test]
fn the_programs_are_found_by_flag_by_variable_and_on_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("fake/bin");
    fs::create_dir_all(&fake).unwrap();
    // A version that nobody has installed beside it, and that says so when it is asked to make a cluster.
    for (name, does) in [("postgres", "echo 'postgres (PostgreSQL) 18.99'"), ("initdb", "echo found >&2; exit 1")] {
        write_program(&fake.join(name), &format!("#!/bin/sh\n{does}\n"));
    }
    for path in [folder.path(), &folder.path().join("fake"), &fake] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let said = |serve: &mut Command| {
        let done = output(serve.args(["--workers", "0", "--log", "error"]));
        assert!(!done.status.success());
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let flag = said(pare("serve", &folder.path().join("a")).arg("--postgres-bin").arg(&fake));
    let above = said(pare("serve", &folder.path().join("b")).arg("--postgres-bin").arg(folder.path().join("fake")));
    let variable = said(pare("serve", &folder.path().join("c")).env("PARE_POSTGRES_BIN", &fake));
    let path = said(pare("serve", &folder.path().join("d")).env("PATH", &fake));
    for said in [flag, above, variable, path] {
        assert!(said.contains("a new cluster could not be made: found"), "{said}");
    }
    // `pg_config` leads to it as well.
    let wrappers = folder.path().join("wrappers");
    fs::create_dir(&wrappers).unwrap();
    write_program(&wrappers.join("pg_config"), &format!("#!/bin/sh\necho '{}'\n", fake.display()));
    let config = said(pare("serve", &folder.path().join("e")).env("PATH", &wrappers));
    assert!(config.contains("a new cluster could not be made: found"), "{config}");
}

#[tokio::test]
async fn a_cluster_of_another_major_is_refused_with_the_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    Server::start(&state, &["--workers", "0"], &[]).stop();
    let version = state.join("postgres/data/PG_VERSION");
    let own = fs::read_to_string(&version).unwrap();
    fs::write(&version, "13\n").unwrap();
    let done = output(pare("serve", &state).args(["--log", "error"]));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success(), "{said}");
    for part in ["PostgreSQL 13", "pare backup", "pare restore"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    fs::write(&version, own).unwrap();
    Server::start(&state, &["--workers", "0"], &[]).stop();
}
