-- Which headers a repeated answer has, and what finds the job that validates a dataset.
alter table idempotency_keys
    add column headers json not null default '{}',
    alter column status set not null,
    alter column body set not null,
    add constraint idempotency_keys_only_what_was_created check (status between 200 and 299);
comment on column idempotency_keys.headers is 'The answer''s headers beside Location and those that every answer has.';
comment on column idempotency_keys.request_sha256 is 'What was asked for: method, path, query and payload.';

create index jobs_by_dataset on jobs (dataset_id) where dataset_id is not null;
