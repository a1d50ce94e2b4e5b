//! Which database this is.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;

/// The database's id. It was made with the database, and a backup takes it along.
pub async fn identity(conn: &mut PgConnection) -> Result<Uuid> {
    Ok(sqlx::query_scalar!("select id from identity").fetch_one(conn).await?)
}
