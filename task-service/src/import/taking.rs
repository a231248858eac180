//! What an import sends to our own tables, each statement in the name of the user whom it is about.

use std::{collections::HashSet, future};

use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::{
    Client, IsolationLevel, Row, Transaction,
    types::{ToSql, Type},
};

use super::row::{Fit, Judged};
use crate::task::fields::{DueDate, Priority, Tag};

/// Whom the policies of our tables show their rows to, for the rest of the transaction.
const SET_USER: &str = "select set_config('task_service.user_id', $1, true)";

/// Which tables there are: a dry run may come before everything else.
const LOOK: &str = "select to_regclass('task_service.tasks') is not null as tasks,
    to_regclass('task_service.legacy_ids') is not null as ids";

const NUMBER: &str = "select number from task_service.imports where source = $1";

/// Under the lock that the reader holds, so that nobody else takes the number.
const BEGIN: &str = "
insert into task_service.imports (number, source)
select coalesce(max(number), 0) + 1, $1 from task_service.imports
having not exists (select from task_service.imports where source = $1)";

const FINISH: &str = "update task_service.imports set finished_at = now() where number = $1";

const GIVEN: &str = "with given as (
    select legacy_id, id from unnest($3::text[], $4::uuid[]) as given (legacy_id, id)
)";

/// It was noted, perhaps of a task that its user has removed since.
const IS_NOTED: &str = "exists (
    select from task_service.legacy_ids as noted
    where noted.user_id = $1 and noted.legacy_id = given.legacy_id and noted.import = $2
)";

/// The user has a task of that very id: somebody has copied it already.
const IS_COPIED: &str =
    "exists (select from task_service.tasks as task where task.user_id = $1 and task.id = given.id)";

/// Makes the tasks whose old ids are not noted yet, and notes them. A task that is there stays as it is.
const TAKE: &str = "with given as (
    select * from unnest(
        $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bool[], $8::int2[], $9::timestamptz[], $10::date[],
        $11::bool[], $12::text[], $13::timestamptz[], $14::timestamptz[]
    ) as given (
        legacy_id, id, title, description, completed, priority, due_date, due_day, due_is_local, tags, created_at, updated_at
    )
), noted as (
    insert into task_service.legacy_ids (user_id, legacy_id, import, id)
    select $1, legacy_id, $2, id from given
    on conflict do nothing
    returning legacy_id
), taken as (
    insert into task_service.tasks (
        user_id, id, title, description, completed, priority, due_date, due_day, tags, created_at, updated_at
    )
    select $1, id, title, description, completed, priority,
        case when due_is_local then (due_date at time zone 'UTC') at time zone $15 else due_date end,
        due_day, tags::text[], created_at, updated_at
    from given
    where legacy_id in (select legacy_id from noted)
    on conflict (user_id, id) do nothing
    returning id
)
select distinct on (id) legacy_id from given where id in (select id from taken)";

/// A statement about one user's rows. It answers with old ids.
pub(super) struct Asked {
    user: String,
    sql: String,
    parameters: Vec<Parameter>,
}

type Parameter = (Box<dyn ToSql + Sync + Send>, Type);

/// The same, borrowed.
type Borrowed<'a> = (&'a (dyn ToSql + Sync), Type);

/// How rows are taken over.
pub(super) struct Taking {
    import: Option<i16>,
    /// Finds what need not be taken, if there is a table to look into.
    look: Option<String>,
}

impl Taking {
    /// For a dry run, which only looks.
    pub(super) async fn look_only(client: &Client, source: &str) -> Result<Self, tokio_postgres::Error> {
        let there = client.query_typed_one(LOOK, &[]).await?;
        let (tasks, ids): (bool, bool) = (there.try_get("tasks")?, there.try_get("ids")?);
        let import = if ids { number(client, source).await? } else { None };
        let look = match (tasks, ids) {
            (true, true) => {
                Some(format!("{GIVEN}\nselect legacy_id from given where {IS_NOTED} or {IS_COPIED}"))
            }
            (true, false) => {
                Some(format!("{GIVEN}\nselect legacy_id from given where $2::int2 is null and {IS_COPIED}"))
            }
            (false, _) => None,
        };
        Ok(Self { import, look })
    }

    /// For an import of that table. From now on it has a number.
    pub(super) async fn begin(client: &mut Client, source: &str) -> Result<Self, tokio_postgres::Error> {
        write(client, BEGIN, &[(&source, Type::TEXT)]).await?;
        let import = number(client, source).await?;
        let look = format!(
            "{GIVEN}, copied as (
    insert into task_service.legacy_ids (user_id, legacy_id, import, id)
    select $1, legacy_id, $2, id from given where {IS_COPIED}
    on conflict do nothing
)
select legacy_id from given where {IS_NOTED} or {IS_COPIED}"
        );
        Ok(Self { import, look: Some(look) })
    }

    /// Notes that all of the table was gone through.
    pub(super) async fn finish(&self, client: &mut Client) -> Result<(), tokio_postgres::Error> {
        write(client, FINISH, &[(&self.import, Type::INT2)]).await
    }

    /// Which of a user's rows need not be taken.
    pub(super) fn look(&self, user: &str, rows: &[Judged]) -> Asked {
        let Some(sql) = &self.look else {
            return Asked {
                user: user.to_owned(),
                sql: "select null::text where false".into(),
                parameters: Vec::new(),
            };
        };
        let ids: Vec<_> = rows.iter().map(|judged| judged.old_id.clone()).collect();
        let uuids: Vec<_> = rows.iter().map(|judged| judged.uuid).collect();
        let parameters: Vec<Parameter> = vec![
            (Box::new(user.to_owned()), Type::TEXT),
            (Box::new(self.import), Type::INT2),
            (Box::new(ids), Type::TEXT_ARRAY),
            (Box::new(uuids), Type::UUID_ARRAY),
        ];
        Asked { user: user.to_owned(), sql: sql.clone(), parameters }
    }

    /// Takes rows of a user over.
    pub(super) fn take(&self, user: &str, rows: &[(&Judged, &Fit)], zone: &str) -> Asked {
        fn each<T: ToSql + Sync + Send + 'static>(
            rows: &[(&Judged, &Fit)],
            of: impl Fn(&Fit) -> T,
        ) -> Box<dyn ToSql + Sync + Send> {
            Box::new(rows.iter().map(|(_, fit)| of(fit)).collect::<Vec<_>>())
        }
        let ids: Vec<_> = rows.iter().map(|(judged, _)| judged.old_id.clone()).collect();
        let parameters: Vec<Parameter> = vec![
            (Box::new(user.to_owned()), Type::TEXT),
            (Box::new(self.import), Type::INT2),
            (Box::new(ids), Type::TEXT_ARRAY),
            (each(rows, |fit| fit.id), Type::UUID_ARRAY),
            (each(rows, |fit| fit.title.as_str().to_owned()), Type::TEXT_ARRAY),
            (each(rows, |fit| fit.description.as_ref().map(|it| it.as_str().to_owned())), Type::TEXT_ARRAY),
            (each(rows, |fit| fit.completed), Type::BOOL_ARRAY),
            (each(rows, |fit| fit.priority.map(Priority::rank)), Type::INT2_ARRAY),
            (each(rows, |fit| fit.due.map(DueDate::moment)), Type::TIMESTAMPTZ_ARRAY),
            (each(rows, |fit| fit.due.and_then(DueDate::day)), Type::DATE_ARRAY),
            (each(rows, |fit| fit.due_is_local), Type::BOOL_ARRAY),
            (each(rows, |fit| array(&fit.tags)), Type::TEXT_ARRAY),
            (each(rows, |fit| fit.created_at), Type::TIMESTAMPTZ_ARRAY),
            (each(rows, |fit| fit.updated_at), Type::TIMESTAMPTZ_ARRAY),
            (Box::new(zone.to_owned()), Type::TEXT),
        ];
        Asked { user: user.to_owned(), sql: TAKE.to_owned(), parameters }
    }
}

/// What each is answered, all in one round trip.
///
/// A statement is sent when it is first polled, so all are polled in turn before any answer is waited for: whose turn it is,
/// the server was told right before.
pub(super) async fn ask(
    transaction: &Transaction<'_>,
    asked: Vec<Asked>,
) -> Result<Vec<HashSet<String>>, tokio_postgres::Error> {
    let mut parameters: Vec<(&str, Vec<Borrowed<'_>>)> = Vec::with_capacity(2 * asked.len());
    for Asked { user, sql, parameters: given } in &asked {
        parameters.push((SET_USER, vec![(user as &(dyn ToSql + Sync), Type::TEXT)]));
        let given = given.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()));
        parameters.push((sql, given.collect()));
    }
    let mut sent: Vec<_> = parameters
        .iter()
        .map(|(sql, given)| Box::pin(maybe_done(transaction.query_typed(sql, given))))
        .collect();
    future::poll_fn(|context| {
        for one in &mut sent {
            let _ = one.as_mut().poll(context);
        }
        std::task::Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(asked.len());
    for (at, mut one) in sent.into_iter().enumerate() {
        one.as_mut().await;
        let rows: Vec<Row> = MaybeDone::take_output(one.as_mut()).transpose()?.unwrap_or_default();
        if at % 2 == 1 {
            answers.push(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?);
        }
    }
    Ok(answers)
}

async fn number(client: &Client, source: &str) -> Result<Option<i16>, tokio_postgres::Error> {
    let row = client.query_typed_opt(NUMBER, &[(&source, Type::TEXT)]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Carries one statement out, on the disk.
async fn write(
    client: &mut Client,
    sql: &str,
    parameters: &[Borrowed<'_>],
) -> Result<(), tokio_postgres::Error> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .read_only(false)
        .start()
        .await?;
    transaction.batch_execute(super::WRITER_BOUNDS).await?;
    transaction.execute_typed(sql, parameters).await?;
    transaction.commit().await
}

/// Tags as the server writes an array: an array of arrays of different lengths there is not.
fn array(tags: &[Tag]) -> String {
    let quoted: Vec<_> = tags
        .iter()
        .map(|tag| format!("\"{}\"", tag.as_str().replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_quoted_whatever_they_are() {
        let tags = |texts: &[&str]| texts.iter().map(|text| Tag::parse(text).unwrap()).collect::<Vec<_>>();
        for (given, want) in [
            (&[][..], "{}"),
            (&["a", "b c"], r#"{"a","b c"}"#),
            (&["null", "{", ","], r#"{"null","{",","}"#),
            (&[r#"a"b"#, r"c\"], r#"{"a\"b","c\\"}"#),
        ] {
            assert_eq!(array(&tags(given)), want);
        }
    }

    #[test]
    fn every_statement_is_about_its_user() {
        for sql in [TAKE, IS_NOTED, IS_COPIED] {
            assert!(sql.contains("user_id = $1") || sql.matches("select $1, ").count() == 2, "{sql}");
        }
    }
}
