-- The index of each order has status and priority, too, behind its key. A list that is narrowed by them is read in its order, and
-- what is passed over is passed over in the index, where each task had to be looked at: nearly all of a user's, if the first hit
-- comes late.
--
-- They are codes, other ones in each index (`store/sql/lists` asks for them), so that a condition on them means one index alone,
-- whatever the server believes of the others. Of all that an expression may be, `case` with comparisons of small integers is
-- something that row-level security lets an index answer: `coalesce` and sums are not.
--
-- The indexes that they replace go first, under the lock that this needs: one that grew into it later could meet somebody who waits
-- for us. The release before reads by the new ones as well as by its own.
--
-- Nobody reads or writes tasks while they are built: on a busy machine some 3 s for all five and each 100,000 tasks. Who has many
-- builds them before, each by `create index concurrently` under its name here, and begins the rollout when the last has ended. One that
-- broke off is left invalid: it is built again here.
drop index if exists task_service.tasks_newest_first, task_service.tasks_by_update, task_service.tasks_by_title,
    task_service.tasks_by_due_date, task_service.tasks_by_priority;

do $$
declare
    broken regclass;
begin
    for broken in
        select indexrelid from pg_index join pg_class on pg_class.oid = indexrelid
        where indrelid = 'task_service.tasks'::regclass and not indisvalid and relname like 'tasks\_in\_order\_of\_%'
    loop
        execute format('drop index %s', broken);
    end loop;
end
$$;

create index if not exists tasks_in_order_of_creation on task_service.tasks (
    user_id, created_at, id,
    (case when completed then 1::smallint else 0::smallint end), (case when priority is null then -1::smallint else priority end)
);
create index if not exists tasks_in_order_of_update on task_service.tasks (
    user_id, updated_at, id,
    (case when completed then 2::smallint else 0::smallint end), (case when priority is null then -2::smallint else priority end)
);
create index if not exists tasks_in_order_of_title on task_service.tasks (
    user_id, title_key, id,
    (case when completed then 3::smallint else 0::smallint end), (case when priority is null then -3::smallint else priority end)
);
create index if not exists tasks_in_order_of_due_date on task_service.tasks (
    user_id, due_date, id,
    (case when completed then 4::smallint else 0::smallint end), (case when priority is null then -4::smallint else priority end)
);
create index if not exists tasks_in_order_of_priority on task_service.tasks (
    user_id, priority, id,
    (case when completed then 5::smallint else 0::smallint end), (case when priority is null then -5::smallint else priority end)
);

-- What else is called so would be taken for one of them.
do $$
declare
    others text;
begin
    select string_agg('tasks_in_order_of_' || name, ', ') into others
    from (values
        ('creation', 'created_at'), ('update', 'updated_at'), ('title', 'title_key'), ('due_date', 'due_date'), ('priority', 'priority')
    ) as orders (name, key)
    where not exists (
        select from pg_index join pg_class on pg_class.oid = indexrelid
        where indrelid = 'task_service.tasks'::regclass and relname = 'tasks_in_order_of_' || name and indisvalid
            and indnatts = 5 and pg_get_indexdef(indexrelid, 2, false) = key
    );
    if others is not null then
        raise exception '% in task_service: not the index of this name that task-service builds; drop it, then start again', others;
    end if;
end
$$;
