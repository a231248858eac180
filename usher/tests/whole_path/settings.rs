//! `.env.example`, `docs/settings.md` and `compose.yaml` have every variable of every service, and no other.

mod example;
mod page;

use std::{collections::BTreeSet, path::Path};

use chassis::settings::{self, Environment, PORT, Settings, Spec};
use gateway::sanitize::names;

use crate::world::SECRET;

const COMPOSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/compose.yaml");

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.env.example");

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");

const THREATS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/threat-model.md");

const SECRETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/secrets.md");

const SPECS: [Spec; 3] = [
    gateway::settings::Settings::SPEC,
    auth_verifier::settings::Settings::SPEC,
    task_service::settings::Settings::SPEC,
];

/// Compares a file with what it should be, or makes it so where `UPDATE` is set.
#[track_caller]
fn is_as_made(path: &str, made: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, made).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    let differs = written.lines().zip(made.lines()).position(|(is, should)| is != should);
    let name = Path::new(path).file_name().unwrap().display();
    assert!(
        written == made,
        "{name} is not as made, from line {:?}: UPDATE=1 cargo test -p usher --test whole_path settings",
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_example_is_made_of_what_the_defaults_explain() {
    is_as_made(EXAMPLE, &example::made(&SPECS));
}

#[test]
fn the_page_of_settings_is_made_of_what_the_defaults_explain() {
    is_as_made(PAGE, &page::made(&SPECS));
    let page = std::fs::read_to_string(PAGE).unwrap();
    for variable in SPECS.iter().flat_map(Spec::variables) {
        let of_all = variable
            .name
            .split_once('_')
            .map(|_| format!("`…_{}`", variable.key.replace('.', "__").to_uppercase()));
        let stands = page.contains(&format!("`{}`", variable.name)) || page.contains(&of_all.unwrap());
        assert!(stands, "{} is not on the page", variable.name);
    }
}

/// Whoever looks for how a secret is replaced finds it, and what the page says is proved.
#[test]
fn the_pages_of_secrets_and_threats_are_whole_and_name_tests_that_there_are() {
    let page = std::fs::read_to_string(SECRETS).unwrap();
    let secrets: BTreeSet<_> =
        SPECS.iter().flat_map(Spec::variables).filter(|v| v.secret).map(|v| v.name).collect();
    assert!(secrets.len() > 8, "{secrets:?}");
    for name in &secrets {
        assert!(page.contains(&format!("`{name}`")), "docs/secrets.md does not say how {name} is replaced");
    }
    assert!(proofs(&page) >= 8);
    let threats = std::fs::read_to_string(THREATS).unwrap();
    assert!(proofs(&threats) >= 8);
    // What the gateway strips is said in whole.
    let lists =
        [&names::HOP_BY_HOP[..], &names::FORWARDING, &names::FORWARDING_PREFIXES, &names::INTERNAL_PREFIXES];
    for name in lists.into_iter().flatten() {
        assert!(
            threats.contains(&format!("`{name}`")),
            "docs/threat-model.md does not say that {name} is stripped"
        );
    }
}

/// How many tests a page names, as `path/to/file.rs`: `a_test_of_it`. Each of them is there.
fn proofs(page: &str) -> usize {
    // A line may end anywhere.
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut proofs = 0;
    for line in page.split("(../").skip(1).filter(|line| line.contains(".rs): `")) {
        let (file, rest) = line.split_once("): `").unwrap();
        let test = rest.split('`').next().unwrap();
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("fn {test}()")), "{file} has no test {test}");
        proofs += 1;
    }
    proofs
}

/// Variables that no service's `Spec` has: they are the launcher's, every service's alike, or the compose file's own.
const SHARED: [&str; 7] = [
    "RUST_LOG",
    "USHER_DATA_DIR",
    "USHER_DEMO_LISTEN",
    "USHER_PUBLISH",
    "POSTGRES_PASSWORD",
    "USHER_IMAGES",
    "USHER_VERSION",
];

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
    let mut known: BTreeSet<String> = SHARED.map(Into::into).into();
    for spec in SPECS {
        known.insert(spec.file_variable());
        known.extend(spec.variables().into_iter().map(|variable| variable.name));
    }
    let explained: BTreeSet<String> = example().into_iter().map(|(name, _)| name).collect();
    assert_eq!(known.difference(&explained).collect::<Vec<_>>(), Vec::<&String>::new(), "not explained");
    assert_eq!(explained.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "not a setting");
    // Read from the environment alone, it is explained, and not there to be set.
    assert!(std::fs::read_to_string(EXAMPLE).unwrap().contains(&format!("# {PORT}, which platforms set,")));
    assert!(!explained.contains(PORT));
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
    for spec in SPECS {
        let service = spec.service;
        let mut known: BTreeSet<String> =
            spec.variables().into_iter().map(|variable| variable.name).collect();
        known.extend([spec.file_variable(), "RUST_LOG".to_owned()]);
        // The images say where a container listens.
        known.retain(|name| !name.ends_with("LISTEN"));
        assert_eq!(handed_on(service), known, "{service}");
    }
}

/// The compose file, with the names that each service is handed on as they are in the order of the example.
#[test]
fn compose_has_the_names_in_the_order_of_the_example() {
    let mut text = std::fs::read_to_string(COMPOSE).unwrap();
    for spec in SPECS {
        let variables = spec.variables();
        let is_of_service = |name: &String| {
            name.starts_with(&spec.prefix()) || variables.iter().any(|variable| variable.name == *name)
        };
        let (start, end) = (format!("      # <{}>", spec.service), format!("      # </{}>", spec.service));
        let (before, block) = text.split_once(&start).unwrap();
        let (title, block) = block.split_once('\n').unwrap();
        let (_, after) = block.split_once(&end).unwrap();
        let service = before.rsplit_once("    environment:\n").unwrap().1;
        let names = example().into_iter().map(|(name, _)| name).filter(is_of_service);
        let handed_on: Vec<_> = names
            .filter(|name| !name.ends_with("LISTEN") && !service.contains(&format!("      {name}:")))
            .map(|name| format!("      {name}:\n"))
            .collect();
        let handed_on = handed_on.concat();
        text = format!("{before}{start}{title}\n{handed_on}{end}{after}");
    }
    is_as_made(COMPOSE, &text);
}

#[test]
fn no_value_is_refused_in_the_words_of_the_parser() {
    let needed = [("BETTER_AUTH_SECRET", SECRET), ("DATABASE_URL", "postgresql://localhost/tasks")];
    let mut refused = 0;
    for spec in SPECS {
        for name in spec.variables().into_iter().map(|variable| variable.name) {
            let set = needed.into_iter().filter(|(needed, _)| *needed != name).chain([(&*name, "true")]);
            let environment: Environment = set.collect();
            let outcome = match spec.service {
                "gateway" => settings::check::<gateway::settings::Settings>(&environment).outcome,
                "auth-verifier" => settings::check::<auth_verifier::settings::Settings>(&environment).outcome,
                _ => settings::check::<task_service::settings::Settings>(&environment).outcome,
            };
            let Err(error) = outcome else { continue };
            refused += 1;
            for word in ["variant", "constructor", "invalid type", "expected"] {
                assert!(!error.to_string().contains(word), "{name}=true: {error}");
            }
        }
    }
    assert!(refused > 50, "only {refused} were refused");
}

/// What looks like one of our variables: a status of HTTP, and constants of the gateway's that hold the names of two.
const NO_SETTINGS: [&str; 3] = ["GATEWAY_TIMEOUT", "AUTH_VERIFIER_URL", "TASK_SERVICE_URL"];

#[test]
fn every_variable_that_the_sources_name_exists() {
    let mut known: BTreeSet<String> = SHARED.map(Into::into).into();
    for spec in SPECS {
        known.insert(spec.file_variable());
        for variable in spec.variables() {
            known.insert(format!("{}_FILE", variable.name));
            known.insert(variable.name);
        }
    }
    let prefixes = SPECS.map(|spec| spec.prefix());
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut seen = 0;
    for root in ["chassis", "identity", "gateway", "auth-verifier", "task-service", "usher", "dev"] {
        for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(root)) {
            // They tell how Kubernetes and people misname things.
            if ["kubernetes.rs", "typos.rs"].iter().any(|exempt| path.ends_with(exempt)) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for word in text.split(|c| !is_of_name(c)) {
                let is_beginning = word.ends_with("__") || prefixes.iter().any(|prefix| prefix == word);
                let is_ours = prefixes.iter().any(|prefix| word.starts_with(prefix));
                if !is_ours || is_beginning || NO_SETTINGS.contains(&word) {
                    continue;
                }
                seen += 1;
                assert!(known.contains(word), "{}: {word} is no setting", path.display());
            }
        }
    }
    assert!(seen > 50, "only {seen} names were seen");
}

/// The Rust files of a crate's own sources.
fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_ours = |name: &str| path.components().any(|part| part.as_os_str() == name);
        if path.is_dir() && !["target", "node_modules", "tests"].iter().any(|other| path.ends_with(other)) {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && is_ours("src") {
            found.push(path);
        }
    }
    found
}
