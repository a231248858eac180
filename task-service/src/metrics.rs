//! task-service's own metrics, beside those of every service.

use chassis::telemetry::catalog::Metric;

/// What task-service counts.
pub const METRICS: &[Metric] = &[KEPT_ANSWERS_REMOVED];

pub(crate) const KEPT_ANSWERS_REMOVED: Metric = Metric::counter(
    "kept_answers_removed_total",
    "Answers to writes with an `Idempotency-Key` that were removed because their day was over.",
);
