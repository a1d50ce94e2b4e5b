alter table jobs
    add column request_id text,
    add column trace_parent text,
    add constraint jobs_origin_length check (octet_length(request_id) <= 64 and octet_length(trace_parent) <= 64);
comment on column jobs.request_id is 'The request that submitted it: joins the log lines of servers and workers.';
comment on column jobs.trace_parent is 'The W3C traceparent that came with that request.';

-- For counting them: an index is read instead of rows with reports.
create index jobs_by_kind_and_state on jobs (kind, state);
