-- Pages of every sort, dates without a time, a fourth priority.

-- The day of a due date that is one: then `due_date` is that day's start in UTC, by which it is sorted. If the two don't
-- agree, `due_date` counts: a replica of the release before, which knows it alone, has written a moment. What was
-- there before is what it was told as, a moment.
--
-- First of all, because it takes the table for itself: a lock that grew into that later could meet somebody who waits for
-- us, after all indexes were built.
alter table task_service.tasks add column due_day date;

-- 4 urgent. A replica of the release before shows it as none, and keeps it.
alter table task_service.tasks
    drop constraint tasks_priority_check,
    add constraint tasks_priority_check check (priority between 1 and 4);

-- A page is a range of one of them, wherever it lies, instead of a sort of all that a user has. The price is paid by
-- changes: those of an indexed column (and `updated_at` always is one) touch every index of the row. An index on text
-- follows the collation of the database; after a change of the system's, PostgreSQL asks for a `reindex`.
--
-- Nobody reads or writes tasks while they are built: on a busy machine some 1.6 s for all four and each 100,000 tasks. Who
-- has more tasks than that builds them before the upgrade, each by `create index concurrently` under its name here, and
-- looks that `\d task_service.tasks` calls none of them invalid.
create index if not exists tasks_by_update on task_service.tasks (user_id, updated_at, id);
create index if not exists tasks_by_title on task_service.tasks (user_id, lower(title), id);
create index if not exists tasks_by_due_date on task_service.tasks (user_id, due_date, id);
create index if not exists tasks_by_priority on task_service.tasks (user_id, priority, id);
