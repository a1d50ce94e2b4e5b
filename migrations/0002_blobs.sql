create table blobs (
    sha256 bytea constraint blobs_pkey primary key,
    size_bytes bigint not null,
    published_at timestamptz not null default now(),
    constraint blobs_sha256_length check (octet_length(sha256) = 32),
    constraint blobs_size_bytes_not_negative check (size_bytes >= 0)
);
comment on table blobs is 'Bytes in the store, by their hash. A blob is alive while a row of another table names it.';
comment on column blobs.published_at is 'When it was published last, also where it was there before: collection spares young blobs.';
create index blobs_by_age on blobs (published_at);

create table uploads (
    id uuid constraint uploads_pkey primary key,
    tenant_id uuid not null constraint uploads_tenant_fkey references tenants (id),
    filename text not null,
    state text not null default 'pending',
    size_bytes bigint not null,
    part_size_bytes bigint not null,
    expected_sha256 bytea,
    sha256 bytea constraint uploads_blob_fkey references blobs (sha256),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint uploads_state_known check (state in ('pending', 'completing', 'completed', 'cancelled', 'expired')),
    constraint uploads_size_bytes_not_negative check (size_bytes >= 0),
    constraint uploads_part_size_bytes_positive check (part_size_bytes > 0),
    constraint uploads_expected_sha256_length check (octet_length(expected_sha256) = 32),
    constraint uploads_completed_has_blob check ((state = 'completed') = (sha256 is not null))
);
comment on table uploads is 'Large files on their way, in parts that may come in any order and more than once.';
create index uploads_by_tenant on uploads (tenant_id, id);
create index uploads_by_expiry on uploads (expires_at);
create index uploads_by_blob on uploads (sha256);

create table upload_parts (
    upload_id uuid not null constraint upload_parts_upload_fkey references uploads (id) on delete cascade,
    number integer not null,
    size_bytes bigint not null,
    sha256 bytea not null constraint upload_parts_blob_fkey references blobs (sha256),
    received_at timestamptz not null default now(),
    constraint upload_parts_pkey primary key (upload_id, number),
    constraint upload_parts_number_not_negative check (number >= 0),
    constraint upload_parts_size_bytes_not_negative check (size_bytes >= 0)
);
comment on table upload_parts is 'Parts of an upload that are acknowledged, and so durable.';
create index upload_parts_by_blob on upload_parts (sha256);
