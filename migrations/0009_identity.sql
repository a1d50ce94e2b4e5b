create table identity (
    number integer constraint identity_pkey primary key default 1,
    id uuid not null default gen_random_uuid(),
    constraint identity_has_one_row check (number = 1)
);
comment on table identity is 'Which database this is, in one row. Nothing is collected from a store that carries another one''s id.';
insert into identity default values;
