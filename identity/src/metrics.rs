//! The metrics of a service that verifies identities.

use chassis::telemetry::catalog::Metric;

/// What the [`Verifier`](crate::Verifier) counts.
pub const METRICS: &[Metric] = &[CACHE_HITS, CACHE_INSERTS, CACHE_EVICTIONS];

pub(crate) const CACHE_HITS: Metric = Metric::counter(
    "cache_hits_total",
    "Assertions that were verified before, so that no signature was checked.",
)
.by(&[("cache", "`verified_assertions`")]);

pub(crate) const CACHE_INSERTS: Metric =
    Metric::counter("cache_inserts_total", "Verified assertions that were put into the cache.")
        .by(&[("cache", "as above")]);

pub(crate) const CACHE_EVICTIONS: Metric =
    Metric::counter("cache_evictions_total", "Assertions that made room for newer ones.")
        .by(&[("cache", "as above")]);
