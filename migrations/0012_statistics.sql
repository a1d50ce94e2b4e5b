alter table statistics
    add column model_id uuid not null constraint statistics_model_fkey references models (id),
    add column dataset_id uuid not null constraint statistics_dataset_fkey references datasets (id);
comment on table statistics is 'What the sites of a model are fed on calibration rows, summed up by one job and used again by later ones. Goes with the model or the dataset.';
comment on column statistics.key_sha256 is 'A hash over all that the sums depend on: files, settings, program and processor.';
comment on column statistics.model_id is 'The model of the job that took them. Another one with the same files uses them too.';
create index statistics_by_model on statistics (model_id);
create index statistics_by_dataset on statistics (dataset_id);
