//! What is asked of a server rather than of our tables.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::Result;

/// Connects and asks the simplest question: an answer says that the server takes statements.
///
/// # Errors
///
/// [`super::Error::Unavailable`] where it does not yet, or no more.
pub async fn ping(url: &str) -> Result<()> {
    let mut conn = options(url)?.connect().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    Ok(conn.close().await?)
}

/// Makes a database on the server of `url`, if it is not there.
pub async fn create_database(url: &str, name: &str) -> Result<()> {
    let mut conn = options(url)?.connect().await?;
    let there = sqlx::query_scalar!(r#"select exists (select from pg_database where datname = $1) as "exists!""#, name)
        .fetch_one(&mut conn)
        .await?;
    if !there {
        let create = format!("create database {}", quoted(name));
        sqlx::query(AssertSqlSafe(create)).execute(&mut conn).await?;
    }
    Ok(conn.close().await?)
}

fn options(url: &str) -> Result<PgConnectOptions> {
    Ok(url.parse::<PgConnectOptions>()?)
}

/// A name as an identifier in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
