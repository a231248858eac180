//! The dashboard asks for metrics and labels that there are, each in the way that its kind allows, and is imported as it stands.

use std::{collections::BTreeSet, fs};

use chassis::telemetry::catalog::Kind;
use serde_json::Value;

use crate::{all, root};

/// What Prometheus adds: where it was scraped, and a histogram's bound.
const ADDED: [&str; 4] = ["namespace", "pod", "container", "le"];

/// Metrics that are no service's own.
const SCRAPED: [&str; 1] = ["up"];

/// Words of the language that no bracket need follow.
const KEYWORDS: [&str; 9] = ["sum", "min", "max", "and", "or", "unless", "bool", "offset", "ignoring"];

/// What a list of labels follows.
const WORDS: [&str; 3] = ["by", "on", "group_left"];

#[expect(clippy::disallowed_methods, reason = "a file of ours")]
fn dashboard() -> Value {
    serde_json::from_slice(&fs::read(root().join("deploy/grafana/usher.json")).unwrap()).unwrap()
}

/// Every panel that draws something, with its queries.
fn panels(dashboard: &Value) -> Vec<(String, Vec<String>)> {
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    panels
        .map(|panel| {
            let targets = panel["targets"].as_array().unwrap();
            let queries = targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
            (panel["title"].as_str().unwrap().to_owned(), queries)
        })
        .collect()
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A name in a query, with its matchers (between braces), and what stands around it.
struct Selector<'a> {
    before: &'a str,
    name: &'a str,
    labels: Vec<&'a str>,
    after: &'a str,
}

/// The metrics of a query: names that no bracket follows, outside of quotes, matchers and lists of labels.
fn selectors(query: &str) -> Vec<Selector<'_>> {
    let mut found = Vec::new();
    let (mut at, mut depth_of_list) = (0, None::<usize>);
    let mut depth = 0;
    while let Some(c) = query[at..].chars().next() {
        let rest = &query[at..];
        if c == '(' {
            depth += 1;
            let word = query[..at].trim_end().rsplit(|c| !is_of_name(c)).next().unwrap();
            if WORDS.contains(&word) {
                depth_of_list = Some(depth);
            }
            at += 1;
        } else if c == ')' {
            if depth_of_list == Some(depth) {
                depth_of_list = None;
            }
            depth -= 1;
            at += 1;
        } else if c == '[' {
            at += rest.find(']').unwrap() + 1;
        } else if c == '$' || c.is_ascii_digit() {
            at += 1 + rest[1..].find(|c| !is_of_name(c)).unwrap_or(rest.len() - 1);
        } else if c.is_ascii_alphabetic() {
            let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            let (name, mut after) = rest.split_at(end);
            let is_metric =
                depth_of_list.is_none() && !after.trim_start().starts_with('(') && !KEYWORDS.contains(&name);
            let mut labels = Vec::new();
            if let Some((matchers, behind)) = after.strip_prefix('{').and_then(|open| open.split_once('}')) {
                let matchers = matchers.split(',').map(str::trim);
                labels =
                    matchers.map(|matcher| &matcher[..matcher.find(|c| !is_of_name(c)).unwrap()]).collect();
                after = behind;
            }
            if is_metric {
                found.push(Selector { before: &query[..at], name, labels, after });
            }
            at = query.len() - after.len();
        } else {
            at += c.len_utf8();
        }
    }
    found
}

/// The labels of `by (…)` and `on (…)`.
fn listed(query: &str) -> BTreeSet<&str> {
    let lists = WORDS.iter().flat_map(|word| query.match_indices(&format!("{word} (")).collect::<Vec<_>>());
    lists
        .flat_map(|(at, open)| query[at + open.len()..].split(')').next().unwrap().split(','))
        .map(str::trim)
        .collect()
}

#[test]
fn every_query_asks_for_what_there_is_in_the_way_that_its_kind_allows() {
    let dashboard = dashboard();
    let mut asked = BTreeSet::new();
    for (title, queries) in panels(&dashboard) {
        assert!(!queries.is_empty(), "{title} draws nothing");
        for query in queries {
            let mut labels_of_query: BTreeSet<&str> = ADDED.into();
            let selectors = selectors(&query);
            assert!(!selectors.is_empty(), "{title}: {query} names no metric");
            for Selector { before, name, labels, after } in selectors {
                if SCRAPED.contains(&name) {
                    continue;
                }
                let of_histogram =
                    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let is_histogram = |base: &str| all().any(|m| m.name == base && m.kind == Kind::Histogram);
                let base = of_histogram.filter(|base| is_histogram(base)).unwrap_or(name);
                // One name may be counted by several services, each with labels of its own.
                let metrics: Vec<_> = all().filter(|metric| metric.name == base).collect();
                assert!(!metrics.is_empty(), "{title}: there is no metric {name}");
                asked.insert(base.to_owned());
                let known: BTreeSet<&str> =
                    metrics.iter().flat_map(|metric| metric.labels.iter().map(|(label, _)| *label)).collect();
                for label in labels {
                    assert!(
                        known.contains(label) || ADDED.contains(&label),
                        "{title}: {name} has no label {label}"
                    );
                }
                labels_of_query.extend(&known);
                let is_counted = metrics[0].kind != Kind::Gauge;
                let counts = ["rate(", "increase("].iter().any(|function| before.ends_with(function));
                assert_eq!(counts, is_counted, "{title}: {name} is a {:?}: {query}", metrics[0].kind);
                assert_eq!(counts, after.starts_with("[$__rate_interval]"), "{title}: {query}");
                assert!(
                    metrics[0].kind != Kind::Histogram || base != name,
                    "{title}: Prometheus knows {name} by _bucket, _sum and _count"
                );
                if name.ends_with("_bucket") && base != name {
                    assert!(query.starts_with("histogram_quantile("), "{title}: {query}");
                    assert!(listed(&query).contains("le"), "{title}: quantiles are of `le`: {query}");
                }
            }
            for label in listed(&query) {
                assert!(labels_of_query.contains(label), "{title}: nothing in {query} has the label {label}");
            }
        }
    }
    // Whoever adds a metric says where it is looked at; what few ever need is in the list of all.
    assert!(asked.len() >= 35, "only {} metrics are drawn: {asked:?}", asked.len());
}

/// Without an edit: the source of data is asked for, and no id is another installation's.
#[test]
fn it_is_imported_as_it_stands() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let named: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["datasource", "namespace", "pod"]);
    assert_eq!(variables[0]["type"], "datasource");
    assert_eq!(variables[0]["query"], "prometheus");
    assert_eq!(dashboard["id"], Value::Null);
    assert_eq!(dashboard["uid"], "usher");
    assert_eq!(
        dashboard.get("__inputs"),
        None,
        "an export for sharing asks for what a variable asks for already"
    );
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}: its id stands twice", panel["title"]);
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{} says what it shows", panel["title"]);
        assert_ne!(panel["fieldConfig"]["defaults"]["unit"], Value::Null, "{} has a unit", panel["title"]);
        for asks in [panel].into_iter().chain(panel["targets"].as_array().unwrap()) {
            assert_eq!(asks["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
    for variable in &variables[1..] {
        assert_eq!(variable["datasource"]["uid"], "${datasource}", "{}", variable["name"]);
    }
}

#[test]
fn a_query_is_taken_apart_as_prometheus_does() {
    let names = |query| selectors(query).iter().map(|selector| selector.name).collect::<Vec<_>>();
    let query = r#"sum by (namespace, le) (rate(a_bucket{x="b(c", y=~"d|e"}[$__rate_interval])) / on (pod) f > 0.5 and g == 1"#;
    assert_eq!(names(query), ["a_bucket", "f", "g"]);
    assert_eq!(selectors(query)[0].labels, ["x", "y"]);
    assert_eq!(listed(query), ["namespace", "le", "pod"].into());
}
