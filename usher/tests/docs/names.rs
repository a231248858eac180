//! Each setting and each metric that a page names exists.

use std::collections::BTreeSet;

use chassis::{
    settings::{Settings, Spec},
    telemetry::catalog::{Kind, Metric},
};

use crate::{none, pages};

pub const SPECS: [Spec; 3] = [
    gateway::settings::Settings::SPEC,
    auth_verifier::settings::Settings::SPEC,
    task_service::settings::Settings::SPEC,
];

const METRICS: [&[Metric]; 6] = [
    chassis::metrics::EVERY_SERVICE,
    chassis::metrics::DATABASE,
    identity::metrics::METRICS,
    gateway::metrics::METRICS,
    auth_verifier::metrics::METRICS,
    task_service::metrics::METRICS,
];

/// Metrics of others, by how they begin: Kubernetes', the node's, Prometheus' own, PostgreSQL's.
const OTHERS: [&str; 6] = ["container_", "kube_", "node_", "prometheus_", "process_", "pg_"];

/// What metrics end in, and what Prometheus makes of histograms.
const ENDS: [&str; 7] = ["_total", "_seconds", "_bytes", "_ratio", "_bucket", "_sum", "_count"];

/// What a page may call a variable of ours.
fn variables() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for spec in SPECS {
        known.insert(spec.file_variable());
        for variable in spec.variables() {
            known.insert(format!("{}_FILE", variable.name));
            known.insert(variable.name);
        }
    }
    known
}

fn is_upper(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

#[test]
fn every_setting_that_a_page_names_exists() {
    let known = variables();
    let prefixes = SPECS.map(|spec| spec.prefix());
    let mut faults = Vec::new();
    let mut seen = 0;
    for page in pages::current() {
        for (n, line) in page.text.lines().enumerate() {
            for word in line.split(|c| !is_upper(c)) {
                let is_ours = prefixes.iter().any(|prefix| word.starts_with(&**prefix) && word != *prefix);
                let is_well_known =
                    ["BETTER_AUTH_", "CORS_", "OTEL_"].iter().any(|begin| word.starts_with(begin));
                // `…_SERVER__DRAIN_SECS`: one that every service has.
                let is_end = word.len() > 1 && word.starts_with('_') && line.contains(&format!("…{word}"));
                let exists = match (is_end, word.ends_with('_')) {
                    (true, _) => known.iter().any(|name| name.ends_with(word)),
                    // `AUTH_VERIFIER_TABLES__…`, `BETTER_AUTH_…`
                    (_, true) => known.iter().any(|name| name.starts_with(word)),
                    _ => known.contains(word) || OF_OTHERS.contains(&word),
                };
                if is_ours || is_well_known || is_end {
                    seen += 1;
                    if !exists {
                        let near = known.iter().min_by_key(|name| strsim(name, word)).unwrap();
                        faults
                            .push(format!("{}: {word} is no setting; the nearest is {near}", page.at(n + 1)));
                    }
                }
            }
        }
    }
    none(&faults);
    assert!(seen > 200, "only {seen} were seen");
}

/// Variables that look like ours: a status of HTTP, what Kubernetes makes of the names of Services, Better Auth's own, and one that
/// a page names as a slip of the hand.
const OF_OTHERS: [&str; 9] = [
    "GATEWAY_TIMEOUT",
    "GATEWAY_PORT",
    "TASK_SERVICE_HOST",
    "BETTER_AUTH_TELEMETRY",
    "BETTER_AUTH_JWKS_URL",
    "CORS_ALLOWED_ORIGIN",
    "CORS_ORIGINS",
    "BETTER_AUTH_TRUSTED_ORIGINS",
    "BETTER_AUTH_OWNER_URL",
];

/// How many characters two names have not in common at their beginnings.
fn strsim(name: &str, word: &str) -> usize {
    let common = name.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
    name.len().max(word.len()) - common
}

#[test]
fn every_metric_that_a_page_names_exists() {
    let mut known = BTreeSet::new();
    for Metric { name, kind, .. } in METRICS.into_iter().flatten() {
        known.insert((*name).to_owned());
        if *kind == Kind::Histogram {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        }
    }
    let keys: BTreeSet<String> = SPECS
        .iter()
        .flat_map(Spec::variables)
        .filter_map(|variable| Some(variable.key.rsplit('.').next()?.to_owned()))
        .collect();
    let mut faults = Vec::new();
    let mut seen = 0;
    for page in pages::current() {
        let inline = page.code().into_iter();
        let blocks = page.blocks.iter().filter(|block| ["promql", "yaml", ""].contains(&&*block.language));
        let blocks = blocks.map(|block| (block.line, block.text.clone()));
        for (line, code) in inline.chain(blocks) {
            for word in code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')) {
                // What the user of a setting writes in TOML (`upstream.timeout_secs`) is none, nor is a number's unit.
                let is_metric = word.matches('_').count() > 1
                    && !word.contains('.')
                    && word
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
                    && ENDS.iter().any(|end| word.ends_with(end))
                    && !word.starts_with('_')
                    && OTHERS.iter().all(|begin| !word.starts_with(begin));
                if is_metric && !keys.contains(word) {
                    seen += 1;
                    if !known.contains(word) {
                        faults.push(format!("{}: {word} is no metric of any service", page.at(line)));
                    }
                }
            }
        }
    }
    none(&faults);
    assert!(seen > 20, "only {seen} were seen");
}
