//! All SQL: functions over a pool or a connection, one file a table or a concern. [`jobs`] is the queue.
//!
//! Functions that take `&mut PgConnection` work in the caller's transaction; functions that take `&Pool` are a
//! transaction of their own. Times are the database's, never this machine's. SHA-256 goes in and out as 64 hex digits.
//! `migrations/README.md` says why the tables are as they are.

pub mod admin;
pub mod backup;
pub mod blobs;
pub mod datasets;
mod error;
pub mod idempotency;
mod identity;
pub mod jobs;
pub mod keys;
mod listen;
pub mod models;
pub mod names;
pub mod recipes;
pub mod statistics;
mod upload;
pub mod uploads;
pub mod usage;
pub mod workers;

use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

pub use error::{Conflict, Error, Result};
pub use identity::identity;
pub use listen::listen;
pub use upload::{FileRow, ListFilter, NewFile, UploadState};

/// A pool of connections to Postgres.
pub type Pool = sqlx::PgPool;

/// Work that becomes visible at once, or not at all where it is dropped.
pub type Transaction = sqlx::Transaction<'static, sqlx::Postgres>;

/// The tenant that exists from the start.
pub const DEFAULT_TENANT: Uuid = Uuid::from_u128(1);

/// The migrations that this program knows.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a request waits for a free connection before it is told that the database is unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that nobody used for so long is asked whether it lives before it is used: the server may have gone away.
/// One that was used just now is not, for that would be a round trip more for every request.
const UNPROVEN: Duration = Duration::from_secs(1);

/// Opens a pool of at most `max_connections` and makes one connection, so that a wrong address shows at once.
///
/// # Errors
///
/// [`Error::Unavailable`] where the database can't be reached.
pub async fn connect(url: &str, max_connections: u32) -> Result<Pool> {
    let options = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|conn, _| {
            Box::pin(async move {
                // whoever vanished, or was stopped, in the middle of a transaction keeps its rows no longer than a lease lasts
                sqlx::query("set idle_in_transaction_session_timeout = '1min'").execute(conn).await?;
                Ok(())
            })
        })
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for >= UNPROVEN {
                    conn.ping().await?;
                }
                Ok(true)
            })
        });
    Ok(options.connect(url).await?)
}

/// Brings the schema up to what this program knows. Servers that start together wait for one another.
///
/// # Errors
///
/// [`Error::Schema`] where the database was migrated by a newer program, or a migration was changed after it ran.
pub async fn migrate(pool: &Pool) -> Result<()> {
    check_schema(pool).await?;
    MIGRATIONS.run(pool).await.map_err(schema_error)
}

/// Refuses a database that holds migrations which this program does not know. An empty database passes.
///
/// # Errors
///
/// [`Error::Schema`] as said; [`Error::Unavailable`] where the database can't be reached.
pub async fn check_schema(pool: &Pool) -> Result<()> {
    let mut conn = pool.acquire().await?;
    let table = MIGRATIONS.table_name.as_ref();
    // asked often: it reads alone
    let exists: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(table).fetch_one(&mut *conn).await?;
    let applied = if exists { conn.list_applied_migrations(table).await.map_err(schema_error)? } else { Vec::new() };
    let unknown = applied.iter().map(|m| m.version).find(|version| !MIGRATIONS.version_exists(*version));
    match unknown {
        Some(version) => Err(Error::Schema(format!(
            "the database holds migration {version}, which this program does not know: a newer pare has used it. \
             Run that version, or a newer one"
        ))),
        None => Ok(()),
    }
}

/// Refuses a database too that lacks a migration, and so can't be worked with yet.
///
/// # Errors
///
/// As [`check_schema`]'s.
pub async fn check_current(pool: &Pool) -> Result<()> {
    check_schema(pool).await?;
    let newest = newest_migration();
    let found: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
        .fetch_one(pool)
        .await
        .map_err(|error| match &error {
            sqlx::Error::Database(it) if it.code().as_deref() == Some("42P01") => Error::Schema(
                "the database holds no schema yet: run `pare migrate`, or start a server on it".to_owned(),
            ),
            _ => error.into(),
        })?;
    if found == Some(newest) {
        return Ok(());
    }
    Err(Error::Schema(format!(
        "the database is at migration {}, and this program works with {newest}: run `pare migrate`, or start a server on it",
        found.unwrap_or(0)
    )))
}

/// The newest migration that this program knows.
pub fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn schema_error(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(source) => source.into(),
        other => Error::Schema(format!("the schema could not be brought up to date: {other}")),
    }
}

/// A document for a `json` column, as text: a parameter of type JSON reaches Postgres as `jsonb`, which forgets the order
/// of fields. The statement says `$n::text::json`.
fn as_written(document: &serde_json::Value) -> String {
    document.to_string()
}

/// A size for a `bigint` column. No file is longer than that.
fn bigint(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A size from a `bigint` column that a constraint keeps from being negative.
fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}
