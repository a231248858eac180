-- The role that serves reads and writes rows, now and in tables to come, and nothing else.
do $grants$
declare
    serving constant text := current_setting('task_service.serving_role');
    migrating constant text := current_setting('task_service.migrating_role');
begin
    execute format('revoke all on schema task_service from %I', serving);
    execute format('grant usage on schema task_service to %I', serving);
    execute format('revoke all on all tables in schema task_service from %I', serving);
    execute format('grant select, insert, update, delete on all tables in schema task_service to %I', serving);
    execute format('revoke insert, update, delete on task_service.migrations from %I', serving);
    execute format('grant usage on all sequences in schema task_service to %I', serving);
    execute format(
        'alter default privileges for role %I in schema task_service grant select, insert, update, delete on tables to %I',
        migrating, serving
    );
    execute format(
        'alter default privileges for role %I in schema task_service grant usage on sequences to %I', migrating, serving
    );
    if current_setting('task_service.lent', true) = 'on' then
        execute format('revoke %I from %I', migrating, current_user);
    end if;
end
$grants$;
