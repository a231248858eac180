//! `.env.example`, made of what the `defaults.toml` files explain.

use std::{collections::BTreeMap, fmt::Write};

use chassis::settings::{SHARED_DEFAULTS, Spec};

/// The longest line of an explanation.
const WIDTH: usize = 126;

const HEAD: &str = "\
# Every variable of every service, with its default. Copy this file to `.env`, and take the # off what you set.
# Real environment variables win over it. An empty variable counts as unset, but for CORS_ALLOWED_ORIGINS; an unknown one
# under a service's prefix stops that service, naming the variable. Any that holds a secret can also be given as NAME_FILE,
# the path of a file that holds it.
#
# The file is read as Next.js reads its own (@next/env), so that one file can serve both: a value with a # or spaces at its
# ends stands in quotes, $NAME is replaced wherever it stands, \\$ is a $. Of the files that Next.js reads, only `.env` is:
# what stands in `.env.local` or `.env.production` is the frontend's alone. Other lines are ignored.
#
# Numbers are digits alone, switches as they stand here: true and false, on and off. `--check` of `usher` or of a service says
# what is wrong with the settings, `--check --show` what is in force.
#
# This file is generated from the defaults.toml of each service and of the chassis. Explain a setting there, then run:
#
#     UPDATE=1 cargo test -p usher --test whole_path settings
";

/// What most people set, and what `cargo run` does without it.
const FIRST: [(&str, &str); 4] = [
    ("BETTER_AUTH_SECRET", "Unset, `cargo run` makes one and prints a token to try."),
    ("BETTER_AUTH_URL", "Unset, `cargo run` takes http://localhost:3000."),
    ("CORS_ALLOWED_ORIGINS", ""),
    ("DATABASE_URL", "Unset, `cargo run` starts one of its own."),
];

const OF_ALL: &str = "\
# Which log lines are written, in the syntax of tracing-subscriber: info, or debug,access=off. Below info only the services
# themselves write: libraries would log credentials there.
# RUST_LOG=info,h2=warn,hyper=warn

# Where `cargo run` keeps its data. Unset: .data in this folder.
# USHER_DATA_DIR=

# Where the web server of `cargo run -- demo` listens. Unset: 127.0.0.1:3000.
# USHER_DEMO_LISTEN=

# PORT, which platforms set, is read from the process's environment alone, never from this file, where it would be the frontend's: a
# service that is told no address of its own listens on 0.0.0.0 at that port. By `cargo run`, the gateway does.


# ── deploy/compose.yaml ─────────────────────────────────────────────────────────────────────────────────────────────

# Where the gateway is published on this machine, as address:port. It speaks plain HTTP: reachable from elsewhere (0.0.0.0:8000),
# it wants a proxy with TLS before it. Several gateways (--scale gateway=2) take a port each of a range: 127.0.0.1:8000-8003.
# USHER_PUBLISH=127.0.0.1:8000

# The password of its PostgreSQL, which only task-service reaches. It is set when the first start makes the database, and stands in
# a URL: letters and digits, as `openssl rand -hex 24` makes them.
# POSTGRES_PASSWORD=tasks

# The images that it runs: USHER_IMAGES/gateway:USHER_VERSION and so on. deploy/build.sh builds them, and says which version.
# USHER_IMAGES=localhost/usher
# USHER_VERSION=dev
";

/// Keys that one comment explains.
pub(super) struct Group {
    pub(super) comment: Vec<String>,
    pub(super) keys: Vec<String>,
}

/// The explained keys of a `defaults.toml`, in its order; what only a file can set is none of them.
pub(super) fn groups(defaults: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let (mut table, mut comment, mut is_apart) = (String::new(), Vec::new(), true);
    for line in defaults.lines().take_while(|line| !line.starts_with("[[")) {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            match groups.last_mut().filter(|_| comment.is_empty() && !is_apart) {
                Some(group) => group.keys.push(key),
                None => groups.push(Group { comment: std::mem::take(&mut comment), keys: vec![key] }),
            }
            is_apart = false;
        } else {
            // A comment that no key follows is about the file.
            comment.clear();
            is_apart = true;
            if !line.is_empty() {
                line.trim_matches(['[', ']']).clone_into(&mut table);
            }
        }
    }
    groups
}

/// A comment with the names of variables for keys, and without the remark of which variable it is about.
pub(super) fn explained(comment: &[String], names: &BTreeMap<String, String>) -> String {
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    let mut lines = Vec::new();
    for line in comment.iter().filter(|line| !line.starts_with("Variable: ")) {
        let mut text = String::new();
        for word in line.split_inclusive(|c| !is_of_key(c)) {
            let (word, after) =
                word.split_at(word.trim_end_matches(|c| !is_of_key(c)).trim_end_matches('.').len());
            let name = names.get(word).filter(|_| word.contains('.'));
            text += name.map_or(word, String::as_str);
            text += after;
        }
        lines.push(text);
    }
    if lines.iter().any(|line| line.chars().count() > WIDTH) {
        let mut wrapped = vec![String::new()];
        for word in lines.join(" ").split_whitespace() {
            let last = wrapped.last_mut().unwrap();
            if last.is_empty() {
                word.clone_into(last);
            } else if last.chars().count() + word.chars().count() < WIDTH {
                *last = format!("{last} {word}");
            } else {
                wrapped.push(word.to_owned());
            }
        }
        lines = wrapped;
    }
    format!("# {}\n", lines.join("\n# "))
}

/// The variables of a service by their keys, and their defaults.
fn variables(spec: &Spec) -> BTreeMap<String, (String, String)> {
    let text = |value: toml::Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    spec.variables()
        .into_iter()
        .map(|variable| (variable.key.clone(), (variable.name, text(variable.default))))
        .collect()
}

fn title(text: &mut String, name: &str) {
    let line = "─".repeat(112usize.saturating_sub(name.len()));
    let _ = write!(text, "\n\n# ── {name} {line}\n");
}

/// The whole file.
pub fn made(specs: &[Spec]) -> String {
    let mut text = HEAD.to_owned();
    let shared = groups(SHARED_DEFAULTS);
    let is_shared = |key: &String| shared.iter().any(|group| group.keys.contains(key));
    title(&mut text, "What most people set");
    for (name, note) in FIRST {
        for spec in specs {
            let variables = variables(spec);
            let Some((key, (_, default))) = variables.iter().find(|(_, (known, _))| known == name) else {
                continue;
            };
            let names = variables.iter().map(|(key, (name, _))| (key.clone(), name.clone())).collect();
            let group = groups(spec.defaults).into_iter().find(|group| group.keys.contains(key)).unwrap();
            text += "\n";
            text += &explained(&group.comment, &names);
            if !note.is_empty() {
                let _ = writeln!(text, "# {note}");
            }
            let example = if name == "BETTER_AUTH_URL" { "http://localhost:3000" } else { default };
            let is_open = ["BETTER_AUTH_SECRET", "DATABASE_URL"].contains(&name);
            let _ = writeln!(text, "{}{name}={example}", if is_open { "" } else { "# " });
        }
    }
    text += "\n";
    text += OF_ALL;
    for spec in specs {
        title(&mut text, spec.service);
        let _ = write!(
            text,
            "\n# A TOML file with any of these settings, as {0}/defaults.toml has them; what is a list of tables there can be set\n\
             # only in such a file.\n# {1}=\n",
            spec.service,
            spec.file_variable()
        );
        let variables = variables(spec);
        let names = variables.iter().map(|(key, (name, _))| (key.clone(), name.clone())).collect();
        for group in groups(spec.defaults) {
            let keys: Vec<_> =
                group.keys.iter().filter(|key| !is_shared(key)).map(|key| &variables[key]).collect();
            // What two services read stands with the first one.
            let is_new = |name: &str| !text.contains(&format!("\n# {name}="));
            let is_first = |name: &str| FIRST.iter().any(|(first, _)| *first == name);
            let keys: Vec<_> = keys.into_iter().filter(|(name, _)| !is_first(name) && is_new(name)).collect();
            if keys.is_empty() {
                continue;
            }
            assert!(!group.comment.is_empty(), "{}: {:?} is not explained", spec.service, group.keys);
            text += "\n";
            text += &explained(&group.comment, &names);
            for (name, default) in keys {
                let _ = writeln!(text, "# {name}={default}");
            }
        }
    }
    title(&mut text, "every service");
    let well_known = variables(&specs[0]);
    let is_well_known = |key: &str| key.starts_with("otel.");
    let names = shared.iter().flat_map(|group| &group.keys);
    let names = names
        .map(|key| {
            let own = || format!("…_{}", key.replace('.', "__").to_uppercase());
            let name = if is_well_known(key) { well_known[key].0.clone() } else { own() };
            (key.clone(), name)
        })
        .collect();
    for group in &shared {
        text += "\n";
        text += &explained(&group.comment, &names);
        for spec in specs {
            let variables = variables(spec);
            for (name, default) in group.keys.iter().map(|key| &variables[key]) {
                let _ = writeln!(text, "# {name}={default}");
            }
            // One variable for all of them.
            if group.keys.iter().all(|key| is_well_known(key)) {
                break;
            }
        }
    }
    text
}
