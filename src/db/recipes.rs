//! Stored recipes: never changed, only followed by a next version.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ListFilter, Pool, Result, as_written};
use crate::id::RecipeId;

/// A stored recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecipe {
    /// Which.
    pub id: RecipeId,
    /// Its name; versions share it.
    pub name: String,
    /// 1 and up, within the name.
    pub version: u32,
    /// The recipe as written.
    pub recipe: Value,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Stores a recipe as the next version of its name.
pub async fn insert(pool: &Pool, tenant: Uuid, name: &str, recipe: &Value) -> Result<StoredRecipe> {
    let mut tx = pool.begin().await?;
    let stored = insert_in(&mut tx, tenant, name, recipe).await?;
    tx.commit().await?;
    Ok(stored)
}

/// [`insert`] in the caller's transaction.
pub async fn insert_in(conn: &mut PgConnection, tenant: Uuid, name: &str, recipe: &Value) -> Result<StoredRecipe> {
    // Two writers of one name take turns, so that both get a version.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", format!("recipe {tenant} {name}"))
        .execute(&mut *conn)
        .await?;
    let query = sqlx::query!(
        r#"insert into recipes (id, tenant_id, name, version, recipe)
        select $1, $2, $3, 1 + coalesce(max(version), 0), $4::text::json from recipes where tenant_id = $2 and name = $3
        returning id as "id: RecipeId", name, version, recipe, created_at"#,
        RecipeId::new().0,
        tenant,
        name,
        as_written(recipe),
    )
    .map(|row| stored(row.id, row.name, row.version, row.recipe, row.created_at));
    Ok(query.fetch_one(conn).await?)
}

/// The latest version of a name.
pub async fn find_by_name(pool: &Pool, tenant: Uuid, name: &str) -> Result<Option<StoredRecipe>> {
    let query = sqlx::query!(
        r#"select id as "id: RecipeId", name, version, recipe, created_at from recipes
        where tenant_id = $1 and name = $2 order by version desc limit 1"#,
        tenant,
        name,
    )
    .map(|row| stored(row.id, row.name, row.version, row.recipe, row.created_at));
    Ok(query.fetch_optional(pool).await?)
}

/// The latest version of each name, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &ListFilter) -> Result<Vec<StoredRecipe>> {
    let query = sqlx::query!(
        r#"select id as "id: RecipeId", name, version, recipe, created_at from recipes r
        where tenant_id = $1 and ($2::uuid is null or id < $2)
            and not exists (select from recipes later
                where later.tenant_id = $1 and later.name = r.name and later.version > r.version)
        order by id desc limit $3"#,
        tenant,
        filter.before,
        i64::from(filter.limit),
    )
    .map(|row| stored(row.id, row.name, row.version, row.recipe, row.created_at));
    Ok(query.fetch_all(pool).await?)
}

fn stored(id: RecipeId, name: String, version: i32, recipe: Value, created_at: DateTime<Utc>) -> StoredRecipe {
    StoredRecipe { id, name, version: version.unsigned_abs(), recipe, created_at }
}
