//! `.env.example` names every variable of every service, and no other.

use std::collections::BTreeSet;

use chassis::settings::{self, Environment, Settings, Spec};

use crate::world::SECRET;

const COMPOSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/compose.yaml");

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.env.example");

/// Variables that no service's `Spec` has: they are the launcher's, or every service's alike.
const SHARED: [&str; 2] = ["RUST_LOG", "USHER_DATA_DIR"];

fn example() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let assignment = |line: &str| {
        let (name, value) = line.trim_start_matches("# ").split_once('=')?;
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        name.bytes().all(is_name).then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(assignment).collect()
}

#[test]
fn every_variable_stands_in_the_example_and_nothing_else_does() {
    let specs: [Spec; 3] = [
        gateway::settings::Settings::SPEC,
        auth_verifier::settings::Settings::SPEC,
        task_service::settings::Settings::SPEC,
    ];
    let mut known: BTreeSet<String> = SHARED.map(Into::into).into();
    for spec in specs {
        known.insert(spec.file_variable());
        known.extend(spec.variables().into_iter().map(|variable| variable.name));
    }
    let explained: BTreeSet<String> = example().into_iter().map(|(name, _)| name).collect();
    assert_eq!(known.difference(&explained).collect::<Vec<_>>(), Vec::<&String>::new(), "not explained");
    assert_eq!(explained.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "not a setting");
}

#[test]
fn the_example_is_good_as_it_stands() {
    let no_files = |(name, _): &(String, String)| !name.ends_with("_CONFIG");
    let needed = [("BETTER_AUTH_SECRET", SECRET), ("DATABASE_URL", "postgresql://localhost/tasks")];
    let needed = needed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment: Environment = example().into_iter().filter(no_files).chain(needed).collect();
    settings::load::<gateway::settings::Settings>(&environment).unwrap();
    settings::load::<auth_verifier::settings::Settings>(&environment).unwrap();
    settings::load::<task_service::settings::Settings>(&environment).unwrap();
}

/// The names that a service of the compose file is given.
fn handed_on(service: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(COMPOSE).unwrap();
    let part = text.split_once(&format!("\n  {service}:\n")).unwrap().1;
    let environment = part.split_once("    environment:\n").unwrap().1;
    let entries = environment.lines().take_while(|line| line.starts_with("      "));
    let name = |line: &str| Some(line.trim().split_once(':')?.0.to_owned());
    entries.filter(|line| !line.trim_start().starts_with('#')).filter_map(name).collect()
}

#[test]
fn compose_hands_every_variable_to_the_service_that_it_belongs_to_and_to_no_other() {
    for (service, spec) in [
        ("gateway", gateway::settings::Settings::SPEC),
        ("auth-verifier", auth_verifier::settings::Settings::SPEC),
        ("task-service", task_service::settings::Settings::SPEC),
    ] {
        let mut known: BTreeSet<String> =
            spec.variables().into_iter().map(|variable| variable.name).collect();
        known.extend([spec.file_variable(), "RUST_LOG".to_owned()]);
        // The images say where a container listens.
        known.retain(|name| !name.ends_with("LISTEN"));
        assert_eq!(handed_on(service), known, "{service}");
    }
}
