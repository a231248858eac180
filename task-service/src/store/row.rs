//! A row, read as a task.

use std::error::Error;

use bytes::BytesMut;
use chassis::outbound::database::{DatabaseError, described};
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::sql::outcome;
use crate::task::{
    Task, TaskId, Version,
    fields::Priority,
    moment::{Due, Moment},
};

/// The tasks that a statement has found, as they came.
pub struct Found(pub(super) Vec<Row>);

impl Found {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves what a page of so many tasks and bytes holds, and tells whether there was more. A row that goes beyond the bytes
    /// was the last that was kept of the answer; there may have been others behind it.
    pub(super) fn cut(&mut self, tasks: usize, bytes: usize) -> bool {
        let read: usize = self.0.iter().map(Row::raw_size_bytes).sum();
        let goes_on = read > bytes || self.0.len() > tasks;
        if goes_on && self.0.len() > 1 {
            self.0.pop();
        }
        goes_on
    }

    /// The number that it is, of a statement that counts.
    pub(super) fn count(&self) -> Result<i64, DatabaseError> {
        let row = self.0.first().ok_or_else(|| DatabaseError::fault("a count gave no row"))?;
        row.try_get(2).map_err(|error| DatabaseError::fault(described(&error)))
    }

    /// The id of a task, of a statement that finds nothing else.
    pub(super) fn id(&self) -> Result<Option<TaskId>, DatabaseError> {
        let id = self.0.first().map(|row| row.try_get(2)).transpose();
        Ok(id.map_err(|error| DatabaseError::fault(described(&error)))?.map(TaskId::kept))
    }

    /// The names that it is, of a statement that finds such.
    pub(super) fn names(&self) -> Result<Vec<String>, DatabaseError> {
        let names = self.0.iter().map(|row| row.try_get(2)).collect::<Result<_, _>>();
        names.map_err(|error| DatabaseError::fault(described(&error)))
    }

    /// Each of them. An error is a row that makes no sense: ours to mend.
    pub fn tasks(&self) -> impl Iterator<Item = Result<Task<'_>, DatabaseError>> {
        self.0.iter().map(|row| task(row).map_err(|error| DatabaseError::fault(described(&error))))
    }
}

/// What became of a write.
pub enum Written {
    /// It was done; with the task.
    Done(Found),
    /// There is no such task.
    Missing,
    /// The task is not in a version that may be changed.
    Stale,
    /// Something else was done under its key.
    Other,
    /// It is being done at this moment.
    Running,
    /// The user has used as many keys as one may.
    Full,
}

impl Written {
    /// Reads the one row that a write is answered with.
    pub(super) fn of(rows: Vec<Row>) -> Result<Self, DatabaseError> {
        let row = rows.first().ok_or_else(|| DatabaseError::fault("a write gave no row"))?;
        let code = row.try_get(OUTCOME).map_err(|error| DatabaseError::fault(described(&error)))?;
        Ok(match code {
            outcome::DONE => Self::Done(Found(rows)),
            outcome::MISSING => Self::Missing,
            outcome::STALE => Self::Stale,
            outcome::OTHER => Self::Other,
            outcome::RUNNING => Self::Running,
            outcome::FULL => Self::Full,
            _ => return Err(DatabaseError::fault(format!("a write gave the outcome {code}"))),
        })
    }
}

/// Where a write's answer has its outcome: behind the task.
const OUTCOME: usize = 14;

/// Reads the columns that `sql` lists, behind the two that every answer begins with.
fn task(row: &Row) -> Result<Task<'_>, tokio_postgres::Error> {
    Ok(Task {
        id: row.try_get(2)?,
        user_id: row.try_get(3)?,
        title: row.try_get(4)?,
        description: row.try_get(5)?,
        completed: row.try_get(6)?,
        priority: row.try_get::<_, Option<i16>>(7)?.and_then(Priority::of_rank),
        due_date: due(row.try_get(8)?, row.try_get(12)?),
        tags: row.try_get(9)?,
        created_at: row.try_get(10)?,
        updated_at: row.try_get(11)?,
        version: Version(row.try_get(13)?),
    })
}

/// A due date is a day if both columns say so.
fn due(moment: Option<Moment>, day: Option<Day>) -> Option<Due> {
    let moment = moment?;
    let is_day = day.is_some_and(|Day(days)| moment == Moment::of_day(days));
    Some(if is_day { Due::Day(moment) } else { Due::Moment(moment) })
}

/// A date, in days since 2000.
struct Day(i32);

impl<'a> FromSql<'a> for Day {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(i32::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::DATE
    }
}

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // Microseconds since 2000; the two infinities are the ends of the numbers.
        Ok(Self::of_micros(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.micros().to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_the_server_counts() {
        for micros in [0, 1, -1, 822_539_045_678_901, i64::MIN, i64::MAX] {
            let moment = Moment::from_sql(&Type::TIMESTAMPTZ, &micros.to_be_bytes()).unwrap();
            assert_eq!(moment, Moment::of_micros(micros));
        }
        assert!(Moment::from_sql(&Type::TIMESTAMPTZ, b"short").is_err());
    }

    #[test]
    fn a_due_date_is_a_day_where_both_columns_say_so() {
        let day = 86_400_000_000;
        for (micros, days, is_day) in [
            (9527 * day, Some(9527), true),
            (-day, Some(-1), true),
            (9527 * day, None, false),
            // What a replica of the release before has written over it.
            (9527 * day + 1, Some(9527), false),
            (9528 * day, Some(9527), false),
            // Both infinite.
            (i64::MAX, Some(i32::MAX), true),
            (i64::MIN, Some(i32::MIN), true),
            (i64::MAX, Some(i32::MIN), false),
        ] {
            let moment = Moment::of_micros(micros);
            let want = if is_day { Due::Day(moment) } else { Due::Moment(moment) };
            assert_eq!(due(Some(moment), days.map(Day)), Some(want), "{micros} {days:?}");
        }
        assert_eq!(due(None, Some(Day(1))), None);
    }
}
