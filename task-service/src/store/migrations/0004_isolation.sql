-- Whose a row is, decided by the server too: a statement sees and writes the rows of the user who is set for its
-- transaction (`set_config('task_service.user_id', …, true)`), whatever it says itself. Where nobody is set, it sees none, but
-- answers whose time is over.
--
-- The owner of the tables is bound as well (`force`). Roles that are superusers or have BYPASSRLS never are.
--
-- Replicas from before this set no user: from here on they find no task, and their writes are refused. So they are stopped
-- before this runs, and after a roll-back to them their role needs BYPASSRLS, or the two tables
-- `no force row level security, disable row level security`.

-- Both at once, in the order in which keyed writes take them: a replica from before this that writes meanwhile waits, and neither
-- ends the other's transaction by a deadlock.
lock table task_service.answers, task_service.tasks in access exclusive mode;

-- What tasks are sorted by title by. Behind row-level security an index serves only what can't tell anything of the rows that
-- are not shown: a comparison of columns, and no function of them that PostgreSQL doesn't know to be silent, as `lower` isn't.
-- With `lower(title)` a page would read all pages before it. The same holds for `like`, and for every index of an extension.
--
-- The table is written anew; on a busy machine that takes some 2 s for each 100,000 tasks, and nobody reads or writes meanwhile.
alter table task_service.tasks add column title_key text generated always as (lower(title)) stored;
drop index task_service.tasks_by_title;
create index tasks_by_title on task_service.tasks (user_id, title_key, id);

alter table task_service.tasks enable row level security, force row level security;
alter table task_service.answers enable row level security, force row level security;

create policy own on task_service.tasks
    using (user_id = current_setting('task_service.user_id', true));

create policy own on task_service.answers
    using (user_id = current_setting('task_service.user_id', true));

-- The sweep has no user, and may do what it is for: see and remove answers whose time is over. Who has a user never gets
-- here, so that a statement without a `where` finds nobody else's old answers either. `with check` lets nobody write so.
create policy expired on task_service.answers
    using (
        coalesce(current_setting('task_service.user_id', true), '') = '' and made_at <= now() - interval '24 hours'
    )
    with check (false);
