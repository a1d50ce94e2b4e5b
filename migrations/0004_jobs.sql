create table jobs (
    id uuid constraint jobs_pkey primary key,
    tenant_id uuid not null constraint jobs_tenant_fkey references tenants (id),
    kind text not null,
    state text not null default 'queued',
    parent_id uuid constraint jobs_parent_fkey references jobs (id) on delete set null,
    retry_of uuid constraint jobs_retry_of_fkey references jobs (id) on delete set null,
    -- what it works on
    model_id uuid constraint jobs_model_fkey references models (id),
    dataset_id uuid constraint jobs_dataset_fkey references datasets (id),
    calibration_dataset_id uuid constraint jobs_calibration_dataset_fkey references datasets (id),
    training_dataset_id uuid constraint jobs_training_dataset_fkey references datasets (id),
    validation_dataset_id uuid constraint jobs_validation_dataset_fkey references datasets (id),
    evaluation_dataset_id uuid constraint jobs_evaluation_dataset_fkey references datasets (id),
    reference_model_id uuid constraint jobs_reference_model_fkey references models (id),
    source_job_id uuid,
    -- what it does
    recipe_name text,
    recipe json,
    evaluate json,
    plan json,
    formats text[] not null default '{}',
    labels jsonb not null default '{}',
    -- when and where it may run
    priority integer not null default 0,
    memory_bytes bigint not null default 0,
    disk_bytes bigint not null default 0,
    device text not null default 'cpu',
    created_at timestamptz not null default now(),
    run_after timestamptz not null default now(),
    deadline_at timestamptz not null,
    -- how far it is
    attempt integer not null default 0,
    crashes integer not null default 0,
    lost_leases integer not null default 0,
    lease_token uuid,
    worker_id uuid,
    started_at timestamptz,
    cancel_requested_at timestamptz,
    finished_at timestamptz,
    phase text,
    error json,
    report json,
    revision bigint not null default 1,
    last_event_seq bigint not null default 0,
    constraint jobs_kind_known check (kind in ('validate', 'compress', 'evaluate', 'export', 'sensitivity')),
    constraint jobs_state_known
        check (state in ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled', 'expired')),
    constraint jobs_lease_while_running
        check ((state in ('running', 'cancelling')) = (lease_token is not null)),
    constraint jobs_worker_while_running
        check ((state in ('running', 'cancelling')) = (worker_id is not null)),
    constraint jobs_started_when_it_ran
        check (state not in ('running', 'cancelling', 'succeeded') or started_at is not null),
    constraint jobs_finished_when_terminal
        check ((state in ('succeeded', 'failed', 'cancelled', 'expired')) = (finished_at is not null)),
    constraint jobs_error_when_failed check ((state in ('failed', 'expired')) = (error is not null)),
    constraint jobs_cancel_was_asked_for
        check (state not in ('cancelling', 'cancelled') or cancel_requested_at is not null),
    constraint jobs_queued_was_not_cancelled check (state <> 'queued' or cancel_requested_at is null),
    constraint jobs_report_when_succeeded check (report is null or state = 'succeeded'),
    constraint jobs_validate_names_one_upload
        check (kind <> 'validate' or num_nonnulls(model_id, dataset_id) = 1),
    constraint jobs_dataset_is_for_validate check (kind = 'validate' or dataset_id is null),
    constraint jobs_model_where_one_is_needed
        check (kind not in ('compress', 'evaluate', 'sensitivity') or model_id is not null),
    constraint jobs_compress_has_recipe check (kind <> 'compress' or num_nonnulls(recipe_name, recipe) > 0),
    constraint jobs_export_has_source check (kind <> 'export' or source_job_id is not null),
    constraint jobs_labels_are_an_object check (jsonb_typeof(labels) = 'object'),
    constraint jobs_needs_not_negative check (memory_bytes >= 0 and disk_bytes >= 0),
    constraint jobs_counts_not_negative check (attempt >= 0 and crashes >= 0 and lost_leases >= 0)
);
comment on table jobs is 'The queue, and the public job resource. The row changes about six times in its life; what changes often is in job_leases.';
comment on column jobs.priority is 'Smaller runs first.';
comment on column jobs.lease_token is 'Whose attempt this is. Every write of a worker names it; no other write is taken.';
comment on column jobs.attempt is 'How often it was claimed, less the claims that a worker gave back.';
comment on column jobs.crashes is 'How often its process died under a living worker: the second time fails it.';
comment on column jobs.lost_leases is 'How often its worker went silent: only the back-off grows with it.';
comment on column jobs.phase is 'The phase that it ended in, where it did not succeed.';
comment on column jobs.revision is 'Grows with every visible change, together with job_leases.changes.';

create index jobs_claimable on jobs (tenant_id, priority, run_after, id) where state = 'queued';
create index jobs_queued_deadline on jobs (deadline_at) where state = 'queued';
create index jobs_running on jobs (tenant_id) where state in ('running', 'cancelling');
create index jobs_by_tenant on jobs (tenant_id, id);
create index jobs_by_model on jobs (model_id, id);
create index jobs_by_labels on jobs using gin (labels jsonb_path_ops);

alter table models
    add constraint models_source_job_fkey foreign key (source_job_id) references jobs (id) on delete set null;

create table job_leases (
    job_id uuid constraint job_leases_pkey primary key
        constraint job_leases_job_fkey references jobs (id) on delete cascade,
    token uuid not null,
    worker_id uuid not null,
    host_id uuid not null,
    lease_expires_at timestamptz not null,
    phase text,
    progress jsonb,
    changes bigint not null default 0
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
comment on table job_leases is 'One row for each running job: what changes with every heartbeat. No index holds a column that changes, so updates stay in the page.';
comment on column job_leases.changes is 'Visible changes during this lease; added to jobs.revision on reading, and for good when the lease ends.';

create table job_attempts (
    job_id uuid not null constraint job_attempts_job_fkey references jobs (id) on delete cascade,
    number integer not null,
    worker_id uuid not null,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    outcome text,
    constraint job_attempts_pkey primary key (job_id, number),
    constraint job_attempts_number_positive check (number > 0),
    constraint job_attempts_outcome_known
        check (outcome in ('succeeded', 'failed', 'cancelled', 'expired', 'crashed', 'lost')),
    constraint job_attempts_outcome_when_ended check ((ended_at is null) = (outcome is null))
);
comment on table job_attempts is 'Who ran a job, when, and how it ended. An attempt that was given back leaves no row.';

create table job_events (
    job_id uuid not null constraint job_events_job_fkey references jobs (id) on delete cascade,
    seq bigint not null,
    at timestamptz not null default clock_timestamp(),
    kind text not null,
    body json not null,
    constraint job_events_pkey primary key (job_id, seq),
    constraint job_events_seq_positive check (seq > 0)
);
comment on table job_events is 'A job''s log. Numbers run from 1 without a gap, also across attempts.';

create table job_files (
    id uuid constraint job_files_pkey primary key,
    tenant_id uuid not null constraint job_files_tenant_fkey references tenants (id),
    job_id uuid not null constraint job_files_job_fkey references jobs (id) on delete cascade,
    attempt integer not null,
    role text not null,
    path text not null,
    format text not null,
    sha256 bytea not null constraint job_files_blob_fkey references blobs (sha256),
    size_bytes bigint not null,
    loaders text[] not null default '{}',
    created_at timestamptz not null default now(),
    constraint job_files_path_unique unique (job_id, role, path),
    constraint job_files_role_known check (role in ('artifact', 'report', 'checkpoint', 'statistics')),
    constraint job_files_size_bytes_not_negative check (size_bytes >= 0)
);
comment on table job_files is 'What jobs left behind. Artifacts and reports appear in the transaction that makes their job succeeded.';
create index job_files_by_blob on job_files (sha256);

create table workers (
    id uuid constraint workers_pkey primary key,
    host_id uuid not null,
    host text not null,
    version text not null,
    memory_bytes bigint not null,
    disk_bytes bigint not null,
    devices text[] not null,
    capabilities jsonb not null default '{}',
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    constraint workers_memory_bytes_not_negative check (memory_bytes >= 0),
    constraint workers_disk_bytes_not_negative check (disk_bytes >= 0)
);
comment on table workers is 'Workers that are or were there. One that was silent for a minute counts as gone.';
comment on column workers.host_id is 'The state folder that the worker runs from: outlives its processes, so that a server that starts again knows its own leases.';
