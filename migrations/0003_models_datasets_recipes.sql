create table models (
    id uuid constraint models_pkey primary key,
    tenant_id uuid not null constraint models_tenant_fkey references tenants (id),
    name text not null,
    state text not null default 'validating',
    header json,
    errors json not null default '[]',
    size_bytes bigint not null,
    source_job_id uuid,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    constraint models_state_known check (state in ('validating', 'ready', 'invalid')),
    constraint models_ready_has_header check ((state = 'ready') = (header is not null)),
    constraint models_size_bytes_not_negative check (size_bytes >= 0)
);
comment on table models is 'Models: uploaded, or results of jobs. Validating until a job has checked them, then ready or invalid.';
comment on column models.errors is 'A list of {pointer, code, detail}: all that is wrong with it.';
comment on column models.deleted_at is 'Set when its owner deleted it. The row stays, so that old jobs can name it; its files are gone.';
create index models_by_tenant on models (tenant_id, id) where deleted_at is null;

create table model_files (
    model_id uuid not null constraint model_files_model_fkey references models (id) on delete cascade,
    path text not null,
    sha256 bytea not null constraint model_files_blob_fkey references blobs (sha256),
    size_bytes bigint not null,
    constraint model_files_pkey primary key (model_id, path),
    constraint model_files_size_bytes_not_negative check (size_bytes >= 0)
);
comment on table model_files is 'The files of a model: what its owner calls them, and their bytes. A path is a label, never a place on a disk.';
create index model_files_by_blob on model_files (sha256);

create table datasets (
    id uuid constraint datasets_pkey primary key,
    tenant_id uuid not null constraint datasets_tenant_fkey references tenants (id),
    name text not null,
    state text not null default 'validating',
    summary json,
    errors json not null default '[]',
    size_bytes bigint not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    constraint datasets_state_known check (state in ('validating', 'ready', 'invalid')),
    constraint datasets_ready_has_summary check ((state = 'ready') = (summary is not null)),
    constraint datasets_size_bytes_not_negative check (size_bytes >= 0)
);
comment on table datasets is 'Datasets, checked like models.';
comment on column datasets.errors is 'A list of {pointer, code, detail}: all that is wrong with it.';
comment on column datasets.deleted_at is 'Set when its owner deleted it. The row stays, so that old jobs can name it; its files are gone.';
create index datasets_by_tenant on datasets (tenant_id, id) where deleted_at is null;

create table dataset_files (
    dataset_id uuid not null constraint dataset_files_dataset_fkey references datasets (id) on delete cascade,
    path text not null,
    sha256 bytea not null constraint dataset_files_blob_fkey references blobs (sha256),
    size_bytes bigint not null,
    constraint dataset_files_pkey primary key (dataset_id, path),
    constraint dataset_files_size_bytes_not_negative check (size_bytes >= 0)
);
comment on table dataset_files is 'The files of a dataset: what its owner calls them, and their bytes. A path is a label, never a place on a disk.';
create index dataset_files_by_blob on dataset_files (sha256);

create table recipes (
    id uuid constraint recipes_pkey primary key,
    tenant_id uuid not null constraint recipes_tenant_fkey references tenants (id),
    name text not null,
    version integer not null,
    recipe json not null,
    created_at timestamptz not null default now(),
    constraint recipes_name_version_unique unique (tenant_id, name, version),
    constraint recipes_version_positive check (version > 0)
);
comment on table recipes is 'Stored recipes, never changed: a new text under the same name is its next version.';

create table statistics (
    tenant_id uuid not null constraint statistics_tenant_fkey references tenants (id),
    key_sha256 bytea not null,
    sha256 bytea not null constraint statistics_blob_fkey references blobs (sha256),
    created_at timestamptz not null default now(),
    used_at timestamptz not null default now(),
    constraint statistics_pkey primary key (tenant_id, key_sha256),
    constraint statistics_key_sha256_length check (octet_length(key_sha256) = 32)
);
comment on table statistics is 'Calibration statistics, by the hash of model, dataset and settings: later jobs use them again.';
create index statistics_by_blob on statistics (sha256);
