//! Every statement that the service sends while it serves.
//!
//! `$1` is the statement's own name, which it compares, and `$2` the user. Columns are listed by name, and tables by
//! their full name: a search path that another client left behind in a pooled connection changes nothing. Text is cast
//! to the system's type, in case an extension gave its column another.
//!
//! What is asked for most is a function of the database, too (migration 8), which is called where it can be used. What one of the
//! two says and does, the other says and does.
//!
//! All but [`SWEEP`] are a user's: the pool sends none of them without telling the server the user, by whom row-level security
//! (migration 4) narrows each table once more.

pub(super) mod lists;

use std::sync::LazyLock;

use chassis::outbound::database::{Idempotency, OwnedStatement, OwnerSetting, Sql, Statement};
use tokio_postgres::types::Type;

/// What is read of a task. `row` reads it by place.
const COLUMNS: &str = "id, user_id::text, title::text, description::text, completed, priority, due_date, tags::text[], \
                       created_at, updated_at, due_day, version";

/// The same, as an answer names them.
const NAMES: &str = "id, user_id, title, description, completed, priority, due_date, tags, created_at, updated_at, due_day, version";

/// What the policies of the tables know the user by.
const USER: OwnerSetting = OwnerSetting("task_service.user_id");

/// How long a write that has a key is answered the same.
const KEPT: &str = "interval '24 hours'";

/// The most answers that are kept for one user. Those whose time is over don't count, removed or not.
const KEPT_MAX: u32 = 10_000;

/// What lets only one answer be noted under a key: the primary key of `answers`.
const NOTED: &str = "answers_pkey";

/// The most answers that are removed by one statement.
pub(super) const SWEEP_MAX: i64 = 500;

/// What became of a write, as its answer says it in `outcome`, behind the columns of the task.
pub(super) mod outcome {
    /// It was done, and this is the task.
    pub(in super::super) const DONE: i16 = 0;
    /// There is no such task.
    pub(in super::super) const MISSING: i16 = 1;
    /// There is, or was when the statement began, in a version that the client doesn't mean. Under a key this may be the work
    /// of the same write, sent before.
    pub(in super::super) const STALE: i16 = 2;
    /// Its key was used for something else.
    pub(in super::super) const OTHER: i16 = 3;
    /// It is being done at this moment.
    pub(in super::super) const RUNNING: i16 = 4;
    /// The user has as many answers kept as one may.
    pub(in super::super) const FULL: i16 = 5;
}

/// A read; `select` is what it reads. The order survives the join: with a single row on the left, the server joins in a
/// loop over the rows of the right.
fn read(name: &'static str, types: &'static [Type], select: &str) -> OwnedStatement {
    let sql = format!(
        "select '{name}' as ran, it.* from (select 1) as one left join lateral (\n{select}\n) as it on $1 = '{name}'"
    );
    Statement::new(name, Idempotency::ReadOnly, sql.into(), types).owned(USER)
}

/// On the disk before it is acknowledged: if a role or a database says otherwise, the setting is overruled for this one
/// transaction, which leaves nothing behind in a pooler.
const DURABLE: &str = "(
    select set_config(
        'synchronous_commit',
        case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end,
        true
    )
) as durable";

/// Where a change asks whether it may be done; a plain one needs nobody's leave.
const GATE: &str = " and (select true)";

/// A write; `change` is what it does, under the right name only, to the task `$3`.
///
/// If nothing was changed, the statement looks whether the task was there when it began. So one round trip tells what is
/// missing from what is only not as the client thinks.
fn write(
    name: &'static str,
    idempotency: Idempotency,
    types: &'static [Type],
    change: &str,
) -> OwnedStatement {
    let (change, outcome) = (change.replace(GATE, ""), undone(""));
    let sql = format!(
        "with it as (
{change}
returning {COLUMNS}
)
select '{name}' as ran, true as found, it.*,
    case when it.id is not null then {done}::smallint {outcome}
    end as outcome
from {DURABLE} left join it on true",
        done = outcome::DONE,
    );
    Statement::new(name, idempotency, sql.into(), types).owned(USER)
}

/// A write that is done once under its key: `$at` is the key, then come the digest of what was asked, and the number of
/// the turn. All in one transaction, and so in one round trip:
///
/// - What was answered before is answered again, if the same is asked; the change is not done then.
/// - Of two that come at the same time, one has its turn, and the other hears so. The lock is the transaction's.
/// - Its answer is noted. If one that is as new is there by then, which this statement began too early to see, the index
///   refuses the second, and all of it is undone; asked again, it is answered.
/// - One that began as early may also find the task gone, or in the version that the first has left. It notes nothing then,
///   so that nothing refuses it: what it says is believed only when it says so again ([`outcome::STALE`]).
///
/// The turn only spares the wait.
fn write_once(name: &'static str, types: &'static [Type], change: &str) -> OwnedStatement {
    // Behind the name and the parameters of the change.
    let at = types.len() - 1;
    let (key, request, turn) = (at, at + 1, at + 2);
    let columns = NAMES.replace("user_id, ", "");
    let (running, full) = (outcome::RUNNING, outcome::FULL);
    let gate = " and (select mine and room from gate) and not exists (select from kept)";
    let outcome = undone(&format!(
        "when not gate.mine then {running}::smallint when not gate.room then {full}::smallint"
    ));
    let sql = format!(
        "with kept as materialized (
    select request = ${request} as same, {COLUMNS}
    from task_service.answers
    where user_id = $2 and key = ${key} and made_at > now() - {KEPT}
), gate as materialized (
    select pg_try_advisory_xact_lock(${turn}) as mine, count(*) < {KEPT_MAX} as room
    from (
        select from task_service.answers where user_id = $2 and made_at > now() - {KEPT} limit {KEPT_MAX}
    ) as theirs
), it as (
{change}
returning {COLUMNS}
), gone as (
    delete from task_service.answers
    where user_id = $2 and key = ${key} and $1 = '{name}' and made_at <= now() - {KEPT} and exists (select from it)
    returning true
), noted as (
    insert into task_service.answers (user_id, key, request, {columns})
    select $2, ${key}, ${request}, {columns}
    from it, (select count(*) from gone) as cleared
)
select '{name}' as ran, true as found, {NAMES},
    case when it.outcome is not null then it.outcome {outcome}
    end as outcome
from {DURABLE} cross join gate left join (
    select {NAMES}, {done}::smallint as outcome from it
    union all
    select {NAMES}, case when same then {done}::smallint else {other}::smallint end from kept
) as it on true",
        change = change.replace(GATE, gate),
        done = outcome::DONE,
        other = outcome::OTHER,
    );
    Statement::new(name, Idempotency::Idempotent, sql.into(), types).racing_for(NOTED).owned(USER)
}

/// Why nothing was changed.
fn undone(first: &str) -> String {
    format!(
        "{first}
        when exists (select from task_service.tasks where user_id = $2 and id = $3) then {stale}::smallint
        else {missing}::smallint",
        stale = outcome::STALE,
        missing = outcome::MISSING,
    )
}

/// Of the task `$3`, if it is in one of the versions of the first parameter and in none of the second; null is no
/// condition. Compared under the row's lock: who has waited for another's change compares with that.
fn where_it_is(name: &str, only: u8, except: u8) -> String {
    format!(
        "where user_id = $2 and id = $3 and $1 = '{name}'{GATE}
    and (${only} is null or version = any (${only})) and (${except} is null or version <> all (${except}))"
    )
}

/// One task of the user.
pub(super) static GET: LazyLock<OwnedStatement> = LazyLock::new(|| {
    let select =
        format!("select true as found, {COLUMNS}\nfrom task_service.tasks\nwhere user_id = $2 and id = $3");
    let call = Sql::Static("select * from task_service.get_task($1, $2, $3)");
    read("task.get", &[Type::TEXT, Type::UUID], &select).called("task.get.call", call)
});

/// The task of the user that another backend's id has led to. Of several backends, that of the one which was taken over first.
pub(super) static LEGACY: LazyLock<OwnedStatement> = LazyLock::new(|| {
    let select = "select true as found, id
from task_service.legacy_ids
where user_id = $2 and legacy_id = $3
order by import
limit 1";
    read("task.legacy", &[Type::TEXT, Type::TEXT], select)
});

/// Tables that look like another backend's tasks, less those that were taken over. Of the catalog alone; asked once, at
/// start-up.
pub(super) static NOT_TAKEN_OVER: LazyLock<Statement> = LazyLock::new(|| {
    let sql = "select 'imports.missing' as ran, it.* from (select 1) as one left join lateral (
select true as found, format('%I.%I', n.nspname, c.relname) as name
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relname in ('tasks', 'task', 'todos', 'todo') and c.relkind in ('r', 'p')
    and 2 = (
        select count(*) from pg_catalog.pg_attribute as a
        where a.attrelid = c.oid and a.attname in ('user_id', 'title') and not a.attisdropped
    )
    and not exists (
        select from task_service.imports as taken
        where taken.source = n.nspname || '.' || c.relname and taken.finished_at is not null
    )
order by c.relname
) as it on $1 = 'imports.missing'";
    Statement::new("imports.missing", Idempotency::ReadOnly, Sql::Static(sql), &[])
});

/// The types of a write's parameters, and of those of one that has a key.
macro_rules! write_types {
    ($($kind:ident),* $(; $($key:ident),*)?) => {
        &[Type::TEXT, Type::UUID, $(Type::$kind),* $(, $(Type::$key),*)?]
    };
}

/// A write in its two forms: plain, where the database has a function for it, and done once under a key.
pub(super) struct Write {
    pub(super) plain: OwnedStatement,
    pub(super) once: OwnedStatement,
}

macro_rules! written {
    ($name:literal, $call:literal, $idempotency:ident, [$($kind:ident),*], $change:expr) => {
        LazyLock::new(|| {
            const ONCE: &str = concat!($name, ".once");
            let change: fn(&str) -> String = $change;
            let plain = write($name, Idempotency::$idempotency, write_types!($($kind),*), &change($name));
            Write {
                plain: plain.called(concat!($name, ".call"), Sql::Static($call)),
                once: write_once(ONCE, write_types!($($kind),*; TEXT, BYTEA, INT8), &change(ONCE)),
            }
        })
    };
}

/// A new task. Sent again, it changes nothing and gives the same answer: the id was made before.
pub(super) static CREATE: LazyLock<Write> = written!(
    "task.create",
    "select * from task_service.create_task($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    Idempotent,
    [TEXT, TEXT, BOOL, INT2, TIMESTAMPTZ, DATE, TEXT_ARRAY],
    |name| format!(
        "insert into task_service.tasks as task (
    user_id, id, title, description, completed, priority, due_date, due_day, tags
)
select $2, $3, $4, $5, $6, $7, $8, $9, $10
where $1 = '{name}'{GATE}
on conflict (user_id, id) do update set version = task.version"
    )
);

/// Changes to a task. A field that may be emptied comes with a flag that says whether it was named, and `$16` says whether any
/// was: a change of nothing leaves the task as it is.
///
/// Of two concurrent changes one waits for the other, and has begun before the other ended. So `updated_at` is taken
/// when the row is locked, and never goes back.
pub(super) static CHANGE: LazyLock<Write> = written!(
    "task.change",
    "select * from task_service.change_task($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    NotIdempotent,
    [TEXT, BOOL, TEXT, BOOL, BOOL, INT2, BOOL, TIMESTAMPTZ, DATE, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, BOOL],
    |name| format!(
        "update task_service.tasks
set title = coalesce($4, title),
    description = case when $5 then $6 else description end,
    completed = coalesce($7, completed),
    priority = case when $8 then $9 else priority end,
    due_date = case when $10 then $11 else due_date end,
    due_day = case when $10 then $12 else due_day end,
    tags = coalesce($13, tags),
    updated_at = case when $16 then greatest(updated_at, clock_timestamp()) else updated_at end,
    version = version + $16::int
{}",
        where_it_is(name, 14, 15)
    )
);

/// Completes a task or reopens it; if `$4` is null, whichever it is not. That is decided under the row's lock, so that
/// two concurrent toggles are two.
pub(super) static COMPLETE: LazyLock<Write> = written!(
    "task.complete",
    "select * from task_service.complete_task($1, $2, $3, $4, $5, $6)",
    NotIdempotent,
    [BOOL, INT8_ARRAY, INT8_ARRAY],
    |name| format!(
        "update task_service.tasks
set completed = coalesce($4, not completed),
    updated_at = greatest(updated_at, clock_timestamp()),
    version = version + 1
{}",
        where_it_is(name, 5, 6)
    )
);

/// Removes a task.
pub(super) static DELETE: LazyLock<Write> = written!(
    "task.delete",
    "select * from task_service.delete_task($1, $2, $3, $4, $5)",
    NotIdempotent,
    [INT8_ARRAY, INT8_ARRAY],
    |name| format!("delete from task_service.tasks\n{}", where_it_is(name, 4, 5))
);

/// Removes answers whose time is over, whosever they are, the oldest first. It shows nothing of them but how many.
pub(super) static SWEEP: LazyLock<Statement> = LazyLock::new(|| {
    let sql = format!(
        "with gone as (
    delete from task_service.answers
    where $1 = 'answers.sweep' and ctid = any (array(
        select ctid from task_service.answers where made_at <= now() - {KEPT} order by made_at limit {SWEEP_MAX}
        for update skip locked
    ))
    returning true
)
select 'answers.sweep' as ran, true as found, count(*) as answers from gone"
    );
    Statement::new("answers.sweep", Idempotency::Idempotent, sql.into(), &[])
});

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all() -> Vec<&'static OwnedStatement> {
        let writes = [&*CREATE, &*CHANGE, &*COMPLETE, &*DELETE];
        let writes = writes.into_iter().flat_map(|write| [&write.plain, &write.once]);
        lists::all().chain([&*GET, &*LEGACY]).chain(writes).collect()
    }

    #[test]
    fn every_statement_is_about_one_user() {
        for statement in all() {
            let sql = statement.sql();
            // Wherever a table is named, it is narrowed to the user.
            for table in [
                "from task_service.tasks",
                "from task_service.task_tags",
                "from task_service.answers",
                "from task_service.legacy_ids",
            ] {
                for behind in sql.split(table).skip(1).map(str::trim_start) {
                    assert!(behind.starts_with("where user_id = $2"), "{sql}");
                    let narrowed = behind.trim_start_matches("where user_id = $2");
                    assert!(narrowed.starts_with(['\n', ' ']) && !narrowed.starts_with(" or"), "{sql}");
                }
            }
            let notes = sql.contains("insert into task_service.answers");
            assert!(!notes || sql.contains("(user_id, key,") && sql.contains("\n    select $2, $"), "{sql}");
            let updates = sql.contains("update task_service.tasks");
            assert!(!updates || sql.contains("\nwhere user_id = $2 and id = $3 and $1 = "), "{sql}");
            let creates = sql.contains("insert into task_service.tasks");
            assert!(
                !creates || sql.contains("user_id, id, title") && sql.contains("\nselect $2, $3,"),
                "{sql}"
            );
        }
    }

    /// What a function does, the tests of the service see; that it is called as what it was made as, this does.
    #[test]
    fn every_call_is_of_a_function_that_compares_its_name_and_is_about_one_user() {
        let functions = include_str!("migrations/0008_calls.sql");
        let mut names = HashSet::new();
        for call in all().into_iter().filter_map(OwnedStatement::call) {
            let (sql, name) = (call.sql(), call.name());
            assert!(names.insert(name), "{name} is the name of two");
            let (function, rest) =
                sql.strip_prefix("select * from ").and_then(|sql| sql.split_once('(')).unwrap();
            assert!(rest.starts_with("$1, $2, "), "{sql}");
            let text = functions.split(&format!("create function {function}(")).nth(1).unwrap();
            let text = text.split("$function$;").next().unwrap();
            assert!(
                text.contains(&format!("if name is distinct from '{name}' then\n        return;")),
                "{text}"
            );
            for part in [
                "language plpgsql volatile security invoker",
                "set search_path = pg_catalog, pg_temp",
                "    ran := set_config('task_service.user_id', before, true);\nend\n",
                "set_config('task_service.user_id', owner, true)",
            ] {
                assert!(text.contains(part), "{function}: {part}");
            }
            for behind in text.split("task_service.tasks as task").skip(1) {
                let is_narrowed = behind.trim_start().starts_with("where task.user_id = $2");
                let is_write =
                    behind.contains("where task.user_id = $2") || behind.contains("values ($2, $3, ");
                assert!(is_narrowed || is_write, "{function}");
            }
        }
        assert_eq!(names.len(), functions.matches("create function").count());
    }

    #[test]
    fn every_statement_compares_its_own_name_and_says_what_ran() {
        let mut names = HashSet::new();
        for statement in all().into_iter().map(|owned| &**owned).chain([&*SWEEP, &*NOT_TAKEN_OVER]) {
            let (sql, name) = (statement.sql(), statement.name());
            assert!(names.insert(name), "{name} is the name of two");
            assert!(sql.contains(&format!("select '{name}' as ran, ")), "{sql}");
            let changes = ["insert into", "update task", "delete from"].iter().any(|verb| sql.contains(verb));
            // In what is changed itself, where it says that, and not only in what is shown of it.
            let change = sql.split("returning").next().unwrap();
            let compared = if changes { change } else { sql };
            assert!(compared.contains(&format!("$1 = '{name}'")), "{sql}");
        }
    }
}
