create table job_checkpoints (
    job_id uuid constraint job_checkpoints_pkey primary key
        constraint job_checkpoints_job_fkey references jobs (id) on delete cascade,
    attempt integer not null,
    step bigint not null,
    key bytea not null,
    published_at timestamptz not null default now(),
    constraint job_checkpoints_attempt_positive check (attempt > 0),
    constraint job_checkpoints_step_positive check (step > 0),
    constraint job_checkpoints_key_length check (octet_length(key) = 32)
);
comment on table job_checkpoints is 'The newest checkpoint of each job that has not ended. Its files are the rows of job_files with the role checkpoint; both go when the job ends.';
comment on column job_checkpoints.key is 'A hash of what it was made from: an attempt that would make it from something else begins anew.';
