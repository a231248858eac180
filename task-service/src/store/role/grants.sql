-- The role that serves reads and writes rows and calls functions, those of now and those to come, and nothing else.
do $grants$
declare
    serving constant text := current_setting('task_service.serving_role');
    migrating constant text := current_setting('task_service.migrating_role');
    thing record;
    -- Such a one would lose its own rights, and could take them back: it keeps what it has.
    is_owner constant boolean := exists (
        select from pg_namespace n left join pg_class c on relnamespace = n.oid and relkind in ('r', 'p')
        where nspname = 'task_service' and serving in (pg_get_userbyid(nspowner), pg_get_userbyid(relowner))
    );
begin
    if not is_owner then
        execute format('revoke all on schema task_service from %I', serving);
        execute format('revoke all on all tables in schema task_service from %I', serving);
        execute format('revoke all on all functions in schema task_service from %I', serving);
    end if;
    execute format('grant usage on schema task_service to %I', serving);
    execute format('grant select, insert, update, delete on all tables in schema task_service to %I', serving);
    if not is_owner then
        execute format('revoke insert, update, delete on task_service.migrations from %I', serving);
    end if;
    execute format('grant usage on all sequences in schema task_service to %I', serving);
    execute format(
        'alter default privileges for role %I in schema task_service grant select, insert, update, delete on tables to %I',
        migrating, serving
    );
    execute format(
        'alter default privileges for role %I in schema task_service grant usage on sequences to %I', migrating, serving
    );
    -- As a rule everybody may call functions; not where somebody has taken that away.
    execute format('grant execute on all functions in schema task_service to %I', serving);
    execute format(
        'alter default privileges for role %I in schema task_service grant execute on functions to %I', migrating, serving
    );
    -- Who went back to a release that sets no user has switched it off.
    for thing in
        select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname = 'task_service' and not (relrowsecurity and relforcerowsecurity)
            and exists (select from pg_policy where polrelid = c.oid)
    loop
        execute format('alter table %s enable row level security, force row level security', thing.name);
    end loop;
    if current_setting('task_service.lent', true) = 'on' then
        execute format('revoke %I from %I', migrating, current_user);
    end if;
end
$grants$;
