//! Workers that die between storing a job's files and telling of them.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use pare::db::Pool;
use pare::store::Store;

use super::{all_ended, local};
use crate::support::cluster::database;
use crate::support::invariants::Fault;
use crate::support::program::{Server, Worker};
use crate::support::worker::{self, Bench, rows, until};

/// Keeps whoever publishes from telling: the lock that this returns. What is published is in the store by then.
pub(super) async fn closed(pool: &Pool) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("lock table job_files in share row exclusive mode").execute(&mut *lock).await.unwrap();
    lock
}

/// Waits until so many wait for locks in this database.
pub(super) async fn waiting(pool: &Pool, count: i64) {
    let query = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    until("somebody at a lock", async || {
        (sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() >= count).then_some(())
    })
    .await;
}

/// Blobs that lie in the store and have no row.
async fn strays(pool: &Pool, store: &Store) -> usize {
    let known: Vec<String> =
        sqlx::query_scalar("select encode(sha256, 'hex') from blobs").fetch_all(pool).await.unwrap();
    let known: BTreeSet<String> = known.into_iter().collect();
    let stored: Vec<_> = store.list().try_collect().await.unwrap();
    stored.iter().filter(|blob| !known.contains(&blob.digest.to_string())).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f11_a_worker_dies_between_its_files_and_their_rows() {
    let (db, folder) = (database().await, tempfile::tempdir().unwrap());
    let (pool, store) = (&db.pool, local(&folder.path().join("store")).await);
    let url = format!("file://{}", folder.path().join("store").display());
    let what = "kill -9 of a worker whose files are in the store and whose transaction is open";
    let mut fault = Fault::begin("F11", what, pool).await;
    let arguments = ["--workers", "0", "--store-url", &url, "--database-url", &db.url];
    let server = Server::start(&folder.path().join("server"), &arguments, &[]);
    let work = || Worker::start(&folder.path().join("worker"), &url, &db.url, &[]);
    let lock = closed(pool).await;
    let worker = work();
    let (_, job) = server.tickets().await;
    fault.acknowledge(&job);
    waiting(pool, 1).await;
    let written = strays(pool, &store).await;
    assert!(written > 0, "the files are in the store");
    drop(worker);
    lock.rollback().await.unwrap();
    fault.count("files without a row", written as u64);
    let (_, shown) = server.get(&format!("/v1/jobs/{job}/artifacts")).await;
    assert!(shown["data"].as_array().is_none_or(Vec::is_empty), "nobody sees them: {shown}");

    let worker = work();
    server.succeeded(&job).await;
    all_ended(pool).await;
    worker.stop();
    server.stop();
    // The next worker may have found them by now, and given them a row.
    let usage = pare::db::usage::usage(pool, pare::db::DEFAULT_TENANT).await.unwrap();
    assert!(strays(pool, &store).await > 0 || usage.collectable_bytes > 0, "the first attempt's report is another one");
    fault.held(pool, &store).await;
}

#[tokio::test]
async fn f11_what_a_dead_worker_left_in_the_store_is_collected_in_time() {
    let bench = Bench::new().await;
    let what = "bytes in the store that no row tells of; a worker collects them a day after it found them";
    let mut fault = Fault::begin("F11", what, bench.pool()).await;
    let kept = bench.submit(rows(10)).await;
    fault.acknowledge(&kept);
    let mut staged = bench.store.writer().await.unwrap();
    staged.write(bytes::Bytes::from_static(b"nobody names this")).await.unwrap();
    let stray = staged.finish().await.unwrap().digest;
    assert_eq!(strays(bench.pool(), &bench.store).await, 1);
    let worker = bench.start(bench.config());
    until("its row", async || (strays(bench.pool(), &bench.store).await == 0).then_some(())).await;
    bench.end_of(kept).await;
    worker.stop().await;
    bench.store.size_bytes(&stray).await.expect("it is spared for a day");
    let day = "update blobs set published_at = published_at - interval '25 hours'";
    sqlx::query(day).execute(bench.pool()).await.unwrap();
    let worker = bench.start(bench.config());
    until("its end", async || bench.store.size_bytes(&stray).await.is_err().then_some(())).await;
    worker.stop().await;
    fault.held(bench.pool(), &bench.store).await;
}

/// Somebody forgot to say which database it is: the store's blobs are another one's, and none is told of in this one.
#[tokio::test]
async fn f11_a_store_of_another_database_keeps_what_this_one_does_not_know() {
    let bench = Bench::new().await;
    let what = "a worker on a fresh database beside a store that is another database's";
    let mut fault = Fault::begin("F11", what, bench.pool()).await;
    let own = bench.start(bench.config());
    let known = bench.submit(rows(10)).await;
    fault.acknowledge(&known);
    bench.end_of(known).await;
    until("its name in the store", async || bench.folder.path().join("store/owner").exists().then_some(())).await;
    own.stop().await;

    let other = database().await;
    // tests' databases are copies of one
    sqlx::query("update identity set id = gen_random_uuid()").execute(&other.pool).await.unwrap();
    // what goes last in a round of collection, so that its end is seen
    let key = "insert into idempotency_keys (tenant_id, key, request_sha256, status, body, expires_at)
        select id, 'old', sha256(''), 201, '{}', now() from tenants";
    sqlx::query(key).execute(&other.pool).await.unwrap();
    let stranger = worker::start(&other.pool, &bench.store, bench.config());
    let count = async |table| {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar::<_, i64>(query).fetch_one(&other.pool).await.unwrap()
    };
    until("a round of collection", async || (count("idempotency_keys").await == 0).then_some(())).await;
    stranger.stop().await;
    assert_eq!(count("blobs").await, 0, "it took another one's blobs for nobody's");
    fault.held(bench.pool(), &bench.store).await;
}
