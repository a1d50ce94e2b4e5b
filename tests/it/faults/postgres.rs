//! A private Postgres that restarts under jobs, and servers that find it in a bad state.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};

use pare::db::{self, Pool};
use pare::postgres::{Cluster, DATABASE};
use rustix::process::{Pid, Signal, kill_process};

use super::{all_ended, crashes_and_losses, local};
use crate::postgres::server_pid;
use crate::support::invariants::Fault;
use crate::support::program::{Server, output, pare};
use crate::support::worker::{processes_below, until};

/// Connections to the database that a server runs in a state folder.
pub(super) async fn inside(state_dir: &Path) -> Pool {
    let url = Cluster::url_of_running(state_dir, DATABASE).expect("a cluster that runs");
    db::connect(&url, 3).await.unwrap()
}

fn postmaster(state_dir: &Path) -> Pid {
    Pid::from_raw(server_pid(state_dir).unwrap()).unwrap()
}

/// Asks until Postgres is another process and the server answers. Every answer is 200, or 503 that says when to come
/// again; how many said 503.
async fn back_again(server: &Server, state_dir: &Path, before: Pid) -> u64 {
    let refused = AtomicU64::new(0);
    until("Postgres's return", async || {
        let answer = server.answer("/v1/jobs").await;
        let status = answer.status().as_u16();
        assert!(matches!(status, 200 | 503), "{answer:?}");
        if status == 503 {
            refused.fetch_add(1, Ordering::Relaxed);
            assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
        }
        let is_another = server_pid(state_dir).is_some_and(|pid| pid != before.as_raw_nonzero().get());
        (status == 200 && is_another).then_some(())
    })
    .await;
    refused.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f07_postgres_restarts_under_a_running_job() {
    let folder = tempfile::tempdir().unwrap();
    let (state, scratch) = (folder.path(), folder.path().join("scratch"));
    let server = Server::start(state, &[], &[]);
    let pool = inside(state).await;
    let what = "Postgres under a running job is stopped fast, stopped at once, and killed; each time it comes back";
    let mut fault = Fault::begin("F7", what, &pool).await;
    let mut refused = 0;
    for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
        let (_, job) = server.tickets().await;
        fault.acknowledge(&job);
        let process = until("a job's process", async || processes_below(&scratch).pop()).await;
        // Held still, so that it runs while Postgres is away.
        kill_process(process, Signal::STOP).unwrap();
        let before = postmaster(state);
        kill_process(before, signal).unwrap();
        refused += back_again(&server, state, before).await;
        kill_process(process, Signal::CONT).unwrap();
        server.succeeded(&job).await;
    }
    fault.count("restarts", 3);
    fault.count("requests answered 503", refused);
    all_ended(&pool).await;
    assert_eq!(crashes_and_losses(&pool).await, (0, 0), "jobs went on while it was away");
    fault.held(&pool, &local(state).await).await;
    pool.close().await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_server_starts_over_whatever_the_last_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    // What a first start that was cut off leaves.
    fs::create_dir_all(state.join("postgres/data.new/base")).unwrap();
    fs::write(state.join("postgres/data.new/PG_VERSION"), "15\n").unwrap();
    let mut server = Server::start(state, &[], &[]);
    let what = "a half-made cluster; a second server; kill -9 of the server; of it and Postgres, with a pid file that \
        names a process of somebody else";
    let mut fault = Fault::unwatched("F22", what);
    let pool = inside(state).await;
    fault.watch(&pool).await;
    pool.close().await;

    let second = output(pare("serve", state).args(["--listen", "127.0.0.1:0"]));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("another pare"), "{said}");

    let (_, first) = server.tickets().await;
    fault.acknowledge(&first);
    drop(server); // kill -9; Postgres ends with it, in its own time
    server = Server::start(state, &[], &[]);
    server.succeeded(&first).await;

    let (_, job) = server.tickets().await;
    fault.acknowledge(&job);
    // Postgres can't end cleanly, and its server can't start it again before it is killed too.
    server.signal(Signal::STOP);
    kill_process(postmaster(state), Signal::KILL).unwrap();
    drop(server);
    let mut stranger = stranger(state);
    let server = Server::start(state, &[], &[]);
    for job in [&first, &job] {
        server.succeeded(job).await;
    }
    assert!(stranger.try_wait().unwrap().is_none(), "it is left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let pool = inside(state).await;
    all_ended(&pool).await;
    fault.held(&pool, &local(state).await).await;
    pool.close().await;
    server.stop();
}

/// Somebody else's process of Postgres's account, which the files of the dead server name: its number was given again.
fn stranger(state_dir: &Path) -> Child {
    let data = state_dir.join("postgres/data");
    let socket_dir = fs::read_to_string(data.join("postmaster.pid")).unwrap().lines().nth(4).unwrap().to_owned();
    let mut command = Command::new("sleep");
    command.arg("600");
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(&data).unwrap();
        command.uid(owner.uid()).gid(owner.gid());
    }
    let stranger = command.spawn().unwrap();
    for file in [data.join("postmaster.pid"), Path::new(&socket_dir).join(".s.PGSQL.5432.lock")] {
        let text = fs::read_to_string(&file).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&file, format!("{}\n{rest}", stranger.id())).unwrap();
    }
    stranger
}
