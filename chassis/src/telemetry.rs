//! Logs and metrics.

use std::{io::IsTerminal, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts logging to standard output, at the levels of `filter` (`RUST_LOG`'s syntax).
pub fn log(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let terminal = std::io::stdout().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    // A second start in one process (tests) keeps the first one's subscriber.
    let _ = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(terminal)).try_init()
    };
    Ok(())
}

/// The process's metrics, installed on first use.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            // From a cached verdict (some 100 µs) to the longest wait that we allow.
            let seconds = [
                0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
                5.0, 10.0,
            ];
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
                .expect("the list of buckets is not empty")
                .install_recorder()
                .expect("no other recorder is installed in this process")
        })
        .clone()
}
