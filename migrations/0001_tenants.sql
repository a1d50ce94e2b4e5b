create table tenants (
    id uuid constraint tenants_pkey primary key,
    name text not null,
    max_running integer not null default 1000,
    created_at timestamptz not null default now(),
    constraint tenants_name_unique unique (name),
    constraint tenants_max_running_positive check (max_running > 0)
);
comment on table tenants is 'Who owns what. One default tenant exists from the start.';
comment on column tenants.max_running is 'How many of its jobs may run at once; the claim holds to it exactly.';

insert into tenants (id, name) values ('00000000-0000-0000-0000-000000000001', 'default');

create table api_keys (
    id uuid constraint api_keys_pkey primary key,
    tenant_id uuid not null constraint api_keys_tenant_fkey references tenants (id),
    name text not null,
    key_sha256 bytea not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    constraint api_keys_key_sha256_length check (octet_length(key_sha256) = 32),
    constraint api_keys_scopes_known check (cardinality(scopes) > 0 and scopes <@ array['read', 'write', 'admin'])
);
comment on table api_keys is 'Keys for the HTTP interface. Only the hash of a key is kept.';
create index api_keys_by_tenant on api_keys (tenant_id, id);

create table idempotency_keys (
    tenant_id uuid not null constraint idempotency_keys_tenant_fkey references tenants (id),
    key text not null,
    request_sha256 bytea not null,
    status smallint,
    location text,
    body json,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (tenant_id, key),
    constraint idempotency_keys_key_length check (octet_length(key) between 1 and 255),
    constraint idempotency_keys_sha256_length check (octet_length(request_sha256) = 32)
);
comment on table idempotency_keys is
    'Requests that were carried out, by the client''s key. Written in the transaction that does the work, so that a repeated request finds either nothing or the answer.';
create index idempotency_keys_by_expiry on idempotency_keys (expires_at);
