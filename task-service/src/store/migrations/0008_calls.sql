-- What is asked for most, as functions: a task, the newest tasks, and each write without a key. A function is told the user, and
-- sees and writes what row-level security lets that one see and write. So it is one statement that needs no transaction around
-- it, and a session plans it once, whether or not the statement that calls it has a name.
--
-- What they are called by, what they take and what they give is fixed with this migration: a release that needs other ones brings
-- functions of other names. A release from before does without them.
--
-- They may do what their caller may (security invoker), so that everybody may call them: who has no rights to the tables gets
-- nothing by it. Whom they set they forget when they end, whatever the transaction is, and an error takes it back. (A function's
-- own `set task_service.user_id` would do that; but none but a superuser may write one.) Each compares its own name, as every
-- statement does, and under another gives no row and does nothing. Its queries have parameters by number, so that no column which
-- is added one day can be meant instead.

create function task_service.get_task(name text, owner text, which uuid)
returns table (
    ran text, is_found boolean, id uuid, user_id text, title text, description text, completed boolean, priority smallint,
    due_date timestamptz, tags text[], created_at timestamptz, updated_at timestamptz, due_day date, version bigint
)
language plpgsql volatile security invoker rows 1
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    before constant text := coalesce(current_setting('task_service.user_id', true), '');
begin
    if name is distinct from 'task.get.call' then
        return;
    end if;
    -- Statements rely on seeing what was committed while they waited for a row; a transaction of their own asks for that.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'transactions are % here', current_setting('transaction_isolation') using errcode = 'US001';
    end if;
    ran := set_config('task_service.user_id', owner, true);
    ran := name;
    return query
        select $1, true, task.id, task.user_id::text, task.title::text, task.description::text, task.completed, task.priority,
            task.due_date, task.tags::text[], task.created_at, task.updated_at, task.due_day, task.version
        from task_service.tasks as task
        where task.user_id = $2 and task.id = $3;
    if not found then
        return next;
    end if;
    ran := set_config('task_service.user_id', before, true);
end
$function$;

-- The newest first. Its plan is a range of an index, however many tasks a user has: no need to look at the numbers each time.
create function task_service.list_tasks(name text, owner text, at_most bigint, from_the bigint)
returns table (
    ran text, is_found boolean, id uuid, user_id text, title text, description text, completed boolean, priority smallint,
    due_date timestamptz, tags text[], created_at timestamptz, updated_at timestamptz, due_day date, version bigint
)
language plpgsql volatile security invoker rows 20
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
#variable_conflict use_column
declare
    before constant text := coalesce(current_setting('task_service.user_id', true), '');
begin
    if name is distinct from 'task.list.call' then
        return;
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'transactions are % here', current_setting('transaction_isolation') using errcode = 'US001';
    end if;
    ran := set_config('task_service.user_id', owner, true);
    ran := name;
    return query
        select $1, true, task.id, task.user_id::text, task.title::text, task.description::text, task.completed, task.priority,
            task.due_date, task.tags::text[], task.created_at, task.updated_at, task.due_day, task.version
        from task_service.tasks as task
        where task.user_id = $2
        order by task.created_at desc, task.id desc
        limit $3 offset $4;
    if not found then
        return next;
    end if;
    ran := set_config('task_service.user_id', before, true);
end
$function$;

-- A new task: title, description, completed, priority, due_date, due_day, tags. Sent again, it changes nothing and gives the same
-- answer.
create function task_service.create_task(
    name text, owner text, which uuid, text, text, boolean, smallint, timestamptz, date, text[]
)
returns table (
    ran text, is_found boolean, id uuid, user_id text, title text, description text, completed boolean, priority smallint,
    due_date timestamptz, tags text[], created_at timestamptz, updated_at timestamptz, due_day date, version bigint,
    outcome smallint
)
language plpgsql volatile security invoker rows 1
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    before constant text := coalesce(current_setting('task_service.user_id', true), '');
begin
    if name is distinct from 'task.create.call' then
        return;
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'transactions are % here', current_setting('transaction_isolation') using errcode = 'US001';
    end if;
    -- On the disk before it is acknowledged. This holds until the transaction ends, and so for its commit.
    if current_setting('synchronous_commit') = 'off' then
        ran := set_config('synchronous_commit', 'on', true);
    end if;
    ran := set_config('task_service.user_id', owner, true);
    ran := name;
    return query
        insert into task_service.tasks as task (
            user_id, id, title, description, completed, priority, due_date, due_day, tags
        )
        values ($2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (user_id, id) do update set version = task.version
        returning $1, true, task.id, task.user_id::text, task.title::text, task.description::text, task.completed, task.priority,
            task.due_date, task.tags::text[], task.created_at, task.updated_at, task.due_day, task.version, 0::smallint;
    ran := set_config('task_service.user_id', before, true);
end
$function$;

-- Changes: title; description, completed, priority, due_date, each behind whether it was named; tags; the versions that it may be
-- in, and may not; whether it is a change at all.
create function task_service.change_task(
    name text, owner text, which uuid, text, boolean, text, boolean, boolean, smallint, boolean, timestamptz, date, text[],
    bigint[], bigint[], boolean
)
returns table (
    ran text, is_found boolean, id uuid, user_id text, title text, description text, completed boolean, priority smallint,
    due_date timestamptz, tags text[], created_at timestamptz, updated_at timestamptz, due_day date, version bigint,
    outcome smallint
)
language plpgsql volatile security invoker rows 1
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    before constant text := coalesce(current_setting('task_service.user_id', true), '');
    was_there boolean;
begin
    if name is distinct from 'task.change.call' then
        return;
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'transactions are % here', current_setting('transaction_isolation') using errcode = 'US001';
    end if;
    -- On the disk before it is acknowledged. This holds until the transaction ends, and so for its commit.
    if current_setting('synchronous_commit') = 'off' then
        ran := set_config('synchronous_commit', 'on', true);
    end if;
    ran := set_config('task_service.user_id', owner, true);
    ran := name;
    if $14 is not null or $15 is not null then
        was_there := exists (select from task_service.tasks as task where task.user_id = $2 and task.id = $3);
    end if;
    return query
        update task_service.tasks as task
        set title = coalesce($4, task.title),
            description = case when $5 then $6 else task.description end,
            completed = coalesce($7, task.completed),
            priority = case when $8 then $9 else task.priority end,
            due_date = case when $10 then $11 else task.due_date end,
            due_day = case when $10 then $12 else task.due_day end,
            tags = coalesce($13, task.tags),
            updated_at = case when $16 then greatest(task.updated_at, clock_timestamp()) else task.updated_at end,
            version = task.version + $16::int
        where task.user_id = $2 and task.id = $3
            and ($14 is null or task.version = any ($14)) and ($15 is null or task.version <> all ($15))
        returning $1, true, task.id, task.user_id::text, task.title::text, task.description::text, task.completed, task.priority,
            task.due_date, task.tags::text[], task.created_at, task.updated_at, task.due_day, task.version, 0::smallint;
    if not found then
        -- 1 there is no such task; 2 there was when this began, in a version that the client doesn't mean.
        ran := name;
        is_found := true;
        outcome := case when was_there then 2 else 1 end;
        return next;
    end if;
    ran := set_config('task_service.user_id', before, true);
end
$function$;

-- Completes a task or reopens it; where that is null, whichever it is not.
create function task_service.complete_task(
    name text, owner text, which uuid, boolean, bigint[], bigint[]
)
returns table (
    ran text, is_found boolean, id uuid, user_id text, title text, description text, completed boolean, priority smallint,
    due_date timestamptz, tags text[], created_at timestamptz, updated_at timestamptz, due_day date, version bigint,
    outcome smallint
)
language plpgsql volatile security invoker rows 1
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    before constant text := coalesce(current_setting('task_service.user_id', true), '');
    was_there boolean;
begin
    if name is distinct from 'task.complete.call' then
        return;
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'transactions are % here', current_setting('transaction_isolation') using errcode = 'US001';
    end if;
    -- On the disk before it is acknowledged. This holds until the transaction ends, and so for its commit.
    if current_setting('synchronous_commit') = 'off' then
        ran := set_config('synchronous_commit', 'on', true);
    end if;
    ran := set_config('task_service.user_id', owner, true);
    ran := name;
    if $5 is not null or $6 is not null then
        was_there := exists (select from task_service.tasks as task where task.user_id = $2 and task.id = $3);
    end if;
    return query
        update task_service.tasks as task
        set completed = coalesce($4, not task.completed),
            updated_at = greatest(task.updated_at, clock_timestamp()),
            version = task.version + 1
        where task.user_id = $2 and task.id = $3
            and ($5 is null or task.version = any ($5)) and ($6 is null or task.version <> all ($6))
        returning $1, true, task.id, task.user_id::text, task.title::text, task.description::text, task.completed, task.priority,
            task.due_date, task.tags::text[], task.created_at, task.updated_at, task.due_day, task.version, 0::smallint;
    if not found then
        -- 1 there is no such task; 2 there was when this began, in a version that the client doesn't mean.
        ran := name;
        is_found := true;
        outcome := case when was_there then 2 else 1 end;
        return next;
    end if;
    ran := set_config('task_service.user_id', before, true);
end
$function$;

create function task_service.delete_task(name text, owner text, which uuid, bigint[], bigint[])
returns table (
    ran text, is_found boolean, id uuid, user_id text, title text, description text, completed boolean, priority smallint,
    due_date timestamptz, tags text[], created_at timestamptz, updated_at timestamptz, due_day date, version bigint,
    outcome smallint
)
language plpgsql volatile security invoker rows 1
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    before constant text := coalesce(current_setting('task_service.user_id', true), '');
    was_there boolean;
begin
    if name is distinct from 'task.delete.call' then
        return;
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'transactions are % here', current_setting('transaction_isolation') using errcode = 'US001';
    end if;
    -- On the disk before it is acknowledged. This holds until the transaction ends, and so for its commit.
    if current_setting('synchronous_commit') = 'off' then
        ran := set_config('synchronous_commit', 'on', true);
    end if;
    ran := set_config('task_service.user_id', owner, true);
    ran := name;
    if $4 is not null or $5 is not null then
        was_there := exists (select from task_service.tasks as task where task.user_id = $2 and task.id = $3);
    end if;
    return query
        delete from task_service.tasks as task
        where task.user_id = $2 and task.id = $3
            and ($4 is null or task.version = any ($4)) and ($5 is null or task.version <> all ($5))
        returning $1, true, task.id, task.user_id::text, task.title::text, task.description::text, task.completed, task.priority,
            task.due_date, task.tags::text[], task.created_at, task.updated_at, task.due_day, task.version, 0::smallint;
    if not found then
        -- 1 there is no such task; 2 there was when this began, in a version that the client doesn't mean.
        ran := name;
        is_found := true;
        outcome := case when was_there then 2 else 1 end;
        return next;
    end if;
    ran := set_config('task_service.user_id', before, true);
end
$function$;
