//! The old table: where it is, which of its columns are what, and how its rows are read.

use std::fmt::Write;

use tokio_postgres::{
    Row, Transaction,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{ImportError, choices::Choices, report::counted, row::ID_CHARS_MAX};
use crate::task::fields::{Description, Tag, Tags};

/// The cursor that goes through the table, user by user.
pub(super) const CURSOR: &str = "old_rows";

/// A table's columns, each with its type's name and category; a domain's are those of what it is made of.
const COLUMNS: &str = "
select n.nspname::text as schema, c.relname::text as name, a.attname::text as field,
    coalesce(b.typname, t.typname)::text as kind, coalesce(b.typcategory, t.typcategory)::text as category
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_type b on b.oid = t.typbasetype
where c.oid = to_regclass($1) and c.relkind in ('r', 'p', 'v', 'm', 'f')
order by a.attnum";

/// Tables that look like one of tasks.
const LIKELY: &str = "
select format('%I.%I', n.nspname, c.relname) as name
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname not in ('task_service', 'pg_catalog', 'information_schema')
    and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'title' and not a.attisdropped)
order by 1
limit 10";

/// Tables of users that Better Auth may have made, with the columns' names as it or an ORM writes them.
const USERS: &str = "
select n.nspname::text as schema, c.relname::text as name
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm') and c.relname in ('user', 'users')
    and n.nspname not in ('pg_catalog', 'information_schema')
    and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'id' and not a.attisdropped)
    and exists (
        select from pg_attribute a
        where a.attrelid = c.oid and a.attname in ('emailVerified', 'email_verified') and not a.attisdropped
    )
order by 1, 2";

/// The zone by its name as the server has it. What else PostgreSQL takes for a zone, such as UTC+3, it takes for the
/// opposite of what people mean.
const ZONE: &str = "select name from pg_timezone_names where lower(name) = lower($1) limit 1";

/// The first and the last time that a client can be told.
const TIMES: &str = "'0001-01-01 00:00+00'::timestamptz and '9999-12-31 23:59:59.999+00'::timestamptz";
const DAYS: &str = "'0001-01-01'::date and '9999-12-31'::date";

/// How much of a title is read, in characters: there may be space around it.
const TITLE_CHARS_MAX: usize = 4096;

/// How much of a list of tags in one text is read, in characters: more than the longest that fits, however it is escaped.
const TAGS_CHARS_MAX: usize = 16_384;

/// What a column may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Integer,
    Text,
    Enum,
    Uuid,
    Date,
    Timestamp,
    Array,
    Json,
    Other,
}

/// A field of a task: its name, the columns that may hold it, and of what. The first three must be there.
struct Field {
    name: &'static str,
    usual: &'static [&'static str],
    kinds: &'static [Kind],
}

const FIELDS: [Field; 10] = {
    use Kind::{Array, Bool, Date, Enum, Integer, Json, Text, Timestamp, Uuid};
    [
        Field { name: "id", usual: &["id", "task_id", "todo_id"], kinds: &[Integer, Uuid, Text] },
        Field {
            name: "user_id",
            usual: &["user_id", "userId", "userid", "owner_id"],
            kinds: &[Integer, Uuid, Text],
        },
        Field { name: "title", usual: &["title", "name"], kinds: &[Text] },
        Field { name: "description", usual: &["description", "notes", "details"], kinds: &[Text] },
        Field {
            name: "completed",
            usual: &["completed", "is_completed", "isCompleted", "done", "is_done", "complete", "status"],
            kinds: &[Bool, Integer, Text, Enum],
        },
        Field { name: "priority", usual: &["priority"], kinds: &[Text, Enum, Integer] },
        Field {
            name: "due_date",
            usual: &["due_date", "dueDate", "due_at", "due", "deadline"],
            kinds: &[Date, Timestamp, Text],
        },
        Field { name: "tags", usual: &["tags", "labels"], kinds: &[Array, Json, Text] },
        Field {
            name: "created_at",
            usual: &["created_at", "createdAt", "created"],
            kinds: &[Timestamp, Date],
        },
        Field {
            name: "updated_at",
            usual: &["updated_at", "updatedAt", "updated"],
            kinds: &[Timestamp, Date],
        },
    ]
};
const REQUIRED: usize = 3;

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// As PostgreSQL calls it.
    kind_name: String,
    kind: Kind,
}

/// The old table.
pub(super) struct Table {
    /// `schema.name`
    pub(super) name: String,
    from: String,
    /// One for each of the fields.
    columns: [Option<Column>; FIELDS.len()],
    left_behind: Vec<String>,
    /// Better Auth's users, as SQL and as they are called.
    users: Option<(String, String)>,
    zone: String,
}

/// How much there is.
pub(super) struct Size {
    pub(super) rows: u64,
    users: i64,
}

impl Table {
    /// Finds the table, and what it needs to be read.
    pub(super) async fn find(snapshot: &Transaction<'_>, choices: &Choices) -> Result<Self, ImportError> {
        let zone = zone(snapshot, &choices.time_zone).await?;
        let rows = columns(snapshot, &choices.table).await?;
        let Some(first) = rows.first() else {
            let likely = snapshot.query_typed(LIKELY, &[]).await?;
            let likely: Vec<String> = likely.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            let hint = if likely.is_empty() {
                "and none here has a title".to_owned()
            } else {
                format!("these have titles: {}", likely.join(", "))
            };
            return Err(refused(format!("there is no table {}; {hint}", choices.table)));
        };
        let (schema, name): (String, String) = (first.try_get("schema")?, first.try_get("name")?);
        if schema == "task_service" {
            return Err(refused(format!("{schema}.{name} is our own")));
        }
        let there = rows.iter().map(Column::read).collect::<Result<Vec<_>, _>>()?;
        let name_shown = format!("{schema}.{name}");
        let columns = assigned(&name_shown, &there, choices)?;
        let used = |column: &&Column| columns.iter().flatten().any(|used| used.name == column.name);
        let left_behind =
            there.iter().filter(|column| !used(column)).map(|column| column.name.clone()).collect();
        let users = if choices.any_user { None } else { Some(users(snapshot, choices).await?) };
        let from = format!("{}.{}", quoted(&schema), quoted(&name));
        Ok(Self { name: name_shown, from, columns, left_behind, users, zone })
    }

    /// Opens the cursor, and counts what it will go through.
    pub(super) async fn open(&self, snapshot: &Transaction<'_>) -> Result<Size, tokio_postgres::Error> {
        snapshot.query_typed("select set_config('TimeZone', $1, true)", &[text(&self.zone)]).await?;
        let user = self.column("user_id", |column| format!("old.{}::text", quoted(&column.name)));
        let count = format!("select count(*), count(distinct {user}) from {} as old", self.from);
        let counted = snapshot.query_typed_one(&count, &[]).await?;
        snapshot.batch_execute(&format!("declare {CURSOR} no scroll cursor for {}", self.select())).await?;
        let rows: i64 = counted.try_get(0)?;
        Ok(Size { rows: rows.unsigned_abs(), users: counted.try_get(1)? })
    }

    /// What reads the rows, as [`Old`](super::row::Old) takes them. Texts are cut where they are too long anyhow, so that a
    /// batch stays small whatever is in the table.
    fn select(&self) -> String {
        let whole = |field, chars: usize| {
            self.column(field, |column| format!("left(old.{}::text, {chars})", quoted(&column.name)))
        };
        let time = |field| {
            self.column(field, |column| {
                let it = format!("old.{}::timestamptz", quoted(&column.name));
                format!("case when {it} between {TIMES} then {it} end")
            })
        };
        let due = |kind: Kind, cast: &str, within: &str| {
            self.column("due_date", |column| {
                let it = format!("old.{}::{cast}", quoted(&column.name));
                let it = format!("case when {it} between {within} then {it} end");
                if column.kind == kind { it } else { "null".to_owned() }
            })
        };
        let tags = self.column("tags", |column| {
            let it = format!("old.{}", quoted(&column.name));
            if column.kind == Kind::Array {
                // One more than there may be, and one character more.
                format!(
                    "array_to_json(array(select left(tag::text, {}) from unnest({it}) as tag limit {}))",
                    Tag::CHARS_MAX + 1,
                    Tags::COUNT_MAX + 1
                )
            } else {
                format!("left({it}::text, {TAGS_CHARS_MAX})")
            }
        });
        let (known, users) = match &self.users {
            None => ("true", String::new()),
            Some((users, _)) => (
                "known.id is not null",
                format!(
                    "\nleft join (select distinct id::text as id from {users}) as known on known.id = {}",
                    whole("user_id", ID_CHARS_MAX + 1)
                ),
            ),
        };
        format!(
            "select {id}, {user}, {known}, {title}::text, {description}::text, {completed}::text, {priority}::text,
    ({due_moment})::timestamptz, ({due_day})::date, {due_text}::text, {tags}::text, ({created})::timestamptz, ({updated})::timestamptz
from {from} as old{users}
order by {user} collate \"C\", {number}",
            // One character more than there may be shows that there are too many.
            id = whole("id", ID_CHARS_MAX + 1),
            user = whole("user_id", ID_CHARS_MAX + 1),
            number = self.column("id", |column| format!("old.{}", quoted(&column.name))),
            title = whole("title", TITLE_CHARS_MAX),
            description = whole("description", Description::CHARS_MAX + 1),
            completed = whole("completed", 64),
            priority = whole("priority", 64),
            due_moment = due(Kind::Timestamp, "timestamptz", TIMES),
            due_day = due(Kind::Date, "date", DAYS),
            due_text = whole("due_date", 64),
            created = time("created_at"),
            updated = time("updated_at"),
            from = self.from,
        )
    }

    /// An expression of the field's column, or null if there is none.
    fn column(&self, field: &str, expression: impl FnOnce(&Column) -> String) -> String {
        let at = FIELDS.iter().position(|one| one.name == field);
        let column = at.and_then(|at| self.columns[at].as_ref());
        column.map_or_else(|| "null".to_owned(), expression)
    }

    /// What is to be taken from where.
    pub(super) fn described(&self, size: &Size) -> String {
        let mut out = format!(
            "{}: {} of {}\n",
            self.name,
            counted(size.rows, "row"),
            counted(size.users.unsigned_abs(), "user")
        );
        for (field, column) in FIELDS.iter().zip(&self.columns) {
            let Some(column) = column else {
                let _ = writeln!(out, "    {:12} none", field.name);
                continue;
            };
            let Column { name, kind_name, kind } = column;
            let remark = match (field.name, kind, &self.users) {
                ("user_id", _, Some((_, users))) => format!("; must be in {users}"),
                ("user_id", _, None) => "; not looked for".to_owned(),
                ("id", Kind::Integer, _) => "; found by it as before".to_owned(),
                ("due_date" | "created_at" | "updated_at", Kind::Timestamp, _)
                    if kind_name == "timestamp" =>
                {
                    format!("; as times in {}", self.zone)
                }
                ("due_date", Kind::Text, _) => format!("; without an offset as times in {}", self.zone),
                _ => String::new(),
            };
            let _ = writeln!(out, "    {:12} {name} ({kind_name}){remark}", field.name);
        }
        if !self.left_behind.is_empty() {
            let _ = writeln!(
                out,
                "    left behind, for a task here has no such field: {}",
                self.left_behind.join(", ")
            );
        }
        out
    }
}

impl Column {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let (kind_name, category): (String, String) = (row.try_get("kind")?, row.try_get("category")?);
        let kind = match (&*kind_name, &*category) {
            ("bool", _) => Kind::Bool,
            ("int2" | "int4" | "int8", _) => Kind::Integer,
            ("uuid", _) => Kind::Uuid,
            ("date", _) => Kind::Date,
            ("timestamp" | "timestamptz", _) => Kind::Timestamp,
            ("json" | "jsonb", _) => Kind::Json,
            (_, "S") => Kind::Text,
            (_, "E") => Kind::Enum,
            (_, "A") => Kind::Array,
            _ => Kind::Other,
        };
        Ok(Self { name: row.try_get("field")?, kind_name, kind })
    }
}

/// Which column holds which field.
fn assigned(
    table: &str,
    there: &[Column],
    choices: &Choices,
) -> Result<[Option<Column>; FIELDS.len()], ImportError> {
    if let Some((unknown, _)) =
        choices.column.iter().find(|(field, _)| FIELDS.iter().all(|known| known.name != field))
    {
        return Err(refused(format!("--column {unknown}=…: a task has no field of that name")));
    }
    let mut columns = [const { None }; FIELDS.len()];
    for (at, Field { name, usual, kinds }) in FIELDS.iter().enumerate() {
        let find = |wanted: &str| there.iter().find(|column| column.name == *wanted);
        let found = match choices.column.iter().rev().find(|(field, _)| field == name) {
            Some((_, column)) if column.is_empty() => None,
            Some((_, column)) => Some(find(column).ok_or_else(|| {
                refused(format!("--column {name}={column}: {table} has no column of that name"))
            })?),
            None => usual.iter().find_map(|wanted| find(wanted)),
        };
        match found {
            None if at < REQUIRED => {
                let all: Vec<_> = there.iter().map(|column| &*column.name).collect();
                return Err(refused(format!(
                    "{table} has no column called {}; name it by --column {name}=… (it has {})",
                    usual.join(" or "),
                    all.join(", ")
                )));
            }
            Some(Column { name: column, kind_name, kind }) if !kinds.contains(kind) => {
                let hint = if at < REQUIRED {
                    format!("name another one by --column {name}=…")
                } else {
                    format!("name another one by --column {name}=…, or leave it behind by --column {name}=")
                };
                return Err(refused(format!(
                    "{table}.{column} is of type {kind_name}, which no {name} can be; {hint}"
                )));
            }
            found => columns[at] = found.cloned(),
        }
    }
    Ok(columns)
}

/// The name of a zone, as the server has it.
async fn zone(snapshot: &Transaction<'_>, named: &str) -> Result<String, ImportError> {
    const UTC: &str = "UTC";
    // Looking into all of its files takes the server a while.
    if named.eq_ignore_ascii_case(UTC) {
        return Ok(UTC.to_owned());
    }
    match snapshot.query_typed_opt(ZONE, &[text(&named)]).await? {
        Some(zone) => Ok(zone.try_get(0)?),
        None => Err(refused(format!(
            "--time-zone {named}: PostgreSQL has no zone of that name; one is called Europe/Berlin"
        ))),
    }
}

/// Better Auth's users: those that were named, or the only table that looks like it.
async fn users(snapshot: &Transaction<'_>, choices: &Choices) -> Result<(String, String), ImportError> {
    let rows = match &choices.users {
        Some(named) => {
            let mut rows = columns(snapshot, named).await?;
            rows.retain(|row| row.try_get::<_, String>("field").is_ok_and(|field| field == "id"));
            if rows.is_empty() {
                return Err(refused(format!("--users {named}: there is no such table with an id")));
            }
            rows
        }
        None => snapshot.query_typed(USERS, &[]).await?,
    };
    let mut found = Vec::new();
    for row in &rows {
        let (schema, name): (String, String) = (row.try_get("schema")?, row.try_get("name")?);
        found.push((format!("{}.{}", quoted(&schema), quoted(&name)), format!("{schema}.{name}")));
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(refused(
            "Better Auth's table of users is not in this database, so nobody can tell whether the tasks are its users'. \
             --users names it, if it is called otherwise; --any-user takes all"
                .into(),
        )),
        _ => {
            let names: Vec<_> = found.into_iter().map(|(_, name)| name).collect();
            Err(refused(format!("several tables may be Better Auth's users; --users says which: {}", names.join(", "))))
        }
    }
}

async fn columns(snapshot: &Transaction<'_>, table: &str) -> Result<Vec<Row>, ImportError> {
    snapshot.query_typed(COLUMNS, &[text(&table)]).await.map_err(|error| match error.code() {
        Some(&(SqlState::INVALID_NAME | SqlState::SYNTAX_ERROR | SqlState::FEATURE_NOT_SUPPORTED)) => {
            refused(format!("{table} is not a table's name"))
        }
        _ => error.into(),
    })
}

fn text(value: &(impl ToSql + Sync)) -> (&(dyn ToSql + Sync), Type) {
    (value, Type::TEXT)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn refused(said: String) -> ImportError {
    ImportError::Refused(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(there: &[(&str, Kind)], choices: &Choices) -> Result<Vec<Option<String>>, String> {
        let there: Vec<_> = there
            .iter()
            .map(|(name, kind)| Column { name: (*name).into(), kind_name: "it".into(), kind: *kind })
            .collect();
        let columns = assigned("t", &there, choices).map_err(|error| error.to_string())?;
        Ok(columns.into_iter().map(|column| column.map(|column| column.name)).collect())
    }

    fn choose(pairs: &[(&str, &str)]) -> Choices {
        let column = pairs.iter().map(|(field, column)| ((*field).into(), (*column).into())).collect();
        Choices { column, ..Choices::default() }
    }

    const LEAST: [(&str, Kind); 3] = [("id", Kind::Integer), ("user_id", Kind::Text), ("title", Kind::Text)];

    #[test]
    fn a_column_is_what_it_is_called_or_said_to_be() {
        let there = [&LEAST[..], &[("what", Kind::Text), ("done", Kind::Bool), ("due", Kind::Date)]].concat();
        let found = columns(&there, &Choices::default()).unwrap();
        assert_eq!(found[2].as_deref(), Some("title"));
        assert_eq!((found[4].as_deref(), found[6].as_deref()), (Some("done"), Some("due")));
        assert_eq!(found.iter().flatten().count(), 5);
        let found = columns(&there, &choose(&[("title", "what"), ("due_date", "")])).unwrap();
        assert_eq!((found[2].as_deref(), found[6].as_deref()), (Some("what"), None));
    }

    #[test]
    fn what_cant_be_read_is_told_with_what_to_do() {
        let wrong = [&LEAST[..], &[("due_date", Kind::Integer)]].concat();
        for (there, choices, words) in [
            (&LEAST[..2], choose(&[]), "no column called title or name; name it by --column title="),
            (&LEAST, choose(&[("title", "x")]), "--column title=x: t has no column of that name"),
            (&LEAST, choose(&[("x", "title")]), "--column x=…: a task has no field of that name"),
            (&LEAST, choose(&[("title", "")]), "no column called title"),
            (&wrong, choose(&[]), "t.due_date is of type it, which no due_date can be; name another one by"),
        ] {
            let error = columns(there, &choices).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_name_stays_a_name() {
        assert_eq!(quoted(r#"a"; drop table b; --"#), r#""a""; drop table b; --""#);
    }
}
