//! Every alert has a section of docs/alerts.md, every section an alert, and each leads to the other.

use std::{collections::BTreeMap, fs};

use crate::root;

/// The alerts of `deploy/kubernetes`: their lines, by their names.
fn alerts() -> BTreeMap<String, String> {
    let rules =
        fs::read_to_string(root().join("deploy/kubernetes/components/monitoring/alerts.yaml")).unwrap();
    let rules = rules.split("- alert: ").skip(1);
    rules.map(|rule| rule.split_once('\n').unwrap()).map(|(name, rule)| (name.into(), rule.into())).collect()
}

/// The sections of the page, by their heads.
fn sections() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    let sections = page.split("\n### ").skip(1);
    sections
        .map(|section| section.split_once('\n').unwrap())
        .map(|(head, text)| (head.into(), text.split("\n## ").next().unwrap().into()))
        .collect()
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() {
    let (alerts, sections) = (alerts(), sections());
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(alerts.keys().collect::<Vec<_>>(), sections.keys().collect::<Vec<_>>());
    for (name, rule) in &alerts {
        let runbook = format!("runbook: docs/alerts.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&runbook), "{name} leads to its section");
        let section = &sections[name];
        let severity = if rule.contains("severity: critical") { "Critical" } else { "Warning" };
        assert!(section.trim_start().starts_with(severity), "{name} is {severity}");
        for part in ["**Means**", "**Look at**", "**Do**"] {
            assert!(section.contains(part), "{name}: {part}");
        }
    }
}

/// What looks like a metric in the page: a field of a log line, a kind of error, a view of PostgreSQL's, settings of others.
const NO_METRICS: [&str; 6] = [
    "request_id",
    "timed_out",
    "pg_stat_activity",
    "max_prepared_statements",
    "timeout_secs",
    "default_transaction_isolation",
];

/// Whatever stands in backticks, with labels or without.
#[test]
fn the_page_names_metrics_that_there_are() {
    let page = fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    let mut seen = 0;
    for code in page.split('`').skip(1).step_by(2) {
        let name = code.split('{').next().unwrap();
        if name.contains('_')
            && !NO_METRICS.contains(&name)
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            seen += 1;
            assert!(crate::all().any(|metric| metric.name == name), "there is no metric {name}");
        }
    }
    assert!(seen > 10, "only {seen} metrics are named");
}
