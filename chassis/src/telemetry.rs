//! Logs and metrics. Neither ever keeps a request waiting: lines go by [`Lines`], and the recorder's counters are
//! atomics, which a scrape reads without holding anybody up.

pub mod catalog;
mod json;
pub mod lines;
pub(crate) mod request;
mod text;
mod timestamp;
pub mod traces;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    cell::RefCell,
    io::IsTerminal,
    panic,
    sync::OnceLock,
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing::{Level, enabled, error, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, filter::Targets, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

use self::{
    json::{JsonFields, JsonLine},
    lines::Lines,
    text::{TextLine, TextLines},
};
use crate::layer::access_log::AccessLog;

/// Whose lines may say more than what changed: our own, which never show a credential.
///
/// Of libraries nobody promises that, and some don't keep it: below this, tokio-postgres logs the parameters of its
/// statements, and h2 paths with their queries. So theirs end at `info`, whatever `RUST_LOG` asks for.
const OURS: [&str; 8] =
    ["access", "panic", "chassis", "gateway", "auth_verifier", "task_service", "usher", "bench"];

/// The most lines of a backtrace that are logged.
const BACKTRACE_LINES_MAX: usize = 100;

/// The variable that says which lines are logged.
pub const FILTER: &str = "RUST_LOG";

/// Which lines are logged, in `RUST_LOG`'s syntax.
///
/// # Errors
///
/// What is wrong with it.
pub fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

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

/// Starts logging to standard output, in the name of `service`, at the levels of `filter` (`RUST_LOG`'s syntax).
/// What was logged and not [`flush`]ed when the process ends is lost.
///
/// # Errors
///
/// What is wrong with the filter.
pub fn log(service: &'static str, format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = self::filter(filter)?;
    // There is no other place where a panic would be seen.
    let filter = filter.add_directive("panic=error".parse().expect("a target and a level"));
    let terminal = std::io::stdout().is_terminal();
    let registry = registry().with(filter).with(caps());
    let lines = Lines::stdout().clone();
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    // A second start in one process (tests) keeps the first one's subscriber.
    if json {
        let layer = fmt::layer().event_format(JsonLine(service)).fmt_fields(JsonFields);
        if registry.with(layer.with_writer(json::JsonLines(lines))).try_init().is_ok() {
            let _ = JSON.set(Json { service, access: enabled!(target: "access", Level::INFO) });
        }
    } else {
        let layer = fmt::layer().with_ansi(terminal).event_format(TextLine(service));
        let _ = registry.with(layer.with_writer(TextLines { lines, colours: terminal })).try_init();
    }
    // Only libraries log by this crate. What is below their level is dropped before it is made a line of: tokio-postgres
    // has a dozen for each statement.
    log::set_max_level(log::LevelFilter::Info);
    Ok(())
}

/// How lines of JSON are written, where they are.
static JSON: OnceLock<Json> = OnceLock::new();

struct Json {
    /// In whose name.
    service: &'static str,
    /// Whether access lines are. The filter never changes, and to ask it for each line would cost more than half of the line.
    access: bool,
}

/// Writes the access line of a request, unless nobody wants to hear it (`RUST_LOG=info,access=off`).
pub(crate) fn access_line(log: &AccessLog) {
    thread_local! {
        /// Where a line is put together. None is longer than a line may be.
        static LINE: RefCell<String> = const { RefCell::new(String::new()) };
    }
    let service = match JSON.get() {
        Some(Json { access: false, .. }) => return,
        Some(Json { service, .. }) => service,
        // Text is for a person, who reads fewer of them than a machine.
        None if enabled!(target: "access", Level::INFO) => return log.in_flight.sync_within(|| log.event()),
        None => return,
    };
    LINE.with_borrow_mut(|line| {
        line.clear();
        if json::access_line(line, service, log).is_ok() {
            Lines::stdout().push(line.as_bytes());
        }
    });
}

/// Waits until what was logged is written, but no longer than this.
pub fn flush(within: Duration) {
    Lines::stdout().flush(within);
}

fn caps() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(OURS.map(|target| (target, LevelFilter::TRACE)))
}

/// From now on a panic is a line in the log, whatever `RUST_LOG` says: the usual hook writes to standard error, and
/// waits for whoever reads that. Its backtrace follows, where `RUST_BACKTRACE` asks for one.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let place = info.location().map(ToString::to_string);
        let message = info.payload_as_str().unwrap_or("?");
        error!(target: "panic", thread = thread.name(), place, "panicked: {message}");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            for line in backtrace.to_string().lines().take(BACKTRACE_LINES_MAX) {
                error!(target: "panic", "{line}");
            }
        }
    }));
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
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
                .expect("the list of buckets is not empty")
                .install_recorder()
                .expect("no other recorder is installed in this process");
            catalog::tell(crate::metrics::EVERY_SERVICE);
            #[cfg(feature = "database")]
            catalog::tell(crate::metrics::DATABASE);
            // A counter that is there from the start can be watched before anything is lost.
            lines::count_dropped(0);
            handle
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread};

    use tracing::Level;

    use super::*;

    /// Run by the test below, in a process of its own: hooks and logs are a whole process's.
    #[test]
    #[ignore = "it panics on purpose"]
    fn panics() {
        log("gateway", LogFormat::Json, "off").unwrap();
        log_panics();
        thread::Builder::new().name("t-1".into()).spawn(|| panic!("of\nno use")).unwrap().join().unwrap_err();
        flush(Duration::from_secs(60));
    }

    #[test]
    fn a_panic_is_a_line_in_the_log_and_waits_for_nobody_who_reads_standard_error() {
        for (backtrace, more) in [("0", false), ("1", true)] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "telemetry::tests::panics", "--ignored", "--nocapture"])
                .env("RUST_BACKTRACE", backtrace)
                .output()
                .unwrap();
            assert!(output.status.success());
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
            let said = String::from_utf8(output.stdout).unwrap();
            // The test's own lines go to the same output.
            let lines = said.lines().filter_map(|line| serde_json::from_str(&line[line.find('{')?..]).ok());
            let lines: Vec<serde_json::Value> = lines.collect();
            assert_eq!(lines[0]["message"], "panicked: of\nno use");
            assert_eq!(lines[0]["thread"], "t-1");
            assert_eq!(lines[0]["level"], "ERROR");
            assert!(lines[0]["place"].as_str().unwrap().starts_with("chassis/src/telemetry.rs:"));
            assert_eq!(lines.len() > 1, more, "{said}");
            assert!(lines.len() <= 1 + BACKTRACE_LINES_MAX);
        }
    }

    #[test]
    fn libraries_never_say_more_than_what_changed_and_our_own_say_what_is_asked_for() {
        let caps = caps();
        for (target, level, want) in [
            ("tokio_postgres::query", Level::DEBUG, false),
            ("tokio_postgres::connection", Level::INFO, true),
            ("h2::server", Level::DEBUG, false),
            ("hyper_util::client::legacy::client", Level::TRACE, false),
            ("tonic::status", Level::DEBUG, false),
            ("some_library_of_tomorrow", Level::DEBUG, false),
            ("some_library_of_tomorrow", Level::INFO, true),
            ("auth_verifier::keys", Level::TRACE, true),
            ("chassis::serve", Level::DEBUG, true),
            ("access", Level::INFO, true),
        ] {
            assert_eq!(caps.would_enable(target, &level), want, "{target} {level}");
        }
    }
}
