//! The metrics of a service that verifies identities.

use chassis::telemetry::catalog::Metric;

/// What the [`Verifier`](crate::Verifier) counts.
pub const METRICS: &[Metric] = &[IDENTITY_CACHE, IDENTITY_CACHE_EVICTIONS];

pub(crate) const IDENTITY_CACHE: Metric =
    Metric::counter("identity_cache_total", "Assertions that were looked for among those verified before.")
        .by(&[("result", "`hit`, `miss` (its signature is checked)")]);

pub(crate) const IDENTITY_CACHE_EVICTIONS: Metric =
    Metric::counter("identity_cache_evictions_total", "Verified assertions that made room for newer ones.");
