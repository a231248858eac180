-- Tasks, each of one user.
--
-- Every index begins with the user: a look-up for somebody else's task touches what a look-up for no task at all
-- touches, and takes as long. The bounds stand here once more, behind those of the service, which are the ones that
-- a client hears about.

do $$
begin
    if current_setting('server_encoding') <> 'UTF8' then
        raise exception 'the encoding of this database is %, and must be UTF8', current_setting('server_encoding');
    end if;
end
$$;

create table task_service.tasks (
    -- Ids are compared byte by byte: another user's language must not make two of them one.
    user_id text collate "C" not null check (char_length(user_id) between 1 and 255),
    id uuid not null,
    title text not null check (char_length(title) between 1 and 200),
    description text check (char_length(description) <= 1000),
    completed boolean not null default false,
    -- 1 low, 2 medium, 3 high: so they sort by what they mean.
    priority smallint check (priority between 1 and 3),
    due_date timestamptz,
    tags text[] not null default '{}' check (cardinality(tags) <= 20 and array_position(tags, null) is null),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Counts the changes of this row.
    version bigint not null default 1,
    primary key (user_id, id)
)
-- No index has a column that changes, and pages have room: an update stays on its page and touches no index.
with (fillfactor = 90);

create index tasks_newest_first on task_service.tasks (user_id, created_at desc, id desc);
