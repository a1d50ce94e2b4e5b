//! `pare keys`, and what `pare serve` makes of keys.

use pare::key::Secret;

use crate::support::cluster::database;
use crate::support::process::{Program, pare, said};

async fn status(address: &str, path: &str, key: Option<&str>) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.get(format!("{address}{path}"));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn keys_are_made_listed_rotated_and_revoked_in_a_named_database() {
    let database = database().await;
    let at = [("DATABASE_URL", database.url.as_str())];
    let made = pare(&["keys", "create", "--name", "build server", "--scopes", "write,read", "--expires", "30"], &at);
    let secret = said(&made).trim().to_owned();
    let parsed = Secret::parse(&secret).expect("standard output is the key and nothing else");
    let id = parsed.id().to_string();
    assert!(String::from_utf8_lossy(&made.stderr).contains(&id));
    assert!(!String::from_utf8_lossy(&made.stderr).contains(&secret));

    let list = said(&pare(&["keys", "list"], &at));
    assert!(list.contains(&id) && list.contains("read,write") && list.contains("build server"), "{list}");
    assert!(!list.contains(&secret[38..]), "{list}");

    let rotated = said(&pare(&["keys", "rotate", &id], &at)).trim().to_owned();
    assert_ne!(rotated, secret);
    assert_eq!(Secret::parse(&rotated).unwrap().id(), parsed.id());
    let kept = pare::db::keys::recognize(&database.pool, parsed.id()).await.unwrap().unwrap();
    assert!(!parsed.is_kept_as(&kept.sha256) && Secret::parse(&rotated).unwrap().is_kept_as(&kept.sha256));

    said(&pare(&["keys", "revoke", &id], &at));
    assert!(said(&pare(&["keys", "list"], &at)).contains("revoked"));
    for arguments in [&["keys", "rotate", &id][..], &["keys", "revoke", "key_0192d7e0-9c5e-7a33-9e3f-4d8a2c6e7f80"]] {
        let refused = pare(arguments, &at);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("pare keys list"));
    }
    for wrong in [&["--name", "", "--scopes", "read"][..], &["--name", "x", "--scopes", "all"], &["--scopes", "read"]] {
        assert_eq!(pare(&[&["keys", "create"], wrong].concat(), &at).status.code(), Some(2), "{wrong:?}");
    }
}

/// One state folder from its first start: refused without a key, served with one, and its keys kept while a server runs
/// and while none does.
#[tokio::test]
async fn keys_belong_to_a_state_folder_whether_a_server_runs_there_or_not() {
    let folder = tempfile::tempdir().unwrap();
    // the database may run as another user
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let state = folder.path().join("state");
    let at = [("PARE_STATE_DIR", state.to_str().unwrap())];
    let serve = ["serve", "--listen", "0.0.0.0:0", "--workers", "0"];

    let refused = pare(&serve, &at);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("pare keys create"), "{why}");

    let first = said(&pare(&["keys", "create", "--name", "first", "--scopes", "read"], &at)).trim().to_owned();
    let mut server = Program::start(folder.path(), &serve, &at);
    let address = server.address().replace("0.0.0.0", "127.0.0.1");
    assert_eq!(status(&address, "/v1/models", None).await, 401);
    assert_eq!(status(&address, "/v1/models", Some(&first)).await, 200);

    let second = said(&pare(&["keys", "create", "--name", "second", "--scopes", "read"], &at)).trim().to_owned();
    assert_eq!(status(&address, "/v1/models", Some(&second)).await, 200);
    let id = Secret::parse(&first).unwrap().id().to_string();
    said(&pare(&["keys", "revoke", &id], &at));
    crate::support::worker::until("the end of the first key", async || {
        (status(&address, "/v1/models", Some(&first)).await == 401).then_some(())
    })
    .await;
    assert!(server.stop());
    let list = said(&pare(&["keys", "list"], &at));
    assert!(list.contains("first") && list.contains("second") && list.contains("revoked"), "{list}");
}
