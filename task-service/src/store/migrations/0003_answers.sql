-- What was answered to writes that came with an Idempotency-Key: written with the write, in one transaction, so that who
-- repeats it hears the same and nothing is done twice.

create table task_service.answers (
    user_id text collate "C" not null check (char_length(user_id) between 1 and 255),
    key text collate "C" not null check (char_length(key) between 1 and 255),
    -- SHA-256 of what was asked.
    request bytea not null check (octet_length(request) = 32),
    made_at timestamptz not null default now(),
    -- The task, as it was then: the columns of `tasks`.
    id uuid not null,
    title text not null,
    description text,
    completed boolean not null,
    priority smallint,
    due_date timestamptz,
    tags text[] not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    due_day date,
    version bigint not null,
    primary key (user_id, key)
);

create index answers_by_age on task_service.answers (made_at);
