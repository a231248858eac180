-- Makes the two roles where they are not there, and hands the schema and what is in it to the one that migrates.
do $roles$
declare
    serving constant text := current_setting('task_service.serving_role');
    migrating constant text := current_setting('task_service.migrating_role');
    -- What PostgreSQL 16 calls what was a membership before.
    can_become constant text :=
        case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end;
    role text;
    thing record;
begin
    foreach role in array array[migrating, serving] loop
        if not exists (select from pg_roles where rolname = role) then
            execute format('create role %I login', role);
            raise notice 'the role % was made without a password; psql gives it one by \password', role;
        end if;
    end loop;
    if exists (
        select from pg_roles
        where rolname = serving and (rolsuper or rolbypassrls or rolcreaterole or rolreplication)
    ) then
        raise exception 'the role % is a superuser or has BYPASSRLS, CREATEROLE or REPLICATION, and row-level security would not hold it',
            serving
            using hint = 'Let another one serve: one that is not there yet is made by this.';
    end if;
    if pg_has_role(serving, migrating, 'member') then
        raise exception 'the role % is a member of %, and could change the tables', serving, migrating
            using hint = 'Let another one serve: one that is not there yet is made by this.';
    end if;
    -- Who is no superuser may hand something only to a role that they can be; until the end of this.
    if not pg_has_role(migrating, 'usage') or not pg_has_role(migrating, can_become) then
        execute format('grant %I to %I', migrating, current_user);
        perform set_config('task_service.lent', 'on', true);
    end if;
    if not exists (select from pg_namespace where nspname = 'task_service') then
        execute format('create schema task_service authorization %I', migrating);
    end if;
    -- So that what is in it already can be seen here, and its migrations be read by the role that serves from the start.
    if not exists (
        select from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname = 'task_service' and relname = 'migrations'
    ) then
        create table task_service.migrations (
            version bigint primary key,
            name text not null,
            checksum text not null,
            applied_at timestamptz not null default now()
        );
    end if;
    for thing in
        select 'schema' as kind, nspname::text as name from pg_namespace
        where nspname = 'task_service' and nspowner <> (select oid from pg_roles where rolname = migrating)
        union all
        select 'table', c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where nspname = 'task_service' and relkind in ('r', 'p')
            and relowner <> (select oid from pg_roles where rolname = migrating)
        union all
        select 'function', p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = pronamespace
        where nspname = 'task_service' and prokind = 'f'
            and proowner <> (select oid from pg_roles where rolname = migrating)
    loop
        execute format('alter %s %s owner to %I', thing.kind, thing.name, migrating);
    end loop;
end
$roles$;
