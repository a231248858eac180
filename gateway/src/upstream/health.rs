//! Whether an endpoint gets its share, by what it did last.
//!
//! One that fails is ejected for a while, each time for twice as long. After that it is half-open: a single request probes it,
//! and a good answer brings it back. Where it is also asked whether it is ready ([`readiness`](super::readiness)), its word counts
//! besides.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

/// The longest that an endpoint is ejected for, unless `upstream.eject_secs` is longer: one that was away for hours is found
/// within a minute.
const EJECT_MAX: Duration = Duration::from_mins(1);

/// After so many answers in a row that nothing was done, an endpoint is ejected.
const UNREADY_MAX: u32 = 5;

/// After so many broken connections in a row, without an answer in between.
const BROKEN_MAX: u32 = 5;

/// After so many requests in a row that ran into the whole timeout while the endpoint answered nobody. A single one may be slow by
/// itself.
const SILENT_MAX: u32 = 3;

/// After so many questions in a row whether it is ready that an endpoint leaves without an answer, it counts as silent. A single
/// one may have met a busy moment.
const UNTOLD_MAX: u32 = 2;

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It took no connection.
    Unreachable,
    /// It said again and again that it did nothing.
    Unready,
    /// It answered nobody for too long, again and again.
    Silent,
    /// It took connections, and closed them without an answer.
    Broken,
}

impl Fault {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Unreachable, Self::Unready, Self::Silent, Self::Broken];

    /// How often in a row it ejects an endpoint.
    fn times_max(self) -> u32 {
        match self {
            Self::Unreachable => 1,
            Self::Unready => UNREADY_MAX,
            Self::Silent => SILENT_MAX,
            Self::Broken => BROKEN_MAX,
        }
    }

    /// Its label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unready => "not_applied",
            Self::Silent => "silent",
            Self::Broken => "broken",
        }
    }
}

/// What an endpoint says when it is asked whether it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is.
    Ready,
    /// It isn't.
    Unready,
    /// Nothing, in time.
    Nothing,
}

impl Said {
    pub(super) const ALL: [Self; 3] = [Self::Ready, Self::Unready, Self::Nothing];

    /// What the status of an answer says, or that there was none.
    pub(super) fn of(answer: Option<StatusCode>) -> Self {
        match answer {
            Some(status) if status.is_success() => Self::Ready,
            Some(_) => Self::Unready,
            None => Self::Nothing,
        }
    }

    /// Its label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Nothing => "nothing",
        }
    }
}

/// What has changed by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Ready,
    Unready,
}

/// An endpoint's health.
pub(super) struct Health {
    since: Instant,
    /// When its ejection ends, in milliseconds after `since`; it is half-open from then on. 0 for one that gets its share.
    ejected_until: AtomicU64,
    /// How often it was ejected since it last answered well.
    ejections: AtomicU32,
    /// How often in a row it has failed, by fault.
    in_a_row: [AtomicU32; Fault::ALL.len()],
    /// How often it has answered, whatever that was.
    answers: AtomicU64,
    probed: AtomicBool,
    /// Whether it has said that it isn't ready, or nothing. Until it is asked it counts as ready.
    unready: AtomicBool,
    /// How many questions in a row it has left without an answer.
    untold: AtomicU32,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            in_a_row: Fault::ALL.map(|_| AtomicU32::new(0)),
            answers: AtomicU64::new(0),
            probed: AtomicBool::new(false),
            unready: AtomicBool::new(false),
            untold: AtomicU32::new(0),
        }
    }

    /// Whether it gets its share, while others do.
    pub(super) fn gets_share(&self) -> bool {
        self.is_well() && !self.is_unready()
    }

    /// Whether it has said that it isn't ready, or left that question without an answer.
    pub(super) fn is_unready(&self) -> bool {
        self.unready.load(Relaxed)
    }

    /// Whether it answers nobody, not even who asks for its readiness: what waits for it waits in vain.
    pub(super) fn is_silent(&self) -> bool {
        self.is_unready() && self.untold.load(Relaxed) >= UNTOLD_MAX
    }

    /// Takes in what it says of its readiness; what that changes. One that has become ready is half-open at once, if it was ejected.
    pub(super) fn says(&self, said: Said) -> Option<Told> {
        let untold = match said {
            Said::Nothing => self.untold.fetch_add(1, Relaxed).saturating_add(1),
            Said::Ready | Said::Unready => {
                self.untold.store(0, Relaxed);
                0
            }
        };
        let unready = match said {
            Said::Ready => false,
            Said::Unready => true,
            Said::Nothing => self.is_unready() || untold >= UNTOLD_MAX,
        };
        if self.unready.swap(unready, Relaxed) == unready {
            return None;
        }
        if !unready {
            let now = self.now().max(1);
            let _ = self.ejected_until.fetch_update(Relaxed, Relaxed, |until| (until > now).then_some(now));
        }
        Some(if unready { Told::Unready } else { Told::Ready })
    }

    /// Whether it is not ejected.
    pub(super) fn is_well(&self) -> bool {
        self.ejected_until.load(Relaxed) == 0
    }

    /// Whether it gets its share, and has not failed since it last answered well.
    pub(super) fn is_ready(&self) -> bool {
        self.gets_share() && self.in_a_row.iter().all(|times| times.load(Relaxed) == 0)
    }

    /// Whether it is ejected, and not yet half-open.
    pub(super) fn is_ejected(&self) -> bool {
        match self.ejected_until.load(Relaxed) {
            0 => false,
            until => self.now() < until,
        }
    }

    /// Whether a request becomes the one that probes it: one that only reads as soon as it is half-open, any other after
    /// `patience`.
    pub(super) fn begin_probe(&self, only_reads: bool, patience: Duration) -> bool {
        let until = self.ejected_until.load(Relaxed);
        if until == 0 {
            return false;
        }
        let from = if only_reads { until } else { until.saturating_add(millis(patience)) };
        from <= self.now() && self.probed.compare_exchange(false, true, Relaxed, Relaxed).is_ok()
    }

    /// The probe is over, whatever came of it.
    pub(super) fn end_probe(&self) {
        self.probed.store(false, Relaxed);
    }

    /// How often it has answered.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// It has answered, well or not. That it does its work again only a good answer shows: what it can't find or may not do, it also
    /// says when it could do nothing.
    pub(super) fn answered(&self, well: bool) {
        self.answers.fetch_add(1, Relaxed);
        for fault in Fault::ALL {
            let times = &self.in_a_row[fault as usize];
            if (well || fault != Fault::Unready) && times.load(Relaxed) != 0 {
                times.store(0, Relaxed);
            }
        }
        if !self.is_well() && self.in_a_row[Fault::Unready as usize].load(Relaxed) < UNREADY_MAX {
            self.ejections.store(0, Relaxed);
            self.ejected_until.store(0, Relaxed);
            self.end_probe();
        }
    }

    /// It has answered that it did nothing. Whether that was once too often.
    pub(super) fn did_nothing(&self) -> bool {
        self.answers.fetch_add(1, Relaxed);
        for fault in [Fault::Silent, Fault::Broken] {
            self.in_a_row[fault as usize].store(0, Relaxed);
        }
        self.failed(Fault::Unready)
    }

    /// It has failed. Whether that was once too often.
    pub(super) fn failed(&self, fault: Fault) -> bool {
        let times = self.in_a_row[fault as usize].fetch_add(1, Relaxed).saturating_add(1);
        times >= fault.times_max() || !self.is_well()
    }

    /// Ejects it, first for `span`. Whether it was not ejected already.
    pub(super) fn eject(&self, span: Duration) -> bool {
        let (before, now) = (self.ejected_until.load(Relaxed), self.now());
        if before != 0 && now < before {
            return false;
        }
        let doubled = span.saturating_mul(1 << self.ejections.load(Relaxed).min(16));
        let until = now.saturating_add(millis(doubled.min(EJECT_MAX.max(span)))).max(1);
        // Of many requests that fail at once one ejects it, once.
        if self.ejected_until.compare_exchange(before, until, Relaxed, Relaxed).is_err() {
            return false;
        }
        self.ejections.fetch_add(1, Relaxed);
        self.end_probe();
        true
    }

    fn now(&self) -> u64 {
        millis(self.since.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn ejections_grow_to_a_bound_and_a_good_answer_ends_them() {
        let health = Health::new();
        for secs in [5, 10, 20, 40, 60, 60] {
            assert!(health.eject(5 * SECOND));
            assert!(!health.eject(5 * SECOND), "of many failures at once one counts");
            advance((secs - 1) * SECOND).await;
            assert!(health.is_ejected(), "{secs}");
            advance(SECOND).await;
            assert!(!health.is_ejected() && !health.is_well(), "{secs}: half-open");
        }
        health.answered(true);
        assert!(health.is_well());
        assert!(health.eject(5 * SECOND));
        advance(5 * SECOND).await;
        assert!(!health.is_ejected(), "it begins anew");
        let long = Health::new();
        assert!(long.eject(3600 * SECOND));
        advance(3599 * SECOND).await;
        assert!(long.is_ejected(), "as long as is set");
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_open_endpoint_is_probed_by_one_request_at_a_time() {
        let health = Health::new();
        assert!(!health.begin_probe(true, SECOND), "it is well");
        health.eject(5 * SECOND);
        assert!(!health.begin_probe(true, SECOND), "it is ejected");
        advance(5 * SECOND).await;
        assert!(!health.begin_probe(false, SECOND), "first what only reads");
        assert!(health.begin_probe(true, SECOND));
        assert!(!health.begin_probe(true, SECOND));
        health.end_probe();
        advance(SECOND).await;
        assert!(health.begin_probe(false, SECOND), "if nothing does, anything");
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_says_of_itself_counts_at_once_and_what_it_does_not_say_twice() {
        let health = Health::new();
        assert!(health.gets_share() && !health.is_silent(), "until it is asked");
        assert_eq!(health.says(Said::Ready), None);
        assert_eq!(health.says(Said::Nothing), None);
        assert!(health.gets_share() && !health.is_silent());
        assert_eq!(health.says(Said::Ready), None, "it begins anew");
        assert_eq!(health.says(Said::Nothing), None);
        assert_eq!(health.says(Said::Nothing), Some(Told::Unready));
        assert!(!health.gets_share() && !health.is_ready() && health.is_silent());
        assert_eq!(health.says(Said::Unready), None);
        assert!(!health.gets_share() && !health.is_silent(), "it answers");
        assert_eq!(health.says(Said::Nothing), None);
        assert!(!health.gets_share(), "nothing is no news");
        assert_eq!(health.says(Said::Ready), Some(Told::Ready));
        assert!(health.gets_share() && health.is_ready());
        assert_eq!(health.says(Said::Unready), Some(Told::Unready));
        assert!(!health.gets_share() && !health.is_silent());
        for (status, said) in
            [(200, Said::Ready), (204, Said::Ready), (302, Said::Unready), (404, Said::Unready)]
        {
            assert_eq!(Said::of(StatusCode::from_u16(status).ok()), said);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_become_ready_is_probed_at_once() {
        let health = Health::new();
        advance(SECOND).await;
        health.eject(60 * SECOND);
        health.says(Said::Unready);
        assert!(health.is_ejected());
        health.says(Said::Ready);
        assert!(!health.is_ejected() && !health.is_well() && health.begin_probe(true, SECOND), "half-open");
        // Saying it again changes nothing: what it does counts, too.
        health.eject(60 * SECOND);
        health.says(Said::Ready);
        assert!(health.is_ejected());
    }

    #[tokio::test]
    async fn one_that_fails_now_and_then_stays() {
        for fault in [Fault::Unready, Fault::Silent, Fault::Broken] {
            let health = Health::new();
            for _ in 0..3 {
                for _ in 1..fault.times_max() {
                    assert!(!health.failed(fault) && !health.is_ready());
                }
                health.answered(true);
                assert!(health.is_ready());
            }
            for _ in 1..fault.times_max() {
                assert!(!health.failed(fault));
            }
            assert!(health.failed(fault), "{fault:?}: in a row");
        }
    }

    #[tokio::test]
    async fn any_answer_is_an_answer_but_only_a_good_one_is_work() {
        for well in [false, true] {
            let health = Health::new();
            health.failed(Fault::Broken);
            health.failed(Fault::Silent);
            health.answered(well);
            assert!(health.is_ready(), "it answers");
            health.did_nothing();
            health.answered(well);
            assert_eq!(health.is_ready(), well);
            for _ in 0..UNREADY_MAX {
                health.did_nothing();
            }
            health.eject(SECOND);
            health.answered(well);
            assert_eq!(health.is_well(), well);
            let unreachable = Health::new();
            unreachable.eject(SECOND);
            unreachable.answered(well);
            assert!(unreachable.is_well());
        }
    }
}
