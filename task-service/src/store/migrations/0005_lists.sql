-- The lists that everybody asks for: by status, newest first or by due date. Where most tasks are done, the pending ones are
-- few, and not where the order begins.
--
-- Nobody writes tasks while they are built: on a busy machine some 1 s for both and each 100,000 tasks. Who has many, and
-- migration 4 behind them (which writes the table anew, with its indexes), builds them before, each by `create index concurrently`
-- under its name here, and looks that `\d task_service.tasks` calls none of them invalid.
create index if not exists tasks_by_status on task_service.tasks (user_id, completed, created_at, id);
create index if not exists tasks_by_status_and_due_date on task_service.tasks (user_id, completed, due_date, id);
