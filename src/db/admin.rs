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

/// Where an address leads, for people: `host:port/database`, or the socket's folder for the host. Without the password.
///
/// # Errors
///
/// [`super::Error::Query`] where it is no address.
pub fn place(url: &str) -> Result<String> {
    let options = options(url)?;
    let host =
        options.get_socket().map_or_else(|| options.get_host().to_owned(), |folder| folder.display().to_string());
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    Ok(format!("{host}:{}/{database}", options.get_port()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_without_the_password() {
        assert_eq!(place("postgres://me:canary@db:5433/pare").unwrap(), "db:5433/pare");
        assert_eq!(place("postgres://me@localhost/pare?host=/run/pg&password=canary").unwrap(), "/run/pg:5432/pare");
        assert!(place("5432").is_err());
    }
}
