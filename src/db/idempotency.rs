//! Requests that were carried out, by the client's key: what is repeated is answered and not done again.
//!
//! [`lock`], [`find`] and [`keep`] in the transaction that does the work: then there is either the work with its answer
//! or neither.

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Pool, Result};

/// Rows that are collected at a time.
const PAGE: i64 = 1000;

/// A request that was carried out, and how it was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// What was asked for, as 64 hex digits.
    pub request_sha256: String,
    /// The answer's status.
    pub status: u16,
    /// The answer's `Location`.
    pub location: Option<String>,
    /// Its other headers: an object of texts.
    pub headers: Value,
    /// Its body, a JSON text.
    pub body: String,
}

/// Makes a key this transaction's own; false while another one works on it.
pub async fn lock(conn: &mut PgConnection, tenant: Uuid, key: &str) -> Result<bool> {
    let name = format!("idempotency {tenant} {key}");
    let query = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "locked!""#, name);
    Ok(query.fetch_one(conn).await?)
}

/// The answer that was kept under a key, if it has not expired.
pub async fn find(executor: impl PgExecutor<'_>, tenant: Uuid, key: &str) -> Result<Option<Kept>> {
    let query = sqlx::query!(
        r#"select encode(request_sha256, 'hex') as "request_sha256!", status, location, headers, body::text as "body!"
        from idempotency_keys where tenant_id = $1 and key = $2 and expires_at > now()"#,
        tenant,
        key,
    )
    .map(|row| Kept {
        request_sha256: row.request_sha256,
        status: row.status.unsigned_abs(),
        location: row.location,
        headers: row.headers,
        body: row.body,
    });
    Ok(query.fetch_optional(executor).await?)
}

/// Keeps an answer for 7 days under a key that this transaction has locked and found unused.
pub async fn keep(conn: &mut PgConnection, tenant: Uuid, key: &str, kept: &Kept) -> Result<()> {
    // What is in the way has expired and was not collected yet.
    sqlx::query!(
        "insert into idempotency_keys (tenant_id, key, request_sha256, status, location, headers, body, expires_at)
        values ($1, $2, decode($3, 'hex'), $4, $5, $6, ($7::text)::json, now() + interval '7 days')
        on conflict (tenant_id, key) do update set request_sha256 = excluded.request_sha256, status = excluded.status,
            location = excluded.location, headers = excluded.headers, body = excluded.body, created_at = now(),
            expires_at = excluded.expires_at",
        tenant,
        key,
        kept.request_sha256,
        i16::try_from(kept.status).unwrap_or(i16::MAX),
        kept.location,
        kept.headers,
        kept.body,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes the keys that have expired; how many.
pub async fn forget_expired(pool: &Pool) -> Result<u64> {
    let mut count = 0;
    loop {
        let done = sqlx::query!(
            "delete from idempotency_keys where (tenant_id, key) in (
                select tenant_id, key from idempotency_keys where expires_at <= now() order by expires_at limit $1)",
            PAGE,
        )
        .execute(pool)
        .await?
        .rows_affected();
        count += done;
        if done < PAGE as u64 {
            return Ok(count);
        }
    }
}
