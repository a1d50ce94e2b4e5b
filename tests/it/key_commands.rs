//! `pare keys`, and what `pare serve` makes of keys.

use pare::db::DEFAULT_TENANT;
use pare::db::keys::{self, Scope};
use pare::key::Secret;
use sqlx::AssertSqlSafe;

use crate::keys::make;
use crate::support::cluster::{Database, database};
use crate::support::process::{Program, client, pare, said};
use crate::support::worker::until;

const FIRST: [&str; 7] = ["keys", "create", "--name", "first", "--scopes", "read,write,admin", "--if-none"];

async fn status(address: &str, path: &str, key: Option<&str>) -> u16 {
    let mut request = client().get(format!("{address}{path}"));
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
    until("the end of the first key", async || {
        (status(&address, "/v1/models", Some(&first)).await == 401).then_some(())
    })
    .await;
    assert!(server.stop());
    let list = said(&pare(&["keys", "list"], &at));
    assert!(list.contains("first") && list.contains("second") && list.contains("revoked"), "{list}");
}

#[tokio::test]
async fn a_first_key_is_made_where_none_is_taken_and_only_there() {
    let database = database().await;
    let at = [("DATABASE_URL", database.url.as_str())];
    let first = Secret::parse(said(&pare(&FIRST, &at)).trim()).expect("the key and nothing else").id();
    let again = pare(&FIRST, &at);
    assert_eq!(said(&again), "", "a script that reads the key sees that there is none");
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(why.contains(&first.to_string()) && why.contains("'first'"), "{why}");

    // Keys that are not taken any more do not count.
    said(&pare(&["keys", "revoke", &first.to_string()], &at));
    let second = Secret::parse(said(&pare(&FIRST, &at)).trim()).expect("the one before is revoked").id();
    let expire = format!("update api_keys set expires_at = now() where id = '{}'", second.0);
    sqlx::query(AssertSqlSafe(expire)).execute(&database.pool).await.unwrap();
    let third = Secret::parse(said(&pare(&FIRST, &at)).trim()).expect("the one before has expired").id();
    assert!(keys::find(&database.pool, DEFAULT_TENANT, third).await.unwrap().unwrap().is_usable);
    assert_eq!(said(&pare(&FIRST, &at)), "");
}

/// Waits until so many wait for a row of this database.
async fn waiting(database: &Database, many: i64) {
    let query = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and wait_event <> 'advisory'";
    until("whoever waits for a row", async || {
        let found: i64 = sqlx::query_scalar(query).fetch_one(&database.pool).await.unwrap();
        (found == many).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_two_that_come_at_once_one_makes_the_first_key() {
    let database = database().await;
    // No key can be kept while this lasts: both have come as far as they can before either keeps one.
    let mut held = database.pool.begin().await.unwrap();
    sqlx::query("select from tenants for update").execute(&mut *held).await.unwrap();
    let come = || {
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || said(&pare(&FIRST, &[("DATABASE_URL", &url)])))
    };
    let (one, other) = (come(), come());
    waiting(&database, 2).await;
    held.commit().await.unwrap();
    let told = [one.await.unwrap(), other.await.unwrap()];
    assert_eq!(told.iter().filter(|text| Secret::parse(text.trim()).is_some()).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|text| text.is_empty()).count(), 1, "{told:?}");
    let kept: i64 = sqlx::query_scalar("select count(*) from api_keys").fetch_one(&database.pool).await.unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_first_key_waits_for_one_that_is_being_made_in_another_way() {
    let database = database().await;
    let other = make(&database.pool, DEFAULT_TENANT, &[Scope::Read]).await.id();
    // The same once more, not committed yet; the one that was is away.
    let mut making = database.pool.begin().await.unwrap();
    let copy = "insert into api_keys (id, tenant_id, name, key_sha256, scopes)
        select gen_random_uuid(), tenant_id, 'on its way', key_sha256, scopes from api_keys";
    sqlx::query(copy).execute(&mut *making).await.unwrap();
    keys::revoke(&database.pool, DEFAULT_TENANT, other).await.unwrap();
    let url = database.url.clone();
    let come = tokio::task::spawn_blocking(move || pare(&FIRST, &[("DATABASE_URL", &url)]));
    waiting(&database, 1).await;
    making.commit().await.unwrap();
    let told = come.await.unwrap();
    assert_eq!(said(&told), "");
    assert!(String::from_utf8_lossy(&told.stderr).contains("'on its way'"), "{told:?}");
}
