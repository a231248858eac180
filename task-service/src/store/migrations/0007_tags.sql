-- Which tasks have a tag, so that a list by tag is a range of an index: behind row-level security no index on `tags` itself would
-- serve, since `@>` may tell of hidden rows.
--
-- Triggers keep it, in the transaction of the task and with the rights of whoever writes: so it is right whoever writes tasks, a
-- replica of the release before, too. Without tags no trigger fires.
--
-- Nobody reads or writes tasks while it is filled: on a busy machine some 3 s for each 100,000 tags, and 120 s at most. Who has
-- millions of them fills it before, while all goes on, by a role that row-level security doesn't bind (a superuser, or one with
-- BYPASSRLS) and that may become the one that migrates:
--
-- 1. `set role` to the one that migrates; all of this file down to "-- Filled", in one transaction.
-- 2. `reset role`; for one range of users after the other (`user_id >= … and user_id < …`), each a transaction of its own:
--      insert into task_service.task_tags (user_id, tag, completed, created_at, id, priority)
--      select user_id, tag, completed, created_at, id, priority
--      from (select * from task_service.tasks where user_id >= … and user_id < … for share) as theirs, unnest(tags) as tag
--      where char_length(tag) <= 50
--      on conflict do nothing;
-- 3. `comment on table task_service.task_tags is 'filled'`. Then this passes over what is there.

-- The strongest lock first, if it is needed at all: one that grew into that later could meet somebody who waits for us.
do $lock$
begin
    if row_security_active('task_service.tasks') then
        lock table task_service.tasks in access exclusive mode;
    end if;
end
$lock$;

create table if not exists task_service.task_tags (
    user_id text collate "C" not null,
    -- As in a task. One that is longer than the service's tags is not here: nobody can ask for it, and an index couldn't hold it.
    tag text collate "C" not null check (char_length(tag) <= 50),
    completed boolean not null,
    created_at timestamptz not null,
    id uuid not null,
    priority smallint,
    -- By tag, and by status within it, newest or oldest first. The priority stands beside it, so that tasks of another one are passed
    -- over here.
    primary key (user_id, tag, completed, created_at, id) include (priority)
);

-- It sets no search path, which would cost a third of it, and so names by their schema what could be somebody else's in one.
create or replace function task_service.keep_tags() returns trigger
language plpgsql security invoker
as $function$
begin
    if tg_op = 'UPDATE' and old.user_id = new.user_id and old.id = new.id and old.created_at = new.created_at
        and old.tags operator(pg_catalog.=) new.tags
    then
        update task_service.task_tags set completed = new.completed, priority = new.priority
        where user_id = old.user_id and tag = any (old.tags) and completed = old.completed
            and created_at = old.created_at and id = old.id;
        return null;
    end if;
    if tg_op <> 'INSERT' then
        delete from task_service.task_tags
        where user_id = old.user_id and tag = any (old.tags) and completed = old.completed
            and created_at = old.created_at and id = old.id;
    end if;
    if tg_op <> 'DELETE' then
        insert into task_service.task_tags (user_id, tag, completed, created_at, id, priority)
        select new.user_id, tag, new.completed, new.created_at, new.id, new.priority
        from pg_catalog.unnest(new.tags) as tag where pg_catalog.char_length(tag) <= 50
        on conflict do nothing;
    end if;
    return null;
end
$function$;

create or replace function task_service.forget_tags() returns trigger
language plpgsql security invoker
as $function$
begin
    truncate task_service.task_tags;
    return null;
end
$function$;

create or replace trigger tags_of_a_new_task after insert on task_service.tasks
    for each row when (new.tags <> '{}') execute function task_service.keep_tags();
create or replace trigger tags_of_a_changed_task
    after update of user_id, id, tags, completed, priority, created_at on task_service.tasks
    for each row when (
        (old.tags <> '{}' or new.tags <> '{}') and (
            old.completed <> new.completed or old.priority is distinct from new.priority or old.tags <> new.tags
            or old.id <> new.id or old.created_at <> new.created_at or old.user_id <> new.user_id
        )
    ) execute function task_service.keep_tags();
create or replace trigger tags_of_a_removed_task after delete on task_service.tasks
    for each row when (old.tags <> '{}') execute function task_service.keep_tags();
create or replace trigger tags_of_no_task after truncate on task_service.tasks
    for each statement execute function task_service.forget_tags();

-- Who may write tasks may write their tags: no replica of the release before, and no grant made by hand, is left behind; but for grants
-- of single columns, and of `truncate`, which whoever made them makes again.
do $grants$
declare
    theirs record;
begin
    for theirs in
        select privilege_type as privilege, case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end as role
        from pg_class, aclexplode(relacl)
        where oid = 'task_service.tasks'::regclass and grantee <> relowner
            and privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    loop
        execute format('grant %s on task_service.task_tags to %s', theirs.privilege, theirs.role);
    end loop;
end
$grants$;

alter table task_service.task_tags enable row level security, force row level security;
do $policy$
begin
    if not exists (select from pg_policy where polrelid = 'task_service.task_tags'::regclass) then
        create policy own on task_service.task_tags
            using (user_id = current_setting('task_service.user_id', true));
    end if;
end
$policy$;

-- Filled

do $fill$
declare
    -- Nobody else gets at either table before the end of this.
    is_bound constant boolean := row_security_active('task_service.tasks') or row_security_active('task_service.task_tags');
begin
    if obj_description('task_service.task_tags'::regclass, 'pg_class') = 'filled' then
        return;
    end if;
    if is_bound then
        alter table task_service.tasks no force row level security;
        alter table task_service.task_tags no force row level security;
    end if;
    insert into task_service.task_tags (user_id, tag, completed, created_at, id, priority)
    select user_id, tag, completed, created_at, id, priority
    from task_service.tasks, unnest(tags) as tag
    where char_length(tag) <= 50
    order by 1, 2, 3, 4, 5
    on conflict do nothing;
    if is_bound then
        alter table task_service.tasks force row level security;
        alter table task_service.task_tags force row level security;
    end if;
end
$fill$;
