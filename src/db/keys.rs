//! API keys. A row is never deleted: where a key was made once, keys are asked for ever after.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ListFilter, Pool, Result};
use crate::id::KeyId;

/// What a key's owner may do. None holds another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look.
    Read,
    /// Change.
    Write,
    /// Keys, workers, usage.
    Admin,
}

/// Not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a scope: read, write and admin are")]
pub struct ScopeError(String);

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// As it stands in rows and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| ScopeError(text.chars().take(40).collect()))
    }
}

/// A key that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Which; stands in the key's text too.
    pub id: KeyId,
    /// Its owner's name for it.
    pub name: String,
    /// The hash of its text.
    pub sha256: [u8; 32],
    /// At least one.
    pub scopes: Vec<Scope>,
    /// Seconds from now after which it is not taken any more; never if none.
    pub expires_in_seconds: Option<u32>,
}

/// A key, without what it is recognized by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Which.
    pub id: KeyId,
    /// Whose rows it sees.
    pub tenant_id: Uuid,
    /// Its owner's name for it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was used last, give or take a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// From when on it is not taken any more.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Whether it is taken now, by the database's clock.
    pub is_usable: bool,
}

/// What became of a key that was to be the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// It was kept: there was none that is taken.
    Made(Key),
    /// It was not: this one is taken, the oldest of those that are.
    There(Key),
}

/// A key with what it is recognized by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The key.
    pub key: Key,
    /// The hash of its text.
    pub sha256: Vec<u8>,
    /// Whether its last use was noted more than a minute ago.
    pub is_stale: bool,
}

/// `$before`, then the columns of a [`Key`] and `$more`, then `$after`; a statement whose rows are made with `$make`.
macro_rules! key_query {
    ($before:tt, $after:tt $(, $arg:expr)* $(,)?) => {
        sqlx::query!(
            $before + r#" id as "id: KeyId", tenant_id, name, key_sha256, scopes, created_at, last_used_at, expires_at,
                revoked_at, revoked_at is null and (expires_at is null or expires_at > now()) as "is_usable!",
                last_used_at is null or last_used_at < now() - interval '1 minute' as "is_stale!" "# + $after
            $(, $arg)*
        )
        .map(|row| Kept {
            key: Key {
                id: row.id,
                tenant_id: row.tenant_id,
                name: row.name,
                // a constraint knows them
                scopes: row.scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
                created_at: row.created_at,
                last_used_at: row.last_used_at,
                expires_at: row.expires_at,
                revoked_at: row.revoked_at,
                is_usable: row.is_usable,
            },
            sha256: row.key_sha256,
            is_stale: row.is_stale,
        })
    };
}

/// Keeps a key.
pub async fn insert(pool: &Pool, tenant: Uuid, new: &NewKey) -> Result<Key> {
    let mut conn = pool.acquire().await?;
    insert_in(&mut conn, tenant, new).await
}

/// Keeps a key where the tenant has none that is taken now.
///
/// Of those who come at once one makes a key, and the others are given it. Who makes one in another way, by [`insert`],
/// is waited for too.
pub async fn insert_if_none(pool: &Pool, tenant: Uuid, new: &NewKey) -> Result<First> {
    let mut tx = pool.begin().await?;
    // Every key that is kept shares a lock on its tenant's row, by its foreign key: this one shuts them out.
    sqlx::query!("select from tenants where id = $1 for update", tenant).execute(&mut *tx).await?;
    let query = key_query!(
        "select",
        "from api_keys where tenant_id = $1
            and revoked_at is null and (expires_at is null or expires_at > now()) order by id limit 1",
        tenant,
    );
    if let Some(kept) = query.fetch_optional(&mut *tx).await? {
        return Ok(First::There(kept.key));
    }
    let key = insert_in(&mut tx, tenant, new).await?;
    tx.commit().await?;
    Ok(First::Made(key))
}

async fn insert_in(conn: &mut PgConnection, tenant: Uuid, new: &NewKey) -> Result<Key> {
    let scopes: Vec<String> = new.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    let query = key_query!(
        "insert into api_keys (id, tenant_id, name, key_sha256, scopes, expires_at)
        values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) returning",
        "",
        new.id.0,
        tenant,
        new.name,
        &new.sha256[..],
        &scopes,
        new.expires_in_seconds.map(f64::from),
    );
    Ok(query.fetch_one(conn).await?.key)
}

/// The key of that id, whoever's it is, usable or not.
pub async fn recognize(pool: &Pool, id: KeyId) -> Result<Option<Kept>> {
    Ok(key_query!("select", "from api_keys where id = $1", id.0).fetch_optional(pool).await?)
}

/// A tenant's key.
pub async fn find(pool: &Pool, tenant: Uuid, id: KeyId) -> Result<Option<Key>> {
    let query = key_query!("select", "from api_keys where id = $1 and tenant_id = $2", id.0, tenant);
    Ok(query.fetch_optional(pool).await?.map(|kept| kept.key))
}

/// A tenant's keys, newest first, those that are not usable any more too.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &ListFilter) -> Result<Vec<Key>> {
    let query = key_query!(
        "select",
        "from api_keys where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
        tenant,
        filter.before,
        i64::from(filter.limit),
    );
    Ok(query.fetch_all(pool).await?.into_iter().map(|kept| kept.key).collect())
}

/// Takes a key back; doing it twice changes nothing. `None` if there is none.
pub async fn revoke(pool: &Pool, tenant: Uuid, id: KeyId) -> Result<Option<Key>> {
    let query = key_query!(
        "update api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 and tenant_id = $2 returning",
        "",
        id.0,
        tenant,
    );
    Ok(query.fetch_optional(pool).await?.map(|kept| kept.key))
}

/// Gives a key another text; the old one is not taken from now on. `None` if there is no such key, or none that is
/// still usable.
pub async fn rotate(pool: &Pool, tenant: Uuid, id: KeyId, sha256: &[u8; 32]) -> Result<Option<Key>> {
    let query = key_query!(
        "update api_keys set key_sha256 = $3 where id = $1 and tenant_id = $2
            and revoked_at is null and (expires_at is null or expires_at > now()) returning",
        "",
        id.0,
        tenant,
        &sha256[..],
    );
    Ok(query.fetch_optional(pool).await?.map(|kept| kept.key))
}

/// Notes that a key was used, unless that was noted within the last minute.
pub async fn touch(pool: &Pool, id: KeyId) -> Result<()> {
    sqlx::query!(
        "update api_keys set last_used_at = now()
        where id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')",
        id.0,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Whether a key was ever made, by any tenant.
pub async fn exist(pool: &Pool) -> Result<bool> {
    let found = sqlx::query_scalar!(r#"select exists (select from api_keys) as "exists!""#).fetch_one(pool).await?;
    Ok(found)
}

/// Whether there is a key that would be taken now, of any tenant.
pub async fn any_usable(pool: &Pool) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from api_keys
            where revoked_at is null and (expires_at is null or expires_at > now())) as "exists!""#
    )
    .fetch_one(pool)
    .await?;
    Ok(found)
}
