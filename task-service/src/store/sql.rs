//! Every statement that the service sends while it serves.
//!
//! `$1` is the user in each of them, columns are listed by name, and tables by their full name: a search path that
//! somebody left behind in a pooled connection changes nothing.

use crate::task::listing::{Order, Sort};

macro_rules! columns {
    () => {
        "id, user_id, title, description, completed, priority, due_date, tags, created_at, updated_at"
    };
}

macro_rules! list {
    ($order:literal) => {
        concat!(
            "select ",
            columns!(),
            "
from task_service.tasks
where user_id = $1
    and ($2::boolean is null or completed = $2)
    and ($3::smallint is null or priority = $3)
    and ($4::text is null or $4 = any (tags))
    and ($5::text is null or title ilike $5 or description ilike $5)
order by ",
            $order,
            "
limit $6 offset $7"
        )
    };
}

/// The user's tasks, in this order. The id breaks ties, so that pages never show a task twice; a task without a
/// date or a priority comes last, whichever way.
pub(super) const fn list(sort: Sort, order: Order) -> &'static str {
    match (sort, order) {
        (Sort::CreatedAt, Order::Ascending) => list!("created_at asc, id asc"),
        (Sort::CreatedAt, Order::Descending) => list!("created_at desc, id desc"),
        (Sort::UpdatedAt, Order::Ascending) => list!("updated_at asc, id asc"),
        (Sort::UpdatedAt, Order::Descending) => list!("updated_at desc, id desc"),
        (Sort::Title, Order::Ascending) => list!("lower(title) asc, id asc"),
        (Sort::Title, Order::Descending) => list!("lower(title) desc, id desc"),
        (Sort::DueDate, Order::Ascending) => list!("due_date asc nulls last, id asc"),
        (Sort::DueDate, Order::Descending) => list!("due_date desc nulls last, id desc"),
        (Sort::Priority, Order::Ascending) => list!("priority asc nulls last, id asc"),
        (Sort::Priority, Order::Descending) => list!("priority desc nulls last, id desc"),
    }
}

/// One task of the user.
pub(super) const GET: &str = concat!(
    "select ",
    columns!(),
    "
from task_service.tasks
where user_id = $1 and id = $2"
);

/// A new task. Sent again, it changes nothing and gives the same answer: the id is ours, and known before.
pub(super) const CREATE: &str = concat!(
    "insert into task_service.tasks as task (user_id, id, title, description, completed, priority, due_date, tags)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (user_id, id) do update set version = task.version
returning ",
    columns!()
);

/// Changes to a task. What may be emptied comes with a flag that says whether it was named.
pub(super) const CHANGE: &str = concat!(
    "update task_service.tasks
set title = coalesce($3, title),
    description = case when $4 then $5 else description end,
    completed = coalesce($6, completed),
    priority = case when $7 then $8 else priority end,
    due_date = case when $9 then $10 else due_date end,
    tags = coalesce($11, tags),
    updated_at = now(),
    version = version + 1
where user_id = $1 and id = $2
returning ",
    columns!()
);

/// Completes a task or reopens it; turns it over where `$3` is null, so that no two of these undo one another
/// unseen.
pub(super) const COMPLETE: &str = concat!(
    "update task_service.tasks
set completed = coalesce($3, not completed),
    updated_at = now(),
    version = version + 1
where user_id = $1 and id = $2
returning ",
    columns!()
);

/// Removes a task.
pub(super) const DELETE: &str = "delete from task_service.tasks
where user_id = $1 and id = $2
returning id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_is_about_one_user() {
        let sorts = [Sort::CreatedAt, Sort::UpdatedAt, Sort::Title, Sort::DueDate, Sort::Priority];
        let lists =
            sorts.into_iter().flat_map(|sort| [list(sort, Order::Ascending), list(sort, Order::Descending)]);
        for statement in lists.chain([GET, CHANGE, COMPLETE, DELETE]) {
            assert!(
                statement.contains("\nwhere user_id = $1\n")
                    || statement.contains("\nwhere user_id = $1 and ")
            );
        }
        assert!(CREATE.contains("(user_id, id,") && CREATE.contains("values ($1, $2,"));
    }
}
