//! A moment that a client can be told: RFC 3339, to the millisecond.

use std::ops::RangeInclusive;

/// A moment, in microseconds since 2000, as PostgreSQL counts.
///
/// PostgreSQL also has `infinity`, and years before 1 and beyond 9999, which RFC 3339 can't write. No client of ours
/// puts them there, but somebody with SQL may. A row with one is shown with the nearest moment that can be written: it
/// must not take the whole list away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(i64);

/// When a task is due: a day, wherever one is, or a moment. A day is kept as its start in UTC, by which it is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Due {
    Day(Moment),
    Moment(Moment),
}

/// The first and the last that can be written, 0001-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z.
const WRITABLE: RangeInclusive<i64> = -63_082_281_600_000_000..=252_455_615_999_999_000;

const MICROS_PER_MILLI: i64 = 1000;
const MILLIS_PER_DAY: i64 = 86_400_000;
const MICROS_PER_DAY: i64 = MICROS_PER_MILLI * MILLIS_PER_DAY;

/// What PostgreSQL takes for a moment, besides the two infinities: from 4714 BC to the end of 294276.
const KEEPABLE: RangeInclusive<i64> = -211_813_488_000_000_000..=9_223_371_331_199_999_999;

/// From 0000-03-01, which the calendar below counts from, to 2000-01-01.
const DAYS_TO_2000: i64 = 730_425;

/// The days of 400 years, after which the Gregorian calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;

impl Moment {
    /// The beginning of 2000, UTC.
    pub const BASE: Self = Self(0);

    /// So many microseconds after the beginning of 2000, UTC.
    pub fn of_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The start of a day, UTC, so many days after the first of 2000.
    pub fn of_day(days: i32) -> Self {
        Self(i64::from(days).saturating_mul(MICROS_PER_DAY))
    }

    /// Microseconds since the beginning of 2000, UTC.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whether PostgreSQL would take it.
    pub fn is_keepable(self) -> bool {
        KEEPABLE.contains(&self.0) || self.0 == i64::MIN || self.0 == i64::MAX
    }

    /// Writes its day in UTC, as `2026-01-31`.
    pub fn write_day(self, out: &mut Vec<u8>) {
        const TIME: usize = "T00:00:00.000Z".len();
        self.write(out);
        out.truncate(out.len() - TIME);
    }

    /// Writes the nearest moment that can be written, as JavaScript's `toISOString` does, with milliseconds: what a frontend sends comes back as it was.
    pub fn write(self, out: &mut Vec<u8>) {
        let writable = self.0.clamp(*WRITABLE.start(), *WRITABLE.end());
        let millis = writable.div_euclid(MICROS_PER_MILLI);
        let (days, millis) = (millis.div_euclid(MILLIS_PER_DAY), millis.rem_euclid(MILLIS_PER_DAY));
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let numbers = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, millis / 3_600_000),
            (14..16, millis / 60_000 % 60),
            (17..19, millis / 1000 % 60),
            (20..23, millis % 1000),
        ];
        for (digits, mut number) in numbers {
            for digit in text[digits].iter_mut().rev() {
                *digit += u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        }
        out.extend_from_slice(&text);
    }
}

/// Year, month and day of a count of days since 2000-01-01: Howard Hinnant's `civil_from_days`, in which a year begins
/// in March, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_2000;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::{Duration, OffsetDateTime, format_description::BorrowedFormatItem, macros};

    use super::*;

    const FORMAT: &[BorrowedFormatItem<'_>] =
        macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    const BASE: OffsetDateTime = macros::datetime!(2000-01-01 00:00 UTC);

    fn written(micros: i64) -> String {
        let mut out = Vec::new();
        Moment::of_micros(micros).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn by_the_library(micros: i64) -> String {
        (BASE + Duration::microseconds(micros)).format(FORMAT).unwrap()
    }

    #[test]
    fn what_cannot_be_written_is_the_nearest_that_can() {
        let (first, last) = ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z");
        for (micros, want) in [
            (0, "2000-01-01T00:00:00.000Z"),
            (-1, "1999-12-31T23:59:59.999Z"),
            (*WRITABLE.start(), first),
            (*WRITABLE.start() - 1, first),
            (i64::MIN + 1, first),
            (i64::MIN, first),
            (*WRITABLE.end(), last),
            (*WRITABLE.end() + 1, last),
            (i64::MAX - 1, last),
            (i64::MAX, last),
        ] {
            assert_eq!(written(micros), want, "{micros}");
        }
    }

    #[test]
    fn a_day_is_written_without_its_time() {
        for (days, want) in
            [(0, "2000-01-01"), (9527, "2026-01-31"), (-1, "1999-12-31"), (i32::MAX, "9999-12-31")]
        {
            let mut out = b"x".to_vec();
            Moment::of_day(days).write_day(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{want}"));
        }
    }

    #[test]
    fn what_postgresql_takes_ends_where_it_says() {
        let (first, last) = (*KEEPABLE.start(), *KEEPABLE.end());
        for (micros, keepable) in [
            (0, true),
            (first, true),
            (first - 1, false),
            (last, true),
            (last + 1, false),
            (i64::MAX - 1, false),
            (i64::MIN + 1, false),
            (i64::MAX, true),
            (i64::MIN, true),
        ] {
            assert_eq!(Moment::of_micros(micros).is_keepable(), keepable, "{micros}");
        }
    }

    #[test]
    fn every_day_is_written_as_the_library_does() {
        let day = MILLIS_PER_DAY * MICROS_PER_MILLI;
        let days = (WRITABLE.start() / day..=WRITABLE.end() / day).step_by(17);
        for micros in days.map(|days| days * day + 45_296_789_000) {
            assert_eq!(written(micros), by_the_library(micros));
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_written_as_the_library_does(micros in WRITABLE) {
            prop_assert_eq!(written(micros), by_the_library(micros));
        }
    }
}
