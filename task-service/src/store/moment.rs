//! A moment as a row has it, told as one that a client can be told.
//!
//! PostgreSQL also has `infinity`, and years before 1 and beyond 9999, which RFC 3339 can't write. No client of ours puts
//! them there, but somebody with SQL may; a row with one is shown with the nearest moment that can be written, for it must not
//! take the whole list away.

use std::error::Error;

use time::{Duration, OffsetDateTime, macros::datetime};
use tokio_postgres::types::{FromSql, Type};

const EARLIEST: OffsetDateTime = datetime!(0001-01-01 00:00 UTC);
const LATEST: OffsetDateTime = datetime!(9999-12-31 23:59:59.999 UTC);

/// From where the server counts.
const BASE: OffsetDateTime = datetime!(2000-01-01 00:00 UTC);

/// A moment of the years 1 to 9999.
pub(super) struct Moment(pub(super) OffsetDateTime);

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // Microseconds; the two infinities are the ends of the numbers.
        let micros = i64::from_be_bytes(raw.try_into()?);
        let beyond = if micros < 0 { EARLIEST } else { LATEST };
        let moment = BASE.checked_add(Duration::microseconds(micros)).unwrap_or(beyond);
        Ok(Self(moment.clamp(EARLIEST, LATEST)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_the_nearest_that_can() {
        let micros = |moment: OffsetDateTime| i64::try_from((moment - BASE).whole_microseconds()).unwrap();
        let ordinary = datetime!(2026-01-02 03:04:05.678901 UTC);
        for (raw, want) in [
            (0, BASE),
            (micros(ordinary), ordinary),
            (micros(EARLIEST), EARLIEST),
            (micros(EARLIEST) - 1, EARLIEST),
            (micros(LATEST), LATEST),
            (micros(LATEST) + 1, LATEST),
            (i64::MAX - 1, LATEST),
            (i64::MAX, LATEST),
            (i64::MIN + 1, EARLIEST),
            (i64::MIN, EARLIEST),
        ] {
            let moment = Moment::from_sql(&Type::TIMESTAMPTZ, &raw.to_be_bytes()).unwrap();
            assert_eq!(moment.0, want, "{raw}");
        }
        assert!(Moment::from_sql(&Type::TIMESTAMPTZ, b"short").is_err());
    }
}
