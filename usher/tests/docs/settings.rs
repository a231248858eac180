//! Blocks of settings and of routes are good as they stand.

use std::fs;

use chassis::settings::{self, Environment};

use crate::{
    none,
    pages::{self, Block, root},
};

/// In place of the secret that a page can't have.
const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn+/Zq";

/// A block of assignments alone, as it stands in a `.env`.
pub fn assignments(block: &Block) -> Option<Vec<(String, String)>> {
    let lines = block.text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| {
        let (name, value) = line.split_once('=')?;
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let value = value.split(" #").next().unwrap_or_default().trim();
        (name.bytes().all(is_name) && !value.contains("$(")).then(|| (name.to_owned(), value.to_owned()))
    });
    pairs.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty())
}

/// What the services say of these settings.
fn wrong(set: Vec<(String, String)>) -> Vec<String> {
    let mut set: Vec<_> = set.into_iter().filter(|(_, value)| !value.contains('…')).collect();
    for (name, value) in &mut set {
        if name.ends_with("_CONFIG") {
            root().join(&*value).to_str().unwrap().clone_into(value);
        }
    }
    let needed = [("BETTER_AUTH_SECRET", SECRET), ("DATABASE_URL", "postgresql://localhost/tasks")];
    for (name, value) in needed {
        set.retain(|(known, _)| known != name);
        set.push((name.to_owned(), value.to_owned()));
    }
    let is_file = |name: &str| name.ends_with("_FILE");
    set.retain(|(name, _)| !is_file(name));
    let environment: Environment = set.into_iter().collect();
    let outcomes = [
        settings::check::<gateway::settings::Settings>(&environment).outcome,
        settings::check::<auth_verifier::settings::Settings>(&environment).outcome,
        settings::check::<task_service::settings::Settings>(&environment).outcome,
    ];
    outcomes.into_iter().filter_map(|outcome| outcome.err().map(|error| error.to_string())).collect()
}

#[test]
fn settings_that_a_page_shows_are_good_as_they_stand() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for page in pages::current() {
        for block in page.blocks.iter().filter(|block| ["sh", "ini", "env"].contains(&&*block.language)) {
            let Some(set) = assignments(block) else { continue };
            seen += 1;
            faults.extend(wrong(set).into_iter().map(|said| format!("{}: {said}", page.at(block.line))));
        }
    }
    none(&faults);
    assert!(seen > 4, "only {seen} blocks were seen");
}

#[test]
fn routes_that_a_page_shows_are_good_as_they_stand() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for page in pages::current() {
        for block in
            page.blocks.iter().filter(|block| block.language == "toml" && block.text.contains("[[routes]]"))
        {
            seen += 1;
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), &block.text).unwrap();
            let environment: Environment =
                [("GATEWAY_CONFIG".to_owned(), file.path().to_str().unwrap().to_owned())]
                    .into_iter()
                    .collect();
            let outcome = settings::check::<gateway::settings::Settings>(&environment).outcome;
            faults.extend(outcome.err().map(|error| format!("{}: {error}", page.at(block.line))));
        }
    }
    none(&faults);
    assert!(seen > 0, "no routes were seen");
}
