//! What a backup asks of the database that it saves, and of the one that it fills.

use std::collections::BTreeMap;

use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::admin::quoted;
use super::blobs::COLLECT_LOCK;
use super::{MIGRATIONS, Result, schema_error, unsigned};

/// A blob that a row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBlob {
    /// Its hash, 64 hex digits.
    pub sha256: String,
    /// Its length.
    pub size_bytes: u64,
}

/// The database as it is at one moment. For as long as this is there, no blob is collected: all that these rows name
/// stays in the store, whatever is deleted meanwhile.
#[derive(Debug)]
pub struct Snapshot {
    conn: PgConnection,
    name: String,
}

impl Snapshot {
    /// Takes one. Waits for the collection of the blob that is being collected.
    ///
    /// # Errors
    ///
    /// [`super::Error::Unavailable`] where the database can't be reached.
    pub async fn take(url: &str) -> Result<Self> {
        let mut conn = PgConnection::connect(url).await?;
        // First this, in a statement of its own: what is seen then is what was there once collection had paused.
        sqlx::query!("select pg_advisory_lock_shared($1)", COLLECT_LOCK).execute(&mut conn).await?;
        sqlx::query("set idle_in_transaction_session_timeout = 0").execute(&mut conn).await?;
        sqlx::query("begin isolation level repeatable read read only").execute(&mut conn).await?;
        let name = sqlx::query_scalar!(r#"select pg_export_snapshot() as "name!""#).fetch_one(&mut conn).await?;
        Ok(Self { conn, name })
    }

    /// What `pg_dump --snapshot` takes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every blob that a row names, in the order of their hashes.
    ///
    /// # Errors
    ///
    /// When the database goes away.
    pub async fn blobs(&mut self) -> Result<Vec<NamedBlob>> {
        let rows = sqlx::query!(
            r#"select encode(b.sha256, 'hex') as "sha256!", b.size_bytes from blobs b where b.sha256 in (
                select sha256 from model_files union select sha256 from dataset_files union select sha256 from job_files
                union select sha256 from statistics union select sha256 from upload_parts
                union select sha256 from uploads where sha256 is not null)
            order by b.sha256"#
        )
        .fetch_all(&mut self.conn)
        .await?;
        Ok(rows.into_iter().map(|row| NamedBlob { sha256: row.sha256, size_bytes: unsigned(row.size_bytes) }).collect())
    }

    /// Rows of each table, by its name.
    ///
    /// # Errors
    ///
    /// When the database goes away.
    pub async fn counts(&mut self) -> Result<BTreeMap<String, u64>> {
        counts(&mut self.conn).await
    }

    /// The newest migration that has run.
    ///
    /// # Errors
    ///
    /// When the database is none of ours, or goes away.
    pub async fn migration(&mut self) -> Result<i64> {
        let table = MIGRATIONS.table_name.as_ref();
        let applied = self.conn.list_applied_migrations(table).await.map_err(schema_error)?;
        Ok(applied.iter().map(|migration| migration.version).max().unwrap_or(0))
    }

    /// Postgres's major version.
    ///
    /// # Errors
    ///
    /// When the database goes away.
    pub async fn server_major(&mut self) -> Result<u32> {
        server_major(&mut self.conn).await
    }

    /// Lets go of it.
    ///
    /// # Errors
    ///
    /// When the database went away: then what was read is not known to be whole.
    pub async fn end(mut self) -> Result<()> {
        sqlx::query("commit").execute(&mut self.conn).await?;
        // Before the connection's end, which the server sees when it gets to it
        sqlx::query!("select pg_advisory_unlock_shared($1)", COLLECT_LOCK).fetch_one(&mut self.conn).await?;
        Ok(self.conn.close().await?)
    }
}

/// A database that may be filled.
#[derive(Debug)]
pub struct Target {
    /// Whether there is nothing in it.
    pub is_empty: bool,
    /// Postgres's major version.
    pub server_major: u32,
}

impl Target {
    /// Looks at a database.
    ///
    /// # Errors
    ///
    /// [`super::Error::Unavailable`] where it can't be reached.
    pub async fn look(url: &str) -> Result<Self> {
        let mut conn = PgConnection::connect(url).await?;
        let is_empty = sqlx::query_scalar!(
            r#"select not exists (
                select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname <> 'information_schema' and n.nspname not like 'pg\_%') as "empty!""#
        )
        .fetch_one(&mut conn)
        .await?;
        let server_major = server_major(&mut conn).await?;
        conn.close().await?;
        Ok(Self { is_empty, server_major })
    }
}

/// Rows of each table of a database, by its name.
///
/// # Errors
///
/// [`super::Error::Unavailable`] where it can't be reached.
pub async fn rows(url: &str) -> Result<BTreeMap<String, u64>> {
    let mut conn = PgConnection::connect(url).await?;
    let counts = counts(&mut conn).await?;
    conn.close().await?;
    Ok(counts)
}

/// The catalog says which tables there are: those that come with later migrations are counted too.
async fn counts(conn: &mut PgConnection) -> Result<BTreeMap<String, u64>> {
    let tables = sqlx::query_scalar!(
        r#"select t.relname::text as "name!" from pg_class t join pg_namespace s on s.oid = t.relnamespace
        where t.relkind = 'r' and s.nspname = current_schema() order by 1"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut counts = BTreeMap::new();
    for table in tables {
        let count = format!("select count(*) from {}", quoted(&table));
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *conn).await?;
        counts.insert(table, unsigned(rows));
    }
    Ok(counts)
}

async fn server_major(conn: &mut PgConnection) -> Result<u32> {
    let number = sqlx::query_scalar!(r#"select current_setting('server_version_num')::integer as "number!""#);
    Ok(number.fetch_one(conn).await?.unsigned_abs() / 10_000)
}
