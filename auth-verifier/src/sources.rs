//! What holds for the sources as a whole: the order of the modules, and the names of settings in sentences.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use chassis::settings::Settings as _;

use crate::settings::Settings;

/// The modules from the bottom up, as in `lib.rs`: settings stand above what they configure, and what explains things
/// to people stands above all of it.
const LAYERS: [&str; 15] = [
    "metrics",
    "loose",
    "person",
    "rejection",
    "secrets",
    "cache",
    "credential",
    "jwt",
    "session",
    "better_auth",
    "verdict",
    "transport",
    "settings",
    "build",
    "diagnostics",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.into_iter().chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

/// A file without its tests.
fn untested(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The top-level modules that a file names by `crate::`, less what only its tests use.
fn imported(text: &str) -> BTreeSet<String> {
    let code = untested(text);
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut names = BTreeSet::new();
    for (_, rest) in code.match_indices("crate::").map(|(at, _)| code.split_at(at + "crate::".len())) {
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut start = true;
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                letter if start && !letter.is_whitespace() => {
                    names.insert(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn no_module_imports_one_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let layer = |name: &str| LAYERS.iter().position(|known| *known == name);
    let mut seen = BTreeSet::new();
    for file in files(&src) {
        let path = file.strip_prefix(&src).unwrap();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "main", "cli", "sources"].contains(&module) {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{module} has no layer"));
        seen.insert(module.to_owned());
        for name in imported(&fs::read_to_string(&file).unwrap()) {
            let other = layer(&name).unwrap_or_else(|| panic!("{}: {name} has no layer", path.display()));
            assert!(other <= own, "{} imports {name}, which stands above it", path.display());
        }
    }
    assert_eq!(seen.len(), LAYERS.len(), "{seen:?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let found = imported(
        "use crate::{\n    jwt::{claims, keys::{Key}},\n    person::Person, // crate::cli\n};\nfn f() { crate::secrets::checked() }\n#[cfg(test)]\nuse crate::cli;",
    );
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["jwt", "person", "secrets"]);
}

/// The variables that a text names, whole or by their beginning.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    ["AUTH_VERIFIER_", "BETTER_AUTH_", "NEON_AUTH_", "VITE_NEON_AUTH_"].into_iter().flat_map(|prefix| {
        text.match_indices(prefix)
            .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            .map(|(at, _)| {
                let length =
                    text[at..].find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
                &text[at..][..length.unwrap_or(text.len() - at)]
            })
    })
}

#[test]
fn every_setting_that_a_sentence_names_can_be_set() {
    let known: Vec<String> = Settings::SPEC.variables().into_iter().map(|variable| variable.name).collect();
    let mut named = 0;
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        if file.ends_with("sources.rs") {
            continue;
        }
        for name in variables(untested(&fs::read_to_string(&file).unwrap())) {
            named += 1;
            let begins = name.ends_with('_') && known.iter().any(|known| known.starts_with(name));
            let exists = known.iter().any(|known| known == name) || name == Settings::SPEC.file_variable();
            assert!(exists || begins, "{}: there is no {name}", file.display());
        }
    }
    assert!(named > 100, "{named}");
}
