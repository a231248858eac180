//! Counts what a full cache has to push out: whoever sees that number rise knows which bound is too low.

use std::sync::Arc;

use moka::notification::RemovalCause;

/// To be called for whatever leaves the cache of that name. What is over, or replaced, leaves by itself.
pub(crate) fn count<K, V>(cache: &'static str) -> impl Fn(Arc<K>, V, RemovalCause) + Send + Sync + 'static {
    move |_, _, cause| {
        if cause == RemovalCause::Size {
            metrics::counter!("remembered_evicted_total", "cache" => cache).increment(1);
        }
    }
}
