//! Workers that are there, and what they can do.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Pool, Result, bigint, unsigned};

/// What a worker says about itself with every heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// This process's worker; new with every start.
    pub id: Uuid,
    /// The state folder that it runs from; stays.
    pub host_id: Uuid,
    /// The machine's name.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// What one job may use.
    pub memory_bytes: u64,
    /// Free scratch space.
    pub disk_bytes: u64,
    /// `cpu`, `cuda`, …
    pub devices: Vec<String>,
    /// Whatever else is worth showing: threads, instruction set.
    pub capabilities: Value,
}

/// A worker as it was seen last.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerRow {
    /// What it said.
    pub beat: Beat,
    /// When it first did.
    pub started_at: DateTime<Utc>,
    /// When it last did.
    pub heartbeat_at: DateTime<Utc>,
    /// Whether that is less than a minute ago, by the database's clock.
    pub live: bool,
    /// Jobs that it holds.
    pub running: u64,
}

/// Says that a worker is there. Workers that were silent for a day are forgotten.
pub async fn beat(pool: &Pool, beat: &Beat) -> Result<()> {
    sqlx::query!(
        "with forgotten as (delete from workers where heartbeat_at < now() - interval '1 day' and id <> $1)
        insert into workers (id, host_id, host, version, memory_bytes, disk_bytes, devices, capabilities)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (id) do update set
            memory_bytes = excluded.memory_bytes, disk_bytes = excluded.disk_bytes,
            devices = excluded.devices, capabilities = excluded.capabilities, heartbeat_at = now()",
        beat.id,
        beat.host_id,
        beat.host,
        beat.version,
        bigint(beat.memory_bytes),
        bigint(beat.disk_bytes),
        &beat.devices,
        beat.capabilities,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Says that a worker has gone, as it does on a graceful end.
pub async fn leave(pool: &Pool, id: Uuid) -> Result<()> {
    sqlx::query!("delete from workers where id = $1", id).execute(pool).await?;
    Ok(())
}

/// All workers that were there within the last day, newest first.
pub async fn list(pool: &Pool) -> Result<Vec<WorkerRow>> {
    let rows = sqlx::query!(
        r#"select w.*, w.heartbeat_at > now() - interval '1 minute' as "live!",
            (select count(*) from job_leases l where l.worker_id = w.id) as "running!"
        from workers w where w.heartbeat_at > now() - interval '1 day' order by w.started_at desc, w.id desc"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| WorkerRow {
            beat: Beat {
                id: row.id,
                host_id: row.host_id,
                host: row.host,
                version: row.version,
                memory_bytes: unsigned(row.memory_bytes),
                disk_bytes: unsigned(row.disk_bytes),
                devices: row.devices,
                capabilities: row.capabilities,
            },
            started_at: row.started_at,
            heartbeat_at: row.heartbeat_at,
            live: row.live,
            running: unsigned(row.running),
        })
        .collect())
}
