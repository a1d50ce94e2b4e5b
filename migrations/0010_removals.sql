create table removals (
    sha256 bytea constraint removals_pkey primary key,
    begun_at timestamptz not null default now(),
    constraint removals_sha256_length check (octet_length(sha256) = 32)
);
comment on table removals is 'Blobs that were forgotten and are being deleted from the store. Until that is over, nobody may name the same bytes.';
