//! Commands of ours that a page names exist, with their flags; and each line of a shell is of a kind that something runs.

use std::{cell::RefCell, collections::BTreeMap, fs, process::Command};

use crate::{
    none,
    pages::{self, Block, root},
    settings::assignments,
};

const SERVICES: [&str; 3] = ["gateway", "auth-verifier", "task-service"];

/// What becomes of a line of a shell.
enum Kind {
    /// This file has it run, by CI or by a test.
    Run(&'static str),
    /// Nothing can run it, for this reason.
    Hand(&'static str),
}
use Kind::{Hand, Run};

/// The lines of a shell, by how they begin. A line that begins otherwise needs a row here, or `<!-- by hand: why -->` above its block.
const KINDS: &[(&str, Kind)] = &[
    ("cargo run", Run(".ci/services.sh")),
    ("cargo test", Run(".ci/run")),
    ("cargo fmt", Run(".ci/run")),
    ("cargo clippy", Run(".ci/run")),
    ("cargo doc", Run(".ci/run")),
    ("cargo deny", Run(".ci/run")),
    (".ci/run", Run(".github/workflows/ci.yaml")),
    (".ci/browser.sh", Run(".ci/run")),
    (".ci/demo.sh", Run(".ci/run")),
    (".ci/neon-auth.sh", Run(".ci/run")),
    (".ci/schema.sh", Run(".ci/run")),
    (".ci/containers.sh", Run(".ci/run")),
    (".ci/kubernetes.sh", Run(".ci/run")),
    ("dev/bench/run.sh", Run(".ci/run")),
    ("dev/fuzz/run.sh", Run(".ci/run")),
    ("dev/containers/engine.sh", Run(".ci/containers.sh")),
    ("deploy/build.sh", Run("dev/containers/tests/it/world.rs")),
    ("mkdir -p .cargo && cargo vendor", Hand(".ci/containers.sh does it in a checkout of its own")),
    ("task-service grants", Run("usher/tests/whole_path/roles.rs")),
    ("auth-verifier grants", Run("auth-verifier/tests/it/sessions_database.rs")),
    ("pg_dump", Run("task-service/tests/it/backups.rs")),
    ("pg_restore", Run("task-service/tests/it/backups.rs")),
    ("curl", Run(".ci/newcomer.sh")),
    ("kill", Run(".ci/services.sh")),
    ("docker compose", Run("dev/containers/src/deployment.rs")),
    ("compose", Run("dev/containers/src/deployment.rs")),
    ("kubectl kustomize", Run("deploy/kubernetes/checks/documented.py")),
    ("npm ci", Run(".ci/schema.sh")),
    ("npx openapi-typescript", Run("dev/schema/package.json")),
    ("npm install openapi-fetch", Run("dev/schema/package.json")),
    ("kubectl", Hand("CI has no cluster: .ci/kubernetes.sh holds what is applied")),
    ("kind", Hand("CI has no cluster: .ci/kubernetes.sh holds what is applied")),
    ("docker run", Hand("it fetches images from a hub")),
    ("docker build", Hand("it fetches images from a hub; .ci/containers.sh builds on stand-ins")),
    ("docker stop", Hand("dev/containers does the same by the engine's own means")),
    ("cosign", Hand("it needs a release")),
    ("psql", Hand("it needs a database of one's own")),
    ("openssl rand", Hand("it makes a secret of one's own")),
    ("npx auth", Hand("it changes the database of one's own frontend")),
    ("python3 -m http.server", Hand("it stands for an application of one's own")),
    ("alias", Hand("it does nothing by itself")),
    ("for ", Hand("its lines count")),
    ("done", Hand("its lines count")),
];

/// The words of a line, as a shell takes them; quotes are taken off.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The lines of a block, those that go on joined, without comments.
fn lines(block: &Block) -> Vec<(usize, String)> {
    let (mut lines, mut open, mut document) = (Vec::<(usize, String)>::new(), false, None::<String>);
    for (n, line) in block.text.lines().enumerate() {
        if let Some(end) = &document {
            if line.trim() == end {
                document = None;
            }
            continue;
        }
        let is_comment = line.trim_start().starts_with('#');
        let text = if is_comment { "" } else { line.split(" # ").next().unwrap_or_default() };
        let goes_on = text.trim_end().ends_with('\\');
        let text = text.trim_end().trim_end_matches('\\').trim();
        match lines.last_mut().filter(|_| open) {
            Some((_, last)) => *last = format!("{last} {text}"),
            None if text.is_empty() => {}
            None => lines.push((block.line + n, text.to_owned())),
        }
        if let Some((_, end)) = text.split_once("<<") {
            document =
                Some(end.trim_matches(['\'', '"', '-']).split_whitespace().next().unwrap_or("").to_owned());
        }
        open = goes_on;
    }
    lines
}

/// What `--help` says, asked once of each command.
#[derive(Default)]
struct Help(RefCell<BTreeMap<Vec<String>, String>>);

impl Help {
    fn of(&self, command: &[&str]) -> String {
        let key: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let ask = || {
            let output =
                Command::new(env!("CARGO_BIN_EXE_usher")).args(command).arg("--help").output().unwrap();
            assert!(output.status.success(), "{command:?} --help");
            String::from_utf8(output.stdout).unwrap()
        };
        self.0.borrow_mut().entry(key).or_insert_with(ask).clone()
    }

    /// Why this isn't a command of `usher`, its words behind that name.
    fn fault(&self, args: &[String]) -> Option<String> {
        let args: Vec<&str> = args.iter().map(String::as_str).take_while(|word| !is_end(word)).collect();
        let (service, rest) = match args.split_first() {
            Some((first, rest)) if SERVICES.contains(first) => (*first, rest),
            _ => {
                let usage = self.of(&[]);
                let is_known = |word: &str| {
                    usage.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|known| known == word)
                };
                let unknown = args.iter().find(|word| is_word(word) && !is_known(word));
                return unknown.map(|word| format!("`usher` knows no {word}"));
            }
        };
        let help = self.of(&[service]);
        let (command, rest) = match rest.split_first() {
            Some((word, rest)) if !word.starts_with('-') && is_word(word) => {
                let listed = help.split_once("Commands:").map_or("", |(_, listed)| listed);
                let is_listed = listed.lines().any(|line| line.split_whitespace().next() == Some(word));
                if !is_listed {
                    return Some(format!("`{service}` knows no {word}"));
                }
                (vec![service, *word], rest)
            }
            _ => (vec![service], rest),
        };
        let help = self.of(&command);
        let flags =
            rest.iter().filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
        let mut unknown = flags.filter(|flag| {
            !help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|known| known == *flag)
        });
        unknown.next().map(|flag| format!("`{}` knows no {flag}", command.join(" ")))
    }
}

/// Whether a word ends a command.
fn is_end(word: &str) -> bool {
    ["|", "&&", "||", ";", "&", ">", "<", "…"].contains(&word)
        || word.starts_with('>')
        || word.starts_with("2>")
}

/// Whether it is a subcommand or flag, rather than a value.
fn is_word(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// The commands of ours in a line, as the arguments of `usher`.
fn ours(line: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for part in line.replace("$(", " ; ").replace([')', '|'], " ; ").split(" ; ") {
        let words = words(part.trim());
        let words: Vec<String> =
            words.into_iter().skip_while(|word| is_assignment(word) || word == "export").collect();
        let Some(first) = words.first() else { continue };
        if words.starts_with(&["cargo".into(), "run".into()]) {
            if let Some(at) = words.iter().position(|word| word == "--")
                && !words[..at].iter().any(|word| {
                    word.starts_with("--manifest") || word == "-p" || word == "--package" || word == "--bin"
                })
            {
                found.push(words[at + 1..].to_vec());
            }
        } else if first == "usher" || first.ends_with("/usher") {
            found.push(words[1..].to_vec());
        } else if SERVICES.contains(&&**first) && words.len() > 1 {
            let is_service = words[1] == "/service";
            found.push([&words[..1], &words[1 + usize::from(is_service)..]].concat());
        } else if let Some(at) = words.iter().position(|word| word == "/service") {
            let service = words[..at].iter().rev().find_map(|word| {
                SERVICES.iter().find(|service| word.trim_start_matches("deployment/") == **service)
            });
            if let Some(service) = service {
                found.push([&[(*service).to_owned()], &words[at + 1..]].concat());
            }
        } else if let Some((at, service)) = words.iter().enumerate().find_map(|(at, word)| {
            let (before, name) = word.rsplit_once('/')?;
            let name = name.split(':').next()?;
            let service = SERVICES.iter().find(|service| **service == name)?;
            before.ends_with("usher").then_some((at, *service))
        }) {
            found.push([&[service.to_owned()], &words[at + 1..]].concat());
        }
    }
    found
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn every_command_of_ours_that_a_page_names_exists() {
    let help = Help::default();
    let mut faults = Vec::new();
    let mut seen = 0;
    for page in pages::current() {
        let blocks = page.blocks.iter().filter(|block| ["sh", "bash", "console"].contains(&&*block.language));
        let said = page.code().into_iter().chain(blocks.flat_map(lines));
        for (line, text) in said {
            for args in ours(&text) {
                seen += 1;
                faults.extend(help.fault(&args).map(|fault| format!("{}: `{text}`: {fault}", page.at(line))));
            }
        }
    }
    none(&faults);
    assert!(seen > 30, "only {seen} commands were seen");
}

#[test]
fn every_line_for_a_shell_is_of_a_kind_that_something_runs() {
    let mut faults = Vec::new();
    for page in pages::current() {
        let blocks = page.blocks.iter().filter(|block| ["sh", "bash"].contains(&&*block.language));
        for block in blocks.filter(|block| block.by_hand.is_none() && assignments(block).is_none()) {
            for (line, text) in lines(block) {
                let command = text.trim_start_matches("export ");
                // `TOKEN=$(…)`: what it runs.
                let command = if is_assignment(&command.to_uppercase()) {
                    command.split_once("$(").map_or("", |(_, command)| command)
                } else {
                    command
                };
                let is_run = command.is_empty() || KINDS.iter().any(|(kind, _)| command.starts_with(kind));
                if !is_run {
                    faults.push(format!(
                        "{}: nothing runs a line like `{text}`: name what does in KINDS (usher/tests/docs/commands.rs), or say above \
                         the block why nothing can: <!-- by hand: … -->",
                        page.at(line)
                    ));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn what_is_said_to_run_a_kind_names_it() {
    let faults = KINDS.iter().filter_map(|(kind, what)| {
        let runner = match what {
            Run(runner) => runner,
            Hand(reason) => {
                return reason.is_empty().then(|| format!("KINDS: why does nothing run `{kind}`?"));
            }
        };
        let Ok(text) = fs::read_to_string(root().join(runner)) else {
            return Some(format!("KINDS: there is no {runner}"));
        };
        let by_npm = |word: &str| ["npx", "npm", "install"].contains(&word) && !runner.starts_with(".ci/");
        let missing = kind.split(' ').find(|word| *word != "&&" && !by_npm(word) && !text.contains(word));
        missing.map(|word| format!("KINDS: {runner} has no {word}, so it doesn't run `{kind}`"))
    });
    none(&faults.collect::<Vec<_>>());
}

#[test]
fn a_command_that_is_not_there_is_found() {
    let help = Help::default();
    let fault = |line: &str| ours(line).iter().find_map(|args| help.fault(args));
    for good in [
        "cargo run",
        "cargo run -- --check --show",
        "cargo run --quiet -- auth-verifier token --sub ada",
        "TOKEN=$(docker compose exec auth-verifier /service token --sub ada)",
        "pbpaste | cargo run -- auth-verifier doctor",
        "docker run --rm localhost/usher/task-service grants --serve a --migrate b >roles.sql",
        "kubectl patch hpa task-service --patch x",
        "task-service",
    ] {
        assert_eq!(fault(good), None, "{good}");
    }
    for bad in [
        "cargo run -- --chek",
        "cargo run -- nothing",
        "cargo run -- auth-verifier docter",
        "cargo run -- task-service import --dry",
        "auth-verifier token --subject ada",
        "kubectl exec deployment/auth-verifier -- /service docter",
        "docker run localhost/usher/task-service grant",
    ] {
        assert!(fault(bad).is_some(), "{bad}");
    }
}
