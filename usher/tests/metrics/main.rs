//! docs/metrics.md lists every metric, each under the name that the code uses; docs/alerts.md and the dashboard know no other.
#![expect(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod alerts;
mod dashboard;

use std::{
    collections::BTreeSet,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use chassis::telemetry::catalog::{Kind, Metric};

const HEAD: &str = "# Metrics

Every metric of every service, its labels, its unit and what it counts. What to do when one is wrong stands in
[alerts.md](alerts.md); [deploy/grafana/usher.json](../deploy/grafana/usher.json) draws them.

Every service answers `/metrics` in Prometheus' text format, on its listener for operators (ports 9000, 9001 and 9002
unless set). A metric appears with its first value. A histogram has the three names that Prometheus gives it:
`…_bucket`, `…_sum` and `…_count`. Take `rate()` of a counter, never its value: it begins at 0 with each start.

This page is made from the catalogs in the code: `UPDATE=1 cargo test -p usher --test metrics`.
";

/// Everything that any service counts, by who does.
const CATALOG: [(&str, &[Metric]); 6] = [
    ("Every service", chassis::metrics::EVERY_SERVICE),
    ("A service with a database", chassis::metrics::DATABASE),
    ("A service that verifies identities", identity::metrics::METRICS),
    ("gateway", gateway::metrics::METRICS),
    ("auth-verifier", auth_verifier::metrics::METRICS),
    ("task-service", task_service::metrics::METRICS),
];

fn all() -> impl Iterator<Item = &'static Metric> {
    CATALOG.into_iter().flat_map(|(_, metrics)| metrics)
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (who, metrics) in CATALOG {
        write!(
            page,
            "\n## {who}\n\n| name | kind | labels | unit | what it counts |\n|---|---|---|---|---|\n"
        )
        .unwrap();
        for Metric { name, kind, labels, help } in metrics {
            let unit = unit(name, help);
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<_> =
                labels.iter().map(|(label, values)| format!("`{label}`: {values}")).collect();
            writeln!(page, "| `{name}` | {kind} | {} | {unit} | {help} |", labels.join("<br>")).unwrap();
        }
    }
    page
}

/// What one of it is: names end in their unit, as Prometheus wants it, and those without one count what the sentence says.
fn unit(name: &str, help: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    match () {
        () if name.ends_with("_timestamp_seconds") => "seconds since 1970",
        () if name.ends_with("_seconds") => "seconds",
        () if name.ends_with("_bytes") => "bytes",
        () if help.starts_with("1 ") => "1 or 0",
        () => "how many",
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn the_page_lists_what_the_services_count() {
    let file = root().join("docs/metrics.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, page()).unwrap();
    }
    let is_as_made = fs::read_to_string(&file).unwrap() == page();
    assert!(is_as_made, "docs/metrics.md is not as made: UPDATE=1 cargo test -p usher --test metrics");
}

#[test]
fn names_are_as_prometheus_wants_them() {
    let mut seen = BTreeSet::new();
    let listed =
        CATALOG.into_iter().flat_map(|(who, metrics)| metrics.iter().map(move |metric| (who, metric)));
    for (who, Metric { name, kind, help, .. }) in listed {
        assert!(seen.insert((who, name)), "{name} stands twice");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name} has no unit");
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
    }
}

#[test]
fn the_code_counts_under_names_of_the_catalog_and_all_of_them() {
    for service in ["chassis", "identity", "gateway", "auth-verifier", "task-service", "usher"] {
        let source = root().join(service).join("src");
        let catalog = fs::read_to_string(source.join("metrics.rs")).unwrap_or_default();
        let declared: BTreeSet<_> = catalog
            .lines()
            .filter_map(|line| {
                line.strip_prefix("pub(crate) const ")?.split_once(": Metric").map(|(name, _)| name)
            })
            .collect();
        let mut used = BTreeSet::new();
        for file in sources(&source) {
            let text = fs::read_to_string(&file).unwrap();
            for called in ["counter!(", "gauge!(", "histogram!("] {
                for (at, _) in
                    text.match_indices(called).filter(|(at, _)| !text[..*at].ends_with("describe_"))
                {
                    let name = text[at + called.len()..].trim_start();
                    let name = name.split([',', ')']).next().unwrap();
                    let place = format!("{}: {called}{name}", file.display());
                    let name =
                        name.strip_prefix("crate::metrics::").and_then(|name| name.strip_suffix(".name"));
                    let name = name.unwrap_or_else(|| panic!("{place} is not of the catalog"));
                    assert!(declared.contains(name), "{place} is not in {service}'s catalog");
                    used.insert(name.to_owned());
                }
            }
        }
        let unused: Vec<_> = declared.iter().filter(|name| !used.contains(**name)).collect();
        assert!(unused.is_empty(), "{service} never counts {unused:?}");
        let listed = |name: &str| all().any(|metric| metric.name == name);
        let names = catalog.split('"').filter(|text| listed(text)).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), declared.len(), "{service}: each is in a list");
    }
}

/// Every file of Rust in a folder, but the catalog.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("telemetry/catalog.rs") {
            files.push(path);
        }
    }
    files
}
