//! Every statement that the service sends while it serves.
//!
//! `$1` is the statement's own name, which it compares, and `$2` the user. Columns are listed by name, and tables by
//! their full name: a search path that another client left behind in a pooled connection changes nothing. Text is cast
//! to the system's type, in case an extension gave its column another.

use chassis::outbound::database::{Idempotency, Sql, Statement};
use tokio_postgres::types::Type;

use crate::task::listing::{Order, Sort};

/// What is shown of a task. `row` reads it by place.
macro_rules! columns {
    () => {
        "id, user_id::text, title::text, description::text, completed, priority, due_date, tags::text[], created_at, \
         updated_at"
    };
}

/// A read; `$select` is what it reads. The order survives the join: with a single row on the left, the server joins in
/// a loop over the rows of the right.
macro_rules! read {
    ($name:literal, [$($type:ident),*], $($select:tt)*) => {
        Statement::new(
            $name,
            Idempotency::ReadOnly,
            Sql::Static(concat!(
                "select '", $name, "' as ran, it.* from (select 1) as one left join lateral (\n",
                $($select)*,
                "\n) as it on $1 = '", $name, "'"
            )),
            &[Type::TEXT, $(Type::$type),*],
        )
    };
}

/// A write; `$change` is what it does, under the right name only. It is on the disk before it is acknowledged: if a
/// role or a database says otherwise, the setting is overruled for this one transaction, which leaves nothing behind in
/// a pooler.
macro_rules! write {
    ($name:literal, $idempotency:ident, [$($type:ident),*], $($change:tt)*) => {
        Statement::new(
            $name,
            Idempotency::$idempotency,
            Sql::Static(concat!(
                "with it as (\n",
                $($change)*,
                "\nreturning true as found, ", columns!(), "\n)
select '", $name, "' as ran, it.*
from (
    select set_config(
        'synchronous_commit',
        case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end,
        true
    )
) as durable left join it on true"
            )),
            &[Type::TEXT, $(Type::$type),*],
        )
    };
}

macro_rules! list {
    ($name:literal, $order:literal) => {{
        static LIST: Statement = read!(
            $name,
            [BOOL, INT2, TEXT, TEXT, INT8, INT8],
            "select true as found, ",
            columns!(),
            "
from task_service.tasks
where user_id = $2
    and ($3 is null or completed = $3)
    and ($4 is null or priority = $4)
    and ($5 is null or $5 = any (tags))
    and ($6 is null or title ilike $6 or description ilike $6)
order by ",
            $order,
            "
limit $7 offset $8"
        );
        &LIST
    }};
}

/// The user's tasks, in this order. The id breaks ties, so that no task is on two pages. A task without a date or a
/// priority comes last, in either direction.
pub(super) fn list(sort: Sort, order: Order) -> &'static Statement {
    match (sort, order) {
        (Sort::CreatedAt, Order::Ascending) => list!("task.list.created", "created_at asc, id asc"),
        (Sort::CreatedAt, Order::Descending) => list!("task.list.created.desc", "created_at desc, id desc"),
        (Sort::UpdatedAt, Order::Ascending) => list!("task.list.updated", "updated_at asc, id asc"),
        (Sort::UpdatedAt, Order::Descending) => list!("task.list.updated.desc", "updated_at desc, id desc"),
        (Sort::Title, Order::Ascending) => list!("task.list.title", "lower(title) asc, id asc"),
        (Sort::Title, Order::Descending) => list!("task.list.title.desc", "lower(title) desc, id desc"),
        (Sort::DueDate, Order::Ascending) => list!("task.list.due", "due_date asc nulls last, id asc"),
        (Sort::DueDate, Order::Descending) => {
            list!("task.list.due.desc", "due_date desc nulls last, id desc")
        }
        (Sort::Priority, Order::Ascending) => list!("task.list.priority", "priority asc nulls last, id asc"),
        (Sort::Priority, Order::Descending) => {
            list!("task.list.priority.desc", "priority desc nulls last, id desc")
        }
    }
}

/// One task of the user.
pub(super) static GET: Statement = read!(
    "task.get",
    [UUID],
    "select true as found, ",
    columns!(),
    "
from task_service.tasks
where user_id = $2 and id = $3"
);

/// A new task. Sent again, it changes nothing and gives the same answer: the id was made before.
pub(super) static CREATE: Statement = write!(
    "task.create",
    Idempotent,
    [UUID, TEXT, TEXT, BOOL, INT2, TIMESTAMPTZ, TEXT_ARRAY],
    "insert into task_service.tasks as task (user_id, id, title, description, completed, priority, due_date, tags)
select $2, $3, $4, $5, $6, $7, $8, $9
where $1 = 'task.create'
on conflict (user_id, id) do update set version = task.version"
);

/// Changes to a task. A field that may be emptied comes with a flag that says whether it was named.
///
/// Of two concurrent changes one waits for the other, and has begun before the other ended. So `updated_at` is taken
/// when the row is locked, and never goes back.
pub(super) static CHANGE: Statement = write!(
    "task.change",
    NotIdempotent,
    [UUID, TEXT, BOOL, TEXT, BOOL, BOOL, INT2, BOOL, TIMESTAMPTZ, TEXT_ARRAY],
    "update task_service.tasks
set title = coalesce($4, title),
    description = case when $5 then $6 else description end,
    completed = coalesce($7, completed),
    priority = case when $8 then $9 else priority end,
    due_date = case when $10 then $11 else due_date end,
    tags = coalesce($12, tags),
    updated_at = greatest(updated_at, clock_timestamp()),
    version = version + 1
where user_id = $2 and id = $3 and $1 = 'task.change'"
);

/// Completes a task or reopens it; if `$4` is null, whichever it is not. That is decided under the row's lock, so that
/// two concurrent toggles are two.
pub(super) static COMPLETE: Statement = write!(
    "task.complete",
    NotIdempotent,
    [UUID, BOOL],
    "update task_service.tasks
set completed = coalesce($4, not completed),
    updated_at = greatest(updated_at, clock_timestamp()),
    version = version + 1
where user_id = $2 and id = $3 and $1 = 'task.complete'"
);

/// Removes a task.
pub(super) static DELETE: Statement = write!(
    "task.delete",
    NotIdempotent,
    [UUID],
    "delete from task_service.tasks
where user_id = $2 and id = $3 and $1 = 'task.delete'"
);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all() -> Vec<&'static Statement> {
        let sorts = [Sort::CreatedAt, Sort::UpdatedAt, Sort::Title, Sort::DueDate, Sort::Priority];
        let lists =
            sorts.into_iter().flat_map(|sort| [list(sort, Order::Ascending), list(sort, Order::Descending)]);
        lists.chain([&GET, &CREATE, &CHANGE, &COMPLETE, &DELETE]).collect()
    }

    #[test]
    fn every_statement_is_about_one_user() {
        for statement in all() {
            let sql = statement.sql();
            let named =
                sql.contains("\nwhere user_id = $2\n") || sql.contains("\nwhere user_id = $2 and id = $3");
            let creates = sql.contains("(user_id, id,") && sql.contains("\nselect $2, $3,");
            assert!(named || creates, "{sql}");
        }
    }

    #[test]
    fn every_statement_compares_its_own_name_and_says_what_ran() {
        let mut names = HashSet::new();
        for statement in all() {
            let (sql, name) = (statement.sql(), statement.name());
            assert!(names.insert(name), "{name} is the name of two");
            assert!(sql.contains(&format!("select '{name}' as ran, it.*")), "{sql}");
            let changes = ["insert into", "update task", "delete from"].iter().any(|verb| sql.contains(verb));
            // In what is changed itself, where it says that, and not only in what is shown of it.
            let change = sql.split("returning").next().unwrap();
            let compared = if changes { change } else { sql };
            assert!(compared.contains(&format!("$1 = '{name}'")), "{sql}");
        }
    }
}
