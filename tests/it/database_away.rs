//! Servers and workers that start before their database is there.

use std::path::Path;

use pare::db::workers;

use crate::support::cluster::{Database, database};
use crate::support::process::{Program, client, pare};
use crate::support::proxy::Proxy;
use crate::support::worker::until;

const PASSWORD: &str = "canary-password-51c2";

/// A database whose address leads through a way that is cut.
struct Away {
    database: Database,
    proxy: Proxy,
    url: String,
    folder: tempfile::TempDir,
}

impl Away {
    async fn new() -> Self {
        let database = database().await;
        let (proxy, url) = Proxy::to_database(&database.pool).await;
        proxy.cut();
        let url = url.replacen("postgres@", &format!("postgres:{PASSWORD}@"), 1);
        Self { database, proxy, url, folder: tempfile::tempdir().unwrap() }
    }

    fn start(&self, arguments: &[&str]) -> Program {
        let [state, store] = folders(self.folder.path());
        let at =
            [("DATABASE_URL", &*self.url), ("STORE_URL", &store), ("PARE_STATE_DIR", &state), ("PARE_LOG", "trace")];
        Program::start(self.folder.path(), arguments, &at)
    }

    /// Waits until it says what it waits for.
    async fn told(&self, program: &Program) {
        let line = until("what it waits for, on its log", async || {
            program.log().lines().find(|line| line.contains("waiting for the database")).map(str::to_owned)
        })
        .await;
        assert!(line.contains(&self.proxy.address) && line.contains("DATABASE_URL"), "{line}");
        assert!(!program.log().contains(PASSWORD), "{}", program.log());
    }
}

/// A state folder, and a store's address.
fn folders(folder: &Path) -> [String; 2] {
    [folder.join("state").display().to_string(), format!("file://{}", folder.join("blobs").display())]
}

// In these two the way must go on while a test waits for the end of a program: hence a second thread.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_its_database_and_then_works() {
    let away = Away::new().await;
    let work = away.start(&["work", "--memory-limit", "1GiB"]);
    away.told(&work).await;
    away.proxy.mend();
    until("a worker's sign of life", async || {
        let seen = workers::list(&away.database.pool).await.unwrap();
        seen.iter().any(|worker| worker.live).then_some(())
    })
    .await;
    assert!(work.log().contains("the database is there"), "{}", work.log());
    assert!(work.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_for_its_database_and_then_answers() {
    let away = Away::new().await;
    let mut server = away.start(&["serve", "--listen", "127.0.0.1:0", "--workers", "0"]);
    away.told(&server).await;
    away.proxy.mend();
    let address = server.address();
    assert_eq!(client().get(format!("{address}/readyz")).send().await.unwrap().status(), 200);
    assert!(server.stop());
}

#[tokio::test]
async fn who_waits_ends_when_asked_to() {
    let away = Away::new().await;
    for arguments in [&["work"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let program = away.start(arguments);
        away.told(&program).await;
        assert!(program.stop(), "{arguments:?}");
    }
    let seen = workers::list(&away.database.pool).await.unwrap();
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_not_waited_for() {
    let (database, folder) = (database().await, tempfile::tempdir().unwrap());
    let url = database.url.replacen("/t_", "/nobodys_", 1);
    assert_ne!(url, database.url);
    let [state, store] = folders(folder.path());
    let at = [("DATABASE_URL", &*url), ("STORE_URL", &store), ("PARE_STATE_DIR", &state)];
    for arguments in [&["work"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let done = pare(arguments, &at);
        let why = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{why}");
        assert!(why.contains("the database can't be opened") && why.contains("does not exist"), "{why}");
    }
}
