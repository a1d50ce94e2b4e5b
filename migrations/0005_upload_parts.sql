alter table upload_parts alter column sha256 drop not null;
comment on column upload_parts.sha256 is 'The blob that holds the part; null where its bytes lie in the upload''s own file.';
comment on column uploads.expires_at is 'Until when it is kept. A completed one only holds its blob until then: models and datasets hold it for themselves.';
