//! What a job's process can reach: its folder, and nothing else.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pare::db::jobs::JobState;
use pare::db::workers;
use pare::worker::{Config, Sandbox};
use serde_json::{Value, json};

use crate::support::cluster::PARE;
use crate::support::program::{Server, output, pare};
use crate::support::worker::{Bench, rows, until, write_program};

/// Runs the probe as a worker does, in a folder beside which the canary lies.
fn probe(place: &Path) -> Output {
    let folder = place.join("job");
    fs::create_dir_all(folder.join("in")).unwrap();
    fs::create_dir_all(folder.join("work")).unwrap();
    fs::write(folder.join("in/0"), "given").unwrap();
    fs::write(place.join("canary"), "secret").unwrap();
    let mut probe = Command::new(PARE);
    probe.args(["run-job", "--parent", &std::process::id().to_string(), "--probe", "--"]).arg(&folder);
    probe.env_clear().stdin(Stdio::null()).output().unwrap()
}

/// Whether this machine's kernel has all that a sandbox needs; said aloud where it does not.
fn kernel_can() -> bool {
    let sandbox = Sandbox::probe(Path::new(PARE), &std::env::temp_dir().join("pare-test-probe"));
    if sandbox.landlock_version == 0 || !sandbox.seccomp {
        eprintln!("skipped: {}", sandbox.gaps());
        return false;
    }
    true
}

// The parent-death signal follows the thread that starts a process: so no blocking pool, and no async test.
#[test]
fn a_jobs_process_reaches_nothing_but_its_folder() {
    if !kernel_can() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let done = probe(place.path());
    assert!(done.status.success(), "{done:?}");
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(found["reached"], json!([]), "{found}");
    assert_eq!(found["missing"], json!([]), "{found}");
    // What it tried can be done: each of these is a door that was shut, and not a wall.
    let before: HashSet<&str> =
        found["open_before"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in [
        "read a file outside its folder",
        "write to a file outside its folder",
        "list a folder outside its own",
        "make a file outside its folder",
        "change the mode of a file outside its folder",
        "write to its input",
        "make a link",
        "read the worker's environment",
        "signal the worker",
        "take hold of the worker",
        "reach a TCP port",
        "open a UDP port",
        "reach a Unix socket",
        "make a pair of sockets",
        "start a program",
    ] {
        assert!(before.contains(name), "'{name}' was not tried: {found}");
    }
    assert_eq!(fs::read_to_string(place.path().join("canary")).unwrap(), "secret");
    // The last thing that it does is to become another program, which must not work.
    assert!(!String::from_utf8_lossy(&done.stdout).contains("pare 0"), "{done:?}");
}

#[test]
fn no_port_is_reached_even_where_someone_listens() {
    if !kernel_can() {
        return;
    }
    // A port of its own: others probe at the same time
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("port"), listener.local_addr().unwrap().port().to_string()).unwrap();
    let done = probe(place.path());
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(found["reached"], json!([]), "{found}");
    assert!(listener.accept().is_ok(), "it tried before it was confined");
    assert!(listener.accept().is_err(), "and could not afterwards");
}

#[tokio::test]
async fn the_kernel_says_of_a_job_that_runs_what_it_is_held_to() {
    if !tokio::task::spawn_blocking(kernel_can).await.unwrap() {
        return;
    }
    let bench = Bench::new().await;
    let sandbox = Sandbox::default();
    let worker = bench.start(Config { require_sandbox: true, sandbox, ..bench.config() });
    let id = bench.submit(rows(300_000)).await;
    let pid = bench.process(None).await;
    let of_process = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok();
    // The last thing that it gives up.
    let limits = until("the confinement", async || {
        let limits = of_process("limits")?;
        let bounded =
            |line: &str| line.starts_with("Max file size") && !line.contains("Max file size             unlimited");
        limits.lines().any(bounded).then_some(limits)
    })
    .await;
    let status = of_process("status").unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max core file size"), "0");
    assert!(limit("Max open files").parse::<u64>().unwrap() <= 4096);
    assert!(limit("Max file size").parse::<u64>().unwrap() >= 256 << 20);
    let job = bench.end_of(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Succeeded, 1), "{:?}", job.error);
    worker.stop().await;
}

#[tokio::test]
async fn a_real_job_runs_in_it_and_workers_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let require: &[&str] =
        if tokio::task::spawn_blocking(kernel_can).await.unwrap() { &["--require-sandbox"] } else { &[] };
    let server = Server::start(&folder.path().join("state"), require, &[]);
    let (_, job) = server.tickets().await;
    server.succeeded(&job).await;
    let (_, report) = server.get(&format!("/v1/jobs/{job}/report")).await;
    let provenance = report["provenance"].to_string();
    assert!(!provenance.contains("\"cpu\":\"unknown\""), "what the kernel's files say was read before: {provenance}");
    server.stop();
}

#[tokio::test]
async fn what_the_kernel_lacks_is_said_and_can_be_refused() {
    // A program whose probe finds a gap.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("gaps");
    let found = json!({"landlock_version": 0, "seccomp": true, "missing": ["no landlock"], "reached": []});
    write_program(&program, &format!("#!/bin/sh\necho '{found}'\n"));
    let scratch: PathBuf = folder.path().join("scratch");
    let sandbox = Sandbox::probe(&program, &scratch);
    assert!(!sandbox.is_whole());
    assert_eq!(sandbox.gaps(), "no landlock");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left of it");
    let broken = Sandbox::probe(Path::new("/bin/false"), &scratch);
    assert!(!broken.is_whole() && broken.gaps().contains("could not be tried out"), "{}", broken.gaps());

    // A worker tells everyone.
    let bench = Bench::new().await;
    let worker = bench.start(Config { sandbox, ..bench.config() });
    let told = until("the worker's first word", async || workers::list(bench.pool()).await.unwrap().pop()).await;
    assert_eq!(told.beat.capabilities["sandbox"]["missing"], json!(["no landlock"]));
    worker.stop().await;
}

#[test]
fn require_sandbox_is_a_setting() {
    // Without a sandbox to be had it would refuse; with one it goes on to the next thing that is wrong here.
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut serve = pare("serve", &folder.path().join("state"));
    serve.arg("--postgres-bin").arg(&empty).env("PATH", "").env("PARE_REQUIRE_SANDBOX", "1");
    let said = String::from_utf8_lossy(&output(&mut serve).stderr).into_owned();
    let expected = if kernel_can() { "no PostgreSQL server" } else { "--require-sandbox" };
    assert!(said.contains(expected), "{said}");
}
