//! Stored recipes: never changed, only followed by a next version.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{ListFilter, Pool, Result};
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
    // Two writers of one name take turns, so that both get a version.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", format!("recipe {tenant} {name}"))
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query!(
        "insert into recipes (id, tenant_id, name, version, recipe)
        select $1, $2, $3, 1 + coalesce(max(version), 0), $4 from recipes where tenant_id = $2 and name = $3
        returning version, created_at",
        RecipeId::new().0,
        tenant,
        name,
        recipe,
    )
    .fetch_one(&mut *tx)
    .await?;
    todo!("{row:?}")
}

/// The latest version of a name.
pub async fn find_by_name(pool: &Pool, tenant: Uuid, name: &str) -> Result<Option<StoredRecipe>> {
    todo!("{pool:?} {tenant} {name}")
}

/// The latest version of each name, newest first.
pub async fn list(pool: &Pool, tenant: Uuid, filter: &ListFilter) -> Result<Vec<StoredRecipe>> {
    todo!("{pool:?} {tenant} {filter:?}")
}
