//! When a line was written: `2026-01-31T23:59:59.000001Z` (RFC 3339).

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

const TEXT_BYTES: usize = "2026-01-31T23:59:59.000001Z".len();

/// Where the fraction of the second begins.
const FRACTION: usize = "2026-01-31T23:59:59.".len();

/// A point in time as text.
pub(super) struct Timestamp([u8; TEXT_BYTES]);

impl Timestamp {
    pub fn now() -> Self {
        thread_local! {
            /// The last one that was made here: most lines of a second differ in its fraction alone.
            static LAST: Cell<(u64, [u8; TEXT_BYTES])> = const { Cell::new((u64::MAX, [0; TEXT_BYTES])) };
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (last, mut text) = LAST.get();
        if last != since.as_secs() {
            text = seconds(since.as_secs());
            LAST.set((since.as_secs(), text));
        }
        let digits = text[FRACTION..TEXT_BYTES - 1].iter_mut().rev();
        digits.fold(since.subsec_micros(), |left, digit| {
            *digit = b'0' + (left % 10) as u8;
            left / 10
        });
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and marks")
    }
}

/// A second's start. Years have four digits: from 9999 on they begin again at 0.
fn seconds(since_1970: u64) -> [u8; TEXT_BYTES] {
    let (days, seconds) = (since_1970 / 86_400, since_1970 % 86_400);
    // Days are counted from 0000-03-01, so that a leap day is the last of its year (H. Hinnant, "chrono-compatible low-level
    // date algorithms", civil_from_days).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, digits: usize, number: u64| {
        text[at..at + digits].iter_mut().rev().fold(number, |left, digit| {
            *digit = b'0' + (left % 10) as u8;
            left / 10
        });
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, seconds / 3600);
    put(14, 2, seconds / 60 % 60);
    put(17, 2, seconds % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_its_name() {
        for (since, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000Z"),
            (1_772_323_200, "2026-03-01T00:00:00.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(std::str::from_utf8(&seconds(since)).unwrap(), want);
        }
    }

    #[test]
    fn now_is_between_what_is_read_before_and_after() {
        let read = theirs;
        let (before, now, after) = (read(), Timestamp::now(), read());
        assert!(before.as_str() <= now.as_str() && now.as_str() <= after.as_str(), "{}", now.as_str());
    }

    /// The same by tracing-subscriber.
    fn theirs() -> String {
        use tracing_subscriber::fmt::{format::Writer, time::FormatTime};
        let mut text = String::new();
        tracing_subscriber::fmt::time::SystemTime.format_time(&mut Writer::new(&mut text)).unwrap();
        text
    }
}
