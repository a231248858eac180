-- What was taken over from another backend's tables. Both are empty unless `task-service import` has run.

create table task_service.imports (
    -- The order in which tables came.
    number smallint primary key,
    -- The table, as schema.name.
    source text collate "C" not null unique,
    began_at timestamptz not null default now(),
    -- When all of it was last gone through.
    finished_at timestamptz
);

-- Beside the tasks, and not in them: an old id leads to its task, and once that is removed its row here stays, so that the
-- next import doesn't bring it back.
create table task_service.legacy_ids (
    user_id text collate "C" not null check (char_length(user_id) between 1 and 255),
    legacy_id text collate "C" not null check (char_length(legacy_id) between 1 and 255),
    import smallint not null references task_service.imports,
    id uuid not null,
    primary key (user_id, legacy_id, import)
);

alter table task_service.legacy_ids enable row level security, force row level security;
create policy own on task_service.legacy_ids
    using (user_id = current_setting('task_service.user_id', true));
