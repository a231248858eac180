//! docs/troubleshooting.md has every code that an answer may bear, and quotes what is really said.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    none,
    pages::{self, Page, root},
};

const CRATES: [&str; 5] = ["chassis", "identity", "gateway", "auth-verifier", "task-service"];

/// Texts of the same files that look like a code, and are none.
const NO_CODES: [&str; 5] = ["upgrade", "websocket", "close", "headers", "check"];

/// The Rust sources of the services, without what stands in them for tests.
fn sources() -> Vec<String> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("tests") {
                    collect(&path, found);
                }
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for name in CRATES {
        collect(&root().join(name).join("src"), &mut found);
    }
    let without_tests = |path: PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned()
    };
    found.into_iter().map(without_tests).collect()
}

/// The texts between quotes in a source, where they stand on one line.
fn texts(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
}

/// Every code: the texts of letters and dashes in the sources that make problems.
fn codes() -> BTreeSet<String> {
    let makes = |source: &&String| source.contains("Problem::new(") || source.contains("Self::new(Is::");
    let sources = sources();
    let mut codes = BTreeSet::new();
    for source in sources.iter().filter(makes) {
        codes.extend(texts(source).filter(|text| is_code(text)).map(ToOwned::to_owned));
    }
    for text in NO_CODES {
        codes.remove(text);
    }
    codes
}

fn is_code(text: &str) -> bool {
    text.len() > 3
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn page() -> Page {
    let mut pages = pages::current().into_iter();
    pages.find(|page| page.path == Path::new("docs/troubleshooting.md")).unwrap()
}

#[test]
fn every_code_of_an_answer_has_its_entry_and_there_are_no_others() {
    let (codes, page) = (codes(), page());
    assert!(codes.len() > 40, "only {codes:?} were found");
    let table = page.text.split_once("## Every code").unwrap().1;
    let rows = table.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let listed: BTreeSet<String> =
        rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(ToOwned::to_owned).collect();
    let missing = codes.difference(&listed).map(|code| {
        format!(
            "docs/troubleshooting.md, Every code: there is no row for `{code}` (if it is no code of a problem, name it in NO_CODES)"
        )
    });
    let unknown =
        listed.difference(&codes).map(|code| format!("docs/troubleshooting.md: no answer bears `{code}`"));
    none(&missing.chain(unknown).collect::<Vec<_>>());
}

/// The beginning of a text that a format may fill, as far as it is always the same.
fn fixed(text: &str) -> &str {
    let end = text.find(|c: char| c.is_ascii_digit() || c == '"' || c == '`' || c == '<');
    text[..end.unwrap_or(text.len())].trim_end()
}

#[test]
fn answers_that_a_page_quotes_are_given() {
    let sources = sources().join("\n");
    let codes = codes();
    let mut faults = Vec::new();
    let mut seen = 0;
    for page in pages::current() {
        for block in page.blocks.iter().filter(|block| block.text.contains("urn:usher:problem:")) {
            let answer: serde_json::Value = serde_json::from_str(&block.text).unwrap();
            seen += 1;
            let code = answer["type"].as_str().unwrap().trim_start_matches("urn:usher:problem:");
            if !codes.contains(code) {
                faults.push(format!("{}: no answer bears {code}", page.at(block.line)));
            }
            let detail = fixed(answer["detail"].as_str().unwrap());
            // `invalid` names the field first.
            if code != "invalid" && !sources.contains(detail) {
                faults.push(format!("{}: nobody says “{detail}”", page.at(block.line)));
            }
        }
    }
    none(&faults);
    assert!(seen > 3, "only {seen} answers were seen");
}

#[test]
fn log_lines_that_the_page_quotes_are_written() {
    let sources = sources().join("\n");
    let mut faults = Vec::new();
    let mut seen = 0;
    for (line, code) in page().code() {
        let said = ["rejected: ", "no verdict: "].iter().find_map(|begin| code.strip_prefix(begin));
        let Some(said) = said else { continue };
        seen += 1;
        if !sources.contains(fixed(said)) {
            faults.push(format!("docs/troubleshooting.md:{line}: no log says “{}”", fixed(said)));
        }
    }
    none(&faults);
    assert!(seen > 8, "only {seen} lines were seen");
}
