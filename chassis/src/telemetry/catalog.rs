//! What a metric is called, what it counts and in which unit. Each crate lists its own in `metrics.rs`; `/metrics` shows
//! the description as `# HELP`, and docs/metrics.md lists all of them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up. Its name ends in `_total`.
    Counter,
    /// Up and down.
    Gauge,
    /// How often a value fell into each bucket. Its name ends in its unit.
    Histogram,
}

/// The values of a label, or what they are.
pub type Label = (&'static str, &'static str);

/// One metric, under one name with all of its labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As Prometheus has it: the unit last, in base units, then `_total` for a counter.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Its labels. None grows with what clients send.
    pub labels: &'static [Label],
    /// What it counts, in a sentence.
    pub help: &'static str,
}

impl Metric {
    /// A counter without labels.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels: &[], help }
    }

    /// A gauge without labels.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels: &[], help }
    }

    /// A histogram without labels.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, labels: &[], help }
    }

    /// The same, with these labels.
    #[must_use]
    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// The unit, which the name says.
    pub fn unit(&self) -> Unit {
        if self.name.trim_end_matches("_total").ends_with("_seconds") { Unit::Seconds } else { Unit::Count }
    }
}

/// Describes metrics to whoever asks for `/metrics`.
pub fn describe(all: &[Metric]) {
    // The recorder keeps descriptions, so it comes first.
    super::metrics();
    tell(all);
}

/// The same, for the recorder that is being installed.
pub(super) fn tell(all: &[Metric]) {
    for metric in all {
        let (name, help) = (metric.name, metric.help);
        match metric.kind {
            Kind::Counter => describe_counter!(name, metric.unit(), help),
            Kind::Gauge => describe_gauge!(name, metric.unit(), help),
            Kind::Histogram => describe_histogram!(name, metric.unit(), help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_metrics_reads_what_they_count() {
        let all = [
            Metric::counter("described_total", "What a counter counts."),
            Metric::histogram("described_seconds", "What a histogram measures."),
        ];
        describe(&all);
        metrics::counter!(all[0].name).increment(1);
        metrics::histogram!(all[1].name).record(0.2);
        let said = crate::telemetry::metrics().render();
        assert!(
            said.contains("# HELP described_total What a counter counts.\n# TYPE described_total counter\n"),
            "{said}"
        );
        assert!(said.contains("# HELP described_seconds What a histogram measures."), "{said}");
    }
}
