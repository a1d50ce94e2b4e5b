//! What a tenant's things take up in the store.

use uuid::Uuid;

use super::{Pool, Result, unsigned};

/// How many things of one kind there are, and the blobs that they name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// Things.
    pub count: u64,
    /// Bytes of their blobs, each once.
    pub size_bytes: u64,
}

/// What is stored. A blob that things of several groups name counts in each of them, and once in the total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Models that are not deleted.
    pub models: Group,
    /// Datasets that are not deleted.
    pub datasets: Group,
    /// Artifacts and reports, by file.
    pub artifacts: Group,
    /// Checkpoints and statistics, by file.
    pub intermediate: Group,
    /// Uploads on their way, and those that are complete and still kept.
    pub uploads: Group,
    /// Jobs.
    pub jobs: u64,
    /// Bytes of all blobs that the tenant's things name, each once.
    pub total_bytes: u64,
    /// Bytes of blobs that nobody's things name: they are collected once they are a day old.
    pub collectable_bytes: u64,
}

/// Counts a tenant's things and their bytes, all at one moment. Reads every file's row of the tenant, and every blob's.
pub async fn usage(pool: &Pool, tenant: Uuid) -> Result<Usage> {
    let query = sqlx::query!(
        r#"with named as materialized (
            select 'models' as kind, f.sha256 from model_files f join models m on m.id = f.model_id where m.tenant_id = $1
            union select 'datasets', f.sha256 from dataset_files f join datasets d on d.id = f.dataset_id
                where d.tenant_id = $1
            union select case when role in ('artifact', 'report') then 'artifacts' else 'intermediate' end, sha256
                from job_files where tenant_id = $1
            union select 'intermediate', sha256 from statistics where tenant_id = $1
            union select 'uploads', p.sha256 from upload_parts p join uploads u on u.id = p.upload_id
                where u.tenant_id = $1
            union select 'uploads', sha256 from uploads where tenant_id = $1 and sha256 is not null),
        sized as (
            select coalesce(sum(b.size_bytes) filter (where n.kind = 'models'), 0)::bigint as models,
                coalesce(sum(b.size_bytes) filter (where n.kind = 'datasets'), 0)::bigint as datasets,
                coalesce(sum(b.size_bytes) filter (where n.kind = 'artifacts'), 0)::bigint as artifacts,
                coalesce(sum(b.size_bytes) filter (where n.kind = 'intermediate'), 0)::bigint as intermediate,
                coalesce(sum(b.size_bytes) filter (where n.kind = 'uploads'), 0)::bigint as uploads
            from named n join blobs b using (sha256))
        select sized.models as "models_bytes!", sized.datasets as "datasets_bytes!",
            sized.artifacts as "artifacts_bytes!", sized.intermediate as "intermediate_bytes!",
            sized.uploads as "uploads_bytes!",
            (select count(*) from models where tenant_id = $1 and deleted_at is null) as "models!",
            (select count(*) from datasets where tenant_id = $1 and deleted_at is null) as "datasets!",
            (select count(*) from job_files where tenant_id = $1 and role in ('artifact', 'report')) as "artifacts!",
            (select count(*) from job_files where tenant_id = $1 and role not in ('artifact', 'report'))
                + (select count(*) from statistics where tenant_id = $1) as "intermediate!",
            (select count(*) from uploads where tenant_id = $1 and state in ('pending', 'completing', 'completed'))
                as "uploads!",
            (select count(*) from jobs where tenant_id = $1) as "jobs!",
            (select coalesce(sum(b.size_bytes), 0)::bigint from blobs b
                where exists (select from named n where n.sha256 = b.sha256)) as "total_bytes!",
            (select coalesce(sum(b.size_bytes), 0)::bigint from blobs b
                where not exists (select from model_files f where f.sha256 = b.sha256)
                    and not exists (select from dataset_files f where f.sha256 = b.sha256)
                    and not exists (select from job_files f where f.sha256 = b.sha256)
                    and not exists (select from statistics f where f.sha256 = b.sha256)
                    and not exists (select from upload_parts f where f.sha256 = b.sha256)
                    and not exists (select from uploads f where f.sha256 = b.sha256)) as "collectable_bytes!"
        from sized"#,
        tenant
    );
    let row = query.fetch_one(pool).await?;
    let group = |count: i64, size_bytes: i64| Group { count: unsigned(count), size_bytes: unsigned(size_bytes) };
    Ok(Usage {
        models: group(row.models, row.models_bytes),
        datasets: group(row.datasets, row.datasets_bytes),
        artifacts: group(row.artifacts, row.artifacts_bytes),
        intermediate: group(row.intermediate, row.intermediate_bytes),
        uploads: group(row.uploads, row.uploads_bytes),
        jobs: unsigned(row.jobs),
        total_bytes: unsigned(row.total_bytes),
        collectable_bytes: unsigned(row.collectable_bytes),
    })
}
