//! Models and datasets by their names alone: for lists, where reading what their files say would cost too much.

use uuid::Uuid;

use super::{Pool, Result, UploadState};

/// A model or dataset by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Which.
    pub id: Uuid,
    /// Its owner's name for it.
    pub name: String,
    /// Whether it can be used.
    pub state: UploadState,
    /// Whether its owner deleted it: only jobs name it still.
    pub is_deleted: bool,
}

/// The models of these ids, also those that were deleted since.
pub async fn models(pool: &Pool, tenant: Uuid, ids: &[Uuid]) -> Result<Vec<Named>> {
    let query = sqlx::query_as!(
        Named,
        r#"select id, name, state as "state: UploadState", deleted_at is not null as "is_deleted!"
        from models where tenant_id = $1 and id = any($2)"#,
        tenant,
        ids,
    );
    Ok(query.fetch_all(pool).await?)
}

/// The datasets of these ids, also those that were deleted since.
pub async fn datasets(pool: &Pool, tenant: Uuid, ids: &[Uuid]) -> Result<Vec<Named>> {
    let query = sqlx::query_as!(
        Named,
        r#"select id, name, state as "state: UploadState", deleted_at is not null as "is_deleted!"
        from datasets where tenant_id = $1 and id = any($2)"#,
        tenant,
        ids,
    );
    Ok(query.fetch_all(pool).await?)
}

/// The newest models that a job could name, at most `limit`.
pub async fn recent_models(pool: &Pool, tenant: Uuid, limit: u32) -> Result<Vec<Named>> {
    let query = sqlx::query_as!(
        Named,
        r#"select id, name, state as "state: UploadState", false as "is_deleted!" from models
        where tenant_id = $1 and deleted_at is null and state <> 'invalid' order by id desc limit $2"#,
        tenant,
        i64::from(limit),
    );
    Ok(query.fetch_all(pool).await?)
}

/// The newest datasets that a job could name, at most `limit`.
pub async fn recent_datasets(pool: &Pool, tenant: Uuid, limit: u32) -> Result<Vec<Named>> {
    let query = sqlx::query_as!(
        Named,
        r#"select id, name, state as "state: UploadState", false as "is_deleted!" from datasets
        where tenant_id = $1 and deleted_at is null and state <> 'invalid' order by id desc limit $2"#,
        tenant,
        i64::from(limit),
    );
    Ok(query.fetch_all(pool).await?)
}
