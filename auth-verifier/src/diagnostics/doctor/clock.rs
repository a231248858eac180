//! Do the clocks agree? Tokens and sessions end by them.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

use super::Finding;

/// From here on a difference is worth a word.
const NOTED: Duration = Duration::from_secs(5);

/// What a clock that is `ahead_secs` of ours means, where `leeway` is allowed.
pub(super) fn judge(whose: &str, ahead_secs: f64, leeway: Duration) -> Finding {
    let apart = ahead_secs.abs();
    if apart < NOTED.as_secs_f64() {
        return Finding::Good(format!("{whose} clock and ours agree."));
    }
    let way = if ahead_secs > 0.0 { "ahead of" } else { "behind" };
    let what = format!("{whose} clock is {apart:.0} s {way} ours.");
    let set = format!("Set the clocks by NTP; AUTH_VERIFIER_LEEWAY_SECS allows {} s.", leeway.as_secs());
    // The header has whole seconds.
    if apart > leeway.as_secs_f64() + 1.0 { Finding::bad(what, set) } else { Finding::warning(what, set) }
}

/// How many seconds the sender of these headers, which came just now, is ahead; `None` if it doesn't say.
pub(super) fn ahead_secs(headers: &HeaderMap, now: SystemTime) -> Option<f64> {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let text = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = PrimitiveDateTime::parse(text, form).ok()?.assume_utc();
    // On the average half a second was cut off.
    Some((theirs - OffsetDateTime::from(now)).as_seconds_f64() + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_worth_a_word_and_beyond_the_leeway_wrong() {
        for (ahead, leeway, want) in [
            (0.0, 30, "Good"),
            (-4.9, 0, "Good"),
            (5.1, 30, "Warning"),
            (-31.0, 30, "Warning"),
            (31.1, 30, "Bad"),
            (-7200.0, 30, "Bad"),
            (6.5, 5, "Bad"),
        ] {
            let finding = judge("Its", ahead, Duration::from_secs(leeway));
            assert!(format!("{finding:?}").starts_with(want), "{finding:?}");
        }
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let date = "Tue, 24 Nov 2026 22:22:37 GMT".parse().unwrap();
        let headers: HeaderMap = [(header::DATE, date)].into_iter().collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_558_957);
        assert_eq!(ahead_secs(&headers, now), Some(0.5));
        assert_eq!(ahead_secs(&headers, now + Duration::from_secs(60)), Some(-59.5));
        assert_eq!(ahead_secs(&HeaderMap::new(), now), None);
    }
}
