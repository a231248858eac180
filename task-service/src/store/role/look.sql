select current_user::text as name,
    coalesce((select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = 'task_service'), current_user::text)
        as owner,
    case when rolsuper then 'is a superuser' when rolbypassrls then 'has BYPASSRLS' else 'finds it switched off' end as why,
    rolsuper or rolbypassrls as is_exempt,
    coalesce(
        (
            select bool_and(row_security_active(c.oid))
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where nspname = 'task_service' and relname in ('tasks', 'answers', 'legacy_ids', 'task_tags')
        ),
        false
    ) as is_bound,
    array(select lacks from (
        select 0 as at, 'usage on schema task_service' as lacks
        from pg_namespace where nspname = 'task_service' and not has_schema_privilege(oid, 'usage')
        union all
        select at, format('%s on task_service.%s', privilege, relname)
        from (
            values (1, 'migrations', 'select'),
                (2, 'tasks', 'select'), (3, 'tasks', 'insert'), (4, 'tasks', 'update'), (5, 'tasks', 'delete'),
                (6, 'answers', 'select'), (7, 'answers', 'insert'), (8, 'answers', 'update'), (9, 'answers', 'delete'),
                (10, 'legacy_ids', 'select'),
                (11, 'task_tags', 'select'), (12, 'task_tags', 'insert'), (13, 'task_tags', 'update'), (14, 'task_tags', 'delete')
        ) as needed (at, what, privilege)
        join pg_class c on relname = what
        join pg_namespace n on n.oid = relnamespace and nspname = 'task_service'
        where not has_table_privilege(c.oid, privilege)
        union all
        select 11, format('execute on function task_service.%s', proname)
        from pg_proc join pg_namespace n on n.oid = pronamespace and nspname = 'task_service'
        where proname in ('get_task', 'list_tasks', 'create_task', 'change_task', 'complete_task', 'delete_task')
            and not has_function_privilege(pg_proc.oid, 'execute')
        order by at, lacks
    ) as all_that_lacks) as missing
from pg_roles where rolname = current_user
