//! A row, read as a task.

use std::error::Error;

use chassis::outbound::database::{DatabaseError, described};
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use crate::task::{Task, fields::Priority, moment::Moment};

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

    /// Each of them. An error is a row that makes no sense: ours to mend.
    pub fn tasks(&self) -> impl Iterator<Item = Result<Task<'_>, DatabaseError>> {
        self.0.iter().map(|row| task(row).map_err(|error| DatabaseError::fault(described(&error))))
    }
}

/// Reads the columns that `sql` lists, behind the two that every answer begins with.
fn task(row: &Row) -> Result<Task<'_>, tokio_postgres::Error> {
    Ok(Task {
        id: row.try_get(2)?,
        user_id: row.try_get(3)?,
        title: row.try_get(4)?,
        description: row.try_get(5)?,
        completed: row.try_get(6)?,
        priority: row.try_get::<_, Option<i16>>(7)?.and_then(Priority::of_rank),
        due_date: row.try_get(8)?,
        tags: row.try_get(9)?,
        created_at: row.try_get(10)?,
        updated_at: row.try_get(11)?,
    })
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
}
