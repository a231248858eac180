//! task-service's own metrics, beside those of every service.

use chassis::telemetry::catalog::Metric;

/// What task-service counts.
pub const METRICS: &[Metric] =
    &[KEPT_ANSWERS_REMOVED, LIST_ANSWERS, LIST_ANSWERS_WAIT, LIST_ANSWERS_REFUSED, ROW_LEVEL_SECURITY];

pub(crate) const KEPT_ANSWERS_REMOVED: Metric = Metric::counter(
    "kept_answers_removed_total",
    "Answers to writes with an `Idempotency-Key` that were removed because their day was over.",
);

pub(crate) const LIST_ANSWERS: Metric = Metric::gauge(
    "list_answers",
    "Lists in memory, from their reading to the last byte that the client takes; `TASK_SERVICE_LIMITS__LISTS_MAX` bounds them. A page by \
     `offset` of more than `TASK_SERVICE_LIMITS__PAGE_BYTES` counts as several.",
);

pub(crate) const LIST_ANSWERS_WAIT: Metric = Metric::histogram(
    "list_answers_wait_seconds",
    "Time that a list waited for a place in memory, where there was none for its user at once; also where it gave up.",
);

pub(crate) const LIST_ANSWERS_REFUSED: Metric = Metric::counter(
    "list_answers_refused_total",
    "Lists that found no place in memory in time: clients don't take their answers, or one user asks for too many at once.",
);

pub(crate) const ROW_LEVEL_SECURITY: Metric = Metric::gauge(
    "row_level_security",
    "1 if row-level security binds the role that serves, 0 if it is a superuser, has BYPASSRLS or finds it switched off.",
);
