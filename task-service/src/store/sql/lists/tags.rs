//! The lists and the count of a tag. `task_tags` has each task of a tag, with its status, its priority and when it was made:
//!
//! - **By creation**, a page is a range of its index, or two where the status is open. What has another priority is passed over
//!   in the index. Then each task of the page is looked up.
//! - **In another order**, the next [`TRIED`] tasks of that order are looked at, which fill the page of a tag that many have. Otherwise,
//!   up to [`FEW`] tasks of the tag are looked up and sorted. Of up to [`SOME`], the ids are kept, and the index of that order is
//!   walked, which has ids too; the tasks of the page alone are looked up. Beyond that they are so many that the next ones are as a
//!   rule not far away.

use super::{ALL, COLUMNS, MAYBE_PRIORITY, MAYBE_STATUS, NAMES, Page, TAG, coded, joined};

/// So many tasks are looked at first.
const TRIED: i64 = 100;

/// Up to so many tasks are few: each lies in a block of its own, and is found by three more.
const FEW: u32 = 100;

/// Up to so many ids are kept at one time, some 1 MB, and read in some 200 blocks.
const SOME: u32 = 20_000;

/// How many tasks have the tag.
pub(super) fn count() -> String {
    format!("select true as found, count(*) as tasks\nfrom (\n{}\n) as hits", places("true as one", "", ""))
}

/// A page of them, in the order of their creation.
pub(super) fn by_creation(page: &Page) -> String {
    let (_, direction) = page.direction();
    let behind = if page.after { format!("\n    and {}", page.behind()) } else { String::new() };
    let order = format!("\n    order by created_at {direction}, id {direction}\n    limit $8 + $9");
    format!(
        "select true as found, {NAMES}
from (
    select made_at, task
    from (
    {places}
    ) as places
    order by made_at {direction}, task {direction}
    limit $8 offset $9
) as places
{them}
order by made_at {direction}, task {direction}",
        places = places("created_at as made_at, id as task", &behind, &order),
        them = them(),
    )
}

/// A page of them, in another order.
pub(super) fn otherwise(page: &Page) -> String {
    let found = format!("select true as found, {NAMES} from tried where (select are_enough from first)");
    let mut parts = vec![found, few(page)];
    parts.extend(page.ranges(|range| some(page, range)));
    parts.extend(page.narrowed(&format!("{TAG}\n    and (select number from size) > {SOME}")));
    // Where some have no value, those come last.
    let meets = [MAYBE_STATUS, MAYBE_PRIORITY, TAG].concat();
    let next = page.ranges(|range| page.walked(range, TRIED, &meets)).swap_remove(0);
    format!(
        "with tried as materialized (
{next}
limit $8 + $9
), first as materialized (
    select count(*) = $8 + $9 as are_enough from tried
), hits as materialized (
    select task
    from (
    {places}
    ) as places
    limit {SOME} + 1
), size as materialized (
    select count(*) as number from hits
)
{parts}",
        places = places("id as task", "\n    and not (select are_enough from first)", ""),
        parts = joined(&parts),
    )
}

/// Where the tag's tasks are, of one status and of the other: so each is a range of the index, also for a plan that doesn't know
/// which of them is asked for.
fn places(columns: &str, behind: &str, order: &str) -> String {
    let of_status = |completed: bool| {
        format!(
            "(select {columns}
    from task_service.task_tags
    where user_id = $2 and tag = $5 and completed = {completed} and ($3 is null or $3 = {completed})
    and ($4 is null or priority = $4){behind}{order})"
        )
    };
    format!("{}\n    union all\n    {}", of_status(false), of_status(true))
}

/// Each task whose id is known: `offset 0` keeps it from being a join, which the server might begin at the other end.
fn them() -> String {
    format!(
        "cross join lateral (
    select {COLUMNS}, title_key
    from task_service.tasks
    where user_id = $2 and id = task
    offset 0
) as them"
    )
}

fn few(page: &Page) -> String {
    let (column, (_, direction)) = (page.key.column, page.direction());
    format!(
        "select true as found, {NAMES}
from hits
{them}
where (select number from size) <= {FEW}{behind}
order by {column} {direction} nulls last, id {direction}",
        behind = page.behind_of_all(),
        them = them(),
    )
}

/// The index has the order and the ids, and status and priority, too. Asked as `is true`, the server looks each id up among
/// the hits, and makes no join of it.
fn some(page: &Page, range: &str) -> String {
    let (column, (_, direction)) = (page.key.column, page.direction());
    let coded = coded(page.key.sort);
    format!(
        "select true as found, {NAMES}
from (
    select {column} as place, id as task
    from task_service.tasks
    where user_id = $2{coded}{range}
    order by {column} {direction}, id {direction}
    limit (select {ALL})
) as walk
{them}
where (select number from size) > {FEW} and (select number from size) <= {SOME}
    and (task in (select task from hits)) is true
order by place {direction}, task {direction}",
        them = them(),
    )
}
