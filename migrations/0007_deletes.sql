-- What deleting a job looks for: rows that name it, and, for retention, jobs by their end. Without these each deletion
-- reads the whole table once for every column.
create index jobs_by_parent on jobs (parent_id) where parent_id is not null;
create index jobs_by_retry_of on jobs (retry_of) where retry_of is not null;
create index jobs_by_source_job on jobs (source_job_id) where source_job_id is not null;
create index models_by_source_job on models (source_job_id) where source_job_id is not null;
create index jobs_by_end on jobs (finished_at) where finished_at is not null;
