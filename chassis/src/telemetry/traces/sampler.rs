//! Which requests are recorded, as `OTEL_TRACES_SAMPLER` says.

use crate::layer::trace_context::TraceId;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    /// Whether who asks has decided already.
    pub parent_based: bool,
    pub root: Root,
}

/// How it is decided where nobody has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Root {
    AlwaysOn,
    AlwaysOff,
    /// This part of all traces, from 0 to 1.
    Ratio(f64),
}

impl Sampler {
    /// Whether a part of `trace` is recorded; who asks may have said whether theirs is.
    pub fn decide(&self, trace: &TraceId, parent: Option<bool>) -> bool {
        match parent {
            Some(sampled) if self.parent_based => sampled,
            // All services come to the same decision.
            _ => self.root.decide(|| trace.low_bits()),
        }
    }

    /// The same for anybody, who has chosen their trace and its mark themselves.
    pub fn decide_for_anybody(&self, sampled: bool) -> bool {
        (sampled || !self.parent_based) && self.root.decide(crate::layer::request_id::bits)
    }
}

impl Root {
    fn decide(self, bits: impl FnOnce() -> u64) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            // As OpenTelemetry's own: 63 of the bits, against a bound.
            #[expect(clippy::cast_precision_loss, reason = "a ratio is no more exact")]
            Self::Ratio(ratio) => ((bits() >> 1) as f64) < ratio * (1_u64 << 63) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::trace_context::SpanContext;

    fn sampler(parent_based: bool, root: Root) -> Sampler {
        Sampler { parent_based, root }
    }

    #[test]
    fn who_asks_decides_where_that_is_wanted() {
        let trace = SpanContext::begin().trace;
        for (parent_based, root, parent, want) in [
            (true, Root::AlwaysOn, None, true),
            (true, Root::AlwaysOn, Some(false), false),
            (true, Root::AlwaysOff, Some(true), true),
            (true, Root::AlwaysOff, None, false),
            (false, Root::AlwaysOn, Some(false), true),
            (false, Root::AlwaysOff, Some(true), false),
            (true, Root::Ratio(0.0), Some(true), true),
            (true, Root::Ratio(1.0), None, true),
            (true, Root::Ratio(0.0), None, false),
        ] {
            let decided = sampler(parent_based, root).decide(&trace, parent);
            assert_eq!(decided, want, "{parent_based} {root:?} {parent:?}");
        }
    }

    #[test]
    fn anybody_can_have_less_recorded_and_never_more() {
        for (parent_based, root, mark, want) in [
            (true, Root::AlwaysOn, true, true),
            (true, Root::AlwaysOn, false, false),
            (true, Root::AlwaysOff, true, false),
            (true, Root::Ratio(0.0), true, false),
            (false, Root::AlwaysOn, false, true),
            (false, Root::Ratio(0.0), true, false),
        ] {
            let decided = sampler(parent_based, root).decide_for_anybody(mark);
            assert_eq!(decided, want, "{parent_based} {root:?} {mark}");
        }
        // Always with the same mark, and whichever id.
        let recorded =
            (0..2000).filter(|_| sampler(true, Root::Ratio(0.25)).decide_for_anybody(true)).count();
        assert!((300..700).contains(&recorded), "{recorded}");
    }

    #[test]
    fn a_ratio_is_about_the_part_of_all_traces_and_the_same_for_each_service() {
        let quarter = sampler(false, Root::Ratio(0.25));
        let traces: Vec<_> = (0..2000).map(|_| SpanContext::begin().trace).collect();
        let recorded: Vec<_> = traces.iter().map(|trace| quarter.decide(trace, None)).collect();
        assert_eq!(recorded, traces.iter().map(|trace| quarter.decide(trace, None)).collect::<Vec<_>>());
        let count = recorded.into_iter().filter(|is| *is).count();
        assert!((300..700).contains(&count), "{count}");
    }
}
