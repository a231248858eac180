//! The statements of lists and of counts. What narrows a list has statements of its own, so that a plan which is kept under a
//! name is good for each list that it is used for, and each has one way to its tasks:
//!
//! - **A range of an index**, wherever the page lies: all tasks in every order; by status, newest first or by due date; by
//!   priority in its own order.
//! - **Few or many**, where the index has another order. If there are few, an index of what narrows the list has them all,
//!   and they are sorted. If there are many, the index of the order is walked, which has status and priority, too: what is
//!   passed over is passed over there, without a look at the tasks.
//! - **By a table of tags** ([`tags`]), because no index on the tasks' own would serve under row-level security: there, only
//!   comparisons that can't tell a row's content to anybody may come before the policy, and `@>` is none.
//! - **In the order of the list until the page is full**, for texts: `ilike` is none either. Costly: it may read all that the
//!   user has.

mod tags;

use std::sync::OnceLock;

use chassis::outbound::database::{OwnedStatement, Sql};
use tokio_postgres::types::Type;

use super::{COLUMNS, NAMES, read};
use crate::task::listing::{Listing, Order, Sort};

/// Up to so many tasks are few: each may lie in a block of its own.
const FEW: u32 = 200;

/// No limit.
const ALL: i64 = i64::MAX;

/// What narrows a list most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrowed {
    Not,
    ByStatus,
    ByPriority,
    ByBoth,
    ByTag,
    BySearch,
}

impl Narrowed {
    const ALL: [Self; 6] =
        [Self::Not, Self::ByStatus, Self::ByPriority, Self::ByBoth, Self::ByTag, Self::BySearch];

    fn of(listing: &Listing) -> Self {
        match listing {
            Listing { search: Some(_), .. } => Self::BySearch,
            Listing { tag: Some(_), .. } => Self::ByTag,
            Listing { priority: Some(_), completed: Some(_), .. } => Self::ByBoth,
            Listing { priority: Some(_), .. } => Self::ByPriority,
            Listing { completed: Some(_), .. } => Self::ByStatus,
            Listing { search: None, tag: None, priority: None, completed: None, .. } => Self::Not,
        }
    }

    /// As the statements' names have it.
    fn name(self) -> &'static str {
        match self {
            Self::Not => "all",
            Self::ByStatus => "status",
            Self::ByPriority => "one_priority",
            Self::ByBoth => "both",
            Self::ByTag => "tag",
            Self::BySearch => "search",
        }
    }

    /// Whether all that the user has may have to be read.
    fn is_costly(self) -> bool {
        self == Self::BySearch
    }

    /// As conditions on the tasks.
    fn meets(self) -> String {
        match self {
            Self::Not | Self::ByTag => String::new(),
            Self::ByStatus => STATUS.into(),
            Self::ByPriority => PRIORITY.into(),
            Self::ByBoth => [STATUS, PRIORITY].concat(),
            Self::BySearch => [MAYBE_STATUS, MAYBE_PRIORITY, MAYBE_TAG, SEARCH].concat(),
        }
    }

    /// As conditions that an index begins with, and the order of that index behind them: without one, the server might look for the
    /// first few in all of the table.
    fn indexed(self) -> (String, &'static str) {
        match self {
            Self::Not | Self::ByTag | Self::BySearch => (String::new(), ""),
            Self::ByStatus => (STATUS.into(), "created_at, id"),
            Self::ByPriority => (PRIORITY.into(), "id"),
            Self::ByBoth => (format!("{PRIORITY}{}", coded(Sort::Priority)), "id"),
        }
    }

    /// Whether an index has what narrows the list, and then this order.
    fn is_range(self, sort: Sort) -> bool {
        match self {
            Self::Not => true,
            Self::ByStatus => matches!(sort, Sort::CreatedAt | Sort::DueDate),
            Self::ByPriority | Self::ByBoth => sort == Sort::Priority,
            Self::ByTag | Self::BySearch => false,
        }
    }
}

const STATUS: &str = "\n    and completed = $3";
const PRIORITY: &str = "\n    and priority = $4";
const TAG: &str = "\n    and $5 = any (tags)";
const MAYBE_STATUS: &str = "\n    and ($3 is null or completed = $3)";
const MAYBE_PRIORITY: &str = "\n    and ($4 is null or priority = $4)";
const MAYBE_TAG: &str = "\n    and ($5 is null or $5 = any (tags))";

/// Status and priority, as the index of an order has them behind its key (migration 9). Each has codes of its own, so that these
/// conditions mean that index and no other, which the server may believe to be the shorter way. They are ranges, because either may
/// be open: so they are conditions of the index for every plan.
fn coded(sort: Sort) -> String {
    let code: i16 = match sort {
        Sort::CreatedAt => 1,
        Sort::UpdatedAt => 2,
        Sort::Title => 3,
        Sort::DueDate => 4,
        Sort::Priority => 5,
    };
    let status = format!("(case when completed then {code}::smallint else 0::smallint end)");
    let priority = format!("(case when priority is null then -{code}::smallint else priority end)");
    format!(
        "
    and {status} >= case when $3 is true then {code}::smallint else 0::smallint end
    and {status} <= case when $3 is false then 0::smallint else {code}::smallint end
    and {priority} >= case when $4 is null then -{code}::smallint else $4 end
    and {priority} <= case when $4 is null then {most}::smallint else $4 end",
        most = i16::MAX,
    )
}

/// What is looked for is compared as it is, and if there are other forms of it (`$7`), composed and decomposed too, with each
/// row in lower case, as `ilike` does it. These forms are made once, where another form of each row would cost seconds for
/// 100,000 of them. A text that has both forms within the hit is found only as it was written.
const SEARCH: &str = "
    and (
        ($7 is null and (title ilike $6 or description ilike $6))
        or ($7 is not null and (
            lower(title) like any ((select array[lower($7), lower(normalize($7, nfc)), lower(normalize($7, nfd))])::text[])
            or lower(description) like any ((select array[lower($7), lower(normalize($7, nfc)), lower(normalize($7, nfd))])::text[])
        ))
    )";

/// What a list is sorted by.
struct Key {
    sort: Sort,
    name: &'static str,
    column: &'static str,
    /// Of the parameters of a page that begins behind a task.
    types: &'static [Type],
    is_nullable: bool,
}

/// The types of a list's parameters, and of those of a page behind another. A statement is given those too that it has no use
/// for.
macro_rules! types {
    ($($key:ident)?) => {
        &[Type::TEXT, Type::BOOL, Type::INT2, Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8 $(, Type::$key, Type::UUID)?]
    };
}

const fn key(sort: Sort, name: &'static str, column: &'static str, types: &'static [Type]) -> Key {
    Key { sort, name, column, types, is_nullable: matches!(sort, Sort::DueDate | Sort::Priority) }
}

const KEYS: [Key; 5] = [
    key(Sort::CreatedAt, "created", "created_at", types!(TIMESTAMPTZ)),
    key(Sort::UpdatedAt, "updated", "updated_at", types!(TIMESTAMPTZ)),
    key(Sort::Title, "title", "title_key", types!(TEXT)),
    key(Sort::DueDate, "due", "due_date", types!(TIMESTAMPTZ)),
    key(Sort::Priority, "priority", "priority", types!(INT2)),
];

/// All of the user's tasks, the newest first.
const CALL: Sql = Sql::Static("select * from task_service.list_tasks($1, $2, $8, $9)");

/// For each of what narrows a list: its sorts, directions, and whether it begins behind a task.
const LISTS_COUNT: usize = Narrowed::ALL.len() * KEYS.len() * 2 * 2;

/// Each is made when it is first asked for.
static LISTS: [OnceLock<OwnedStatement>; LISTS_COUNT] = [const { OnceLock::new() }; LISTS_COUNT];
static COUNTS: [OnceLock<OwnedStatement>; Narrowed::ALL.len()] =
    [const { OnceLock::new() }; Narrowed::ALL.len()];

/// The user's tasks, as asked for; behind a task, whose key is `$10` and whose id is `$11`, or from the first one. The id
/// breaks ties, so that no task is on two pages. A task without a date or a priority comes last, in either direction.
pub(in super::super) fn list(listing: &Listing) -> &'static OwnedStatement {
    the_list(Narrowed::of(listing), listing.sort, listing.order, listing.after.is_some())
}

/// How many tasks a list has, on all pages.
pub(in super::super) fn count(listing: &Listing) -> &'static OwnedStatement {
    the_count(Narrowed::of(listing))
}

fn the_list(narrowed: Narrowed, sort: Sort, order: Order, after: bool) -> &'static OwnedStatement {
    let by = KEYS.iter().position(|key| key.sort == sort).unwrap_or_default();
    let descending = order == Order::Descending;
    let place = (narrowed as usize * KEYS.len() + by) * 4 + 2 * usize::from(descending) + usize::from(after);
    LISTS[place].get_or_init(|| {
        let key = &KEYS[by];
        let direction = if descending { ".desc" } else { "" };
        let behind = if after { ".after" } else { "" };
        let name = format!("task.list.{}.{}{direction}{behind}", narrowed.name(), key.name);
        let types = if after { key.types } else { types!() };
        let list = statement(narrowed, name, types, &Page { key, descending, after }.of(narrowed));
        let is_usual = narrowed == Narrowed::Not && sort == Sort::CreatedAt && descending && !after;
        if is_usual { list.called("task.list.call", CALL) } else { list }
    })
}

fn the_count(narrowed: Narrowed) -> &'static OwnedStatement {
    COUNTS[narrowed as usize].get_or_init(|| {
        let meets = narrowed.meets();
        let select = match narrowed {
            Narrowed::ByTag => tags::count(),
            _ => format!(
                "select true as found, count(*) as tasks from task_service.tasks\nwhere user_id = $2{meets}"
            ),
        };
        let types = &[Type::TEXT, Type::BOOL, Type::INT2, Type::TEXT, Type::TEXT, Type::TEXT];
        statement(narrowed, format!("task.count.{}", narrowed.name()), types, &select)
    })
}

/// Its name is never freed: there are no more names than statements.
fn statement(narrowed: Narrowed, name: String, types: &'static [Type], select: &str) -> OwnedStatement {
    let statement = read(name.leak(), types, select);
    if narrowed.is_costly() { statement.costly() } else { statement }
}

/// An order and a place in it.
struct Page {
    key: &'static Key,
    descending: bool,
    after: bool,
}

impl Page {
    fn of(&self, narrowed: Narrowed) -> String {
        match (narrowed, self.key.sort) {
            (Narrowed::ByTag, Sort::CreatedAt) => return tags::by_creation(self),
            (Narrowed::ByTag, _) => return tags::otherwise(self),
            _ => {}
        }
        let (indexed, order) = narrowed.indexed();
        if narrowed.is_range(self.key.sort) {
            return joined(&self.ranges(|range| self.range(&format!("{indexed}{range}"))));
        }
        if narrowed == Narrowed::BySearch {
            let meets = [MAYBE_TAG, SEARCH].concat();
            return joined(&self.narrowed(&meets));
        }
        let many = format!("\n    and (select hits from few) > {FEW}");
        let mut parts = vec![self.few(narrowed)];
        parts.extend(self.narrowed(&many));
        let parts = joined(&parts);
        format!(
            "with few as materialized (
    select count(*) as hits
    from (
        select from task_service.tasks
        where user_id = $2{indexed}
        order by {order}
        limit {FEW} + 1
    ) as them
)
{parts}"
        )
    }

    /// The range of the order that the page begins. Where the key may be null, there are two: an index has nulls at one end,
    /// which for one of the directions is the wrong one. The second is read if the first has not filled the page.
    fn ranges(&self, part: impl Fn(&str) -> String) -> Vec<String> {
        let column = self.key.column;
        let behind = if self.after { format!("\n    and {}", self.behind()) } else { String::new() };
        if !self.key.is_nullable {
            return vec![part(&behind)];
        }
        // Before every id, or behind it: nobody has such a one.
        let (least, most) = ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff");
        let (than, _) = self.direction();
        let end = if self.descending { most } else { least };
        let null_behind = if self.after {
            format!("\n    and id {than} case when $10 is null then $11 else '{end}'::uuid end")
        } else {
            String::new()
        };
        vec![
            part(&format!("\n    and {column} is not null{behind}")),
            part(&format!("\n    and {column} is null{null_behind}")),
        ]
    }

    fn direction(&self) -> (&'static str, &'static str) {
        if self.descending { ("<", "desc") } else { (">", "asc") }
    }

    /// Behind the task that the page before ended with.
    fn behind(&self) -> String {
        // The server alone decides what a title is sorted by.
        let begin = if self.key.sort == Sort::Title { "lower($10)" } else { "$10" };
        format!("({}, id) {} ({begin}, $11)", self.key.column, self.direction().0)
    }

    /// An index has these conditions and this order.
    fn range(&self, conditions: &str) -> String {
        let (column, (_, direction)) = (self.key.column, self.direction());
        format!(
            "select true as found, {COLUMNS}
from task_service.tasks
where user_id = $2{conditions}
order by {column} {direction}, id {direction}"
        )
    }

    /// An index has this order, and what narrows the list by status and priority: those tasks alone are looked at.
    fn narrowed(&self, conditions: &str) -> Vec<String> {
        let coded = coded(self.key.sort);
        self.ranges(|range| self.walked(&format!("{coded}{range}"), ALL, conditions))
    }

    /// An index has this order. The inner limit keeps the conditions out of it, and the server can't know how large it is: so
    /// however few tasks it believes to meet them, it walks in this order and stops when the page is full, where it might sort
    /// all that the user has.
    fn walked(&self, range: &str, at_most: i64, conditions: &str) -> String {
        let (column, (_, direction)) = (self.key.column, self.direction());
        format!(
            "select true as found, {NAMES}
from (
    select {COLUMNS}, title_key
    from task_service.tasks
    where user_id = $2{range}
    order by {column} {direction}, id {direction}
    limit (select {at_most})
) as theirs
where true{conditions}
order by {column} {direction}, id {direction}"
        )
    }

    /// All of them, by the index of what narrows the list, and sorted.
    fn few(&self, narrowed: Narrowed) -> String {
        let (column, (_, direction)) = (self.key.column, self.direction());
        let ((indexed, order), behind) = (narrowed.indexed(), self.behind_of_all());
        format!(
            "select true as found, {NAMES}
from (
    select {COLUMNS}, title_key
    from task_service.tasks
    where user_id = $2{indexed}
    order by {order}
    limit {FEW}
) as them
where (select hits from few) <= {FEW}{behind}
order by {column} {direction} nulls last, id {direction}"
        )
    }

    /// Behind the task that the page before ended with, where those without a value are not apart.
    fn behind_of_all(&self) -> String {
        let (column, (than, _)) = (self.key.column, self.direction());
        match (self.after, self.key.is_nullable) {
            (false, _) => String::new(),
            (true, false) => format!("\n    and {}", self.behind()),
            (true, true) => format!(
                "\n    and case when $10 is null then {column} is null and id {than} $11 else {column} is null or {} end",
                self.behind()
            ),
        }
    }
}

/// One after another. Their order survives the union: nothing is sorted in it, and a part that has a limit is not read in
/// parallel.
fn joined(parts: &[String]) -> String {
    match parts {
        [one] => format!("{one}\nlimit $8 offset $9"),
        parts => {
            let parts: Vec<_> = parts.iter().map(|part| format!("({part}\nlimit $8 + $9)")).collect();
            format!("select * from (\n{}\n) as parts\nlimit $8 offset $9", parts.join("\nunion all\n"))
        }
    }
}

/// Every one.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static OwnedStatement> {
    let orders = || {
        KEYS.iter().flat_map(|key| {
            [Order::Ascending, Order::Descending]
                .into_iter()
                .flat_map(move |order| [false, true].map(|after| (key.sort, order, after)))
        })
    };
    let lists = Narrowed::ALL.into_iter().flat_map(move |narrowed| {
        orders().map(move |(sort, order, after)| the_list(narrowed, sort, order, after))
    });
    lists.chain(Narrowed::ALL.into_iter().map(the_count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(query: &[(&str, &str)]) -> Listing {
        Listing::parse(query, "u1").unwrap()
    }

    /// Another form of each row costs seconds where a user has many.
    #[test]
    fn another_form_is_made_of_what_is_looked_for_and_of_no_row() {
        for statement in all() {
            for made in statement.sql().split("normalize(").skip(1) {
                assert!(made.starts_with("$7, nf"), "{}", statement.sql());
            }
        }
    }

    #[test]
    fn a_list_is_that_of_what_narrows_it_and_of_its_order() {
        let narrowed: [(&[(&str, &str)], &str); 8] = [
            (&[], "all"),
            (&[("status", "all")], "all"),
            (&[("status", "pending")], "status"),
            (&[("priority", "low")], "one_priority"),
            (&[("priority", "low"), ("completed", "true")], "both"),
            (&[("tag", "a"), ("priority", "low")], "tag"),
            (&[("search", "a")], "search"),
            (&[("search", "a"), ("tag", "a"), ("status", "pending")], "search"),
        ];
        for (filters, by) in narrowed {
            assert_eq!(count(&listing(filters)).name(), format!("task.count.{by}"));
            for (sort, word) in [
                ("created_at", "created"),
                ("updated_at", "updated"),
                ("title", "title"),
                ("due_date", "due"),
                ("priority", "priority"),
            ] {
                for (order, suffix) in [("asc", ""), ("desc", ".desc")] {
                    let query = [filters, &[("sort", sort), ("order", order)]].concat();
                    let listing = listing(&query);
                    assert_eq!(list(&listing).name(), format!("task.list.{by}.{word}{suffix}"));
                    let behind = the_list(Narrowed::of(&listing), listing.sort, listing.order, true);
                    assert_eq!(behind.name(), format!("task.list.{by}.{word}{suffix}.after"));
                }
            }
        }
    }

    /// What was planned for one list must serve every other under its name.
    #[test]
    fn each_narrows_by_its_own_conditions() {
        for (narrowed, asked, maybe) in [
            (Narrowed::Not, &[][..], &[][..]),
            (Narrowed::ByStatus, &["completed = $3"], &[]),
            (Narrowed::ByPriority, &["priority = $4"], &[]),
            (Narrowed::ByBoth, &["priority = $4"], &[]),
            (Narrowed::ByTag, &["tag = $5"], &["$3", "$4"]),
            (Narrowed::BySearch, &["title ilike $6"], &["$3", "$4", "$5"]),
        ] {
            for statement in all() {
                let (sql, name) = (statement.sql(), statement.name());
                if name.split('.').nth(2) != Some(narrowed.name()) {
                    continue;
                }
                for one in asked {
                    assert!(sql.contains(&format!("and {one}")) || sql.contains(&format!("({one}")), "{sql}");
                }
                for parameter in ["$3", "$4", "$5"] {
                    let is_maybe = sql.contains(&format!("{parameter} is null or "));
                    // A list has status and priority from the index of its order, and they may be open there.
                    let is_count = name.starts_with("task.count.");
                    assert!(!is_maybe || maybe.contains(&parameter), "{parameter}: {sql}");
                    assert!(is_maybe || !is_count || !maybe.contains(&parameter), "{parameter}: {sql}");
                }
                assert_eq!(sql.contains("$6"), narrowed == Narrowed::BySearch, "{sql}");
            }
        }
    }
}
