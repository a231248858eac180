//! docs/settings.md, made of what the `defaults.toml` files explain, as `.env.example` is.

use std::{collections::BTreeMap, fmt::Write};

use chassis::settings::{SHARED_DEFAULTS, Spec, Variable};

use super::example::{Group, explained, groups};

const HEAD: &str = "\
# Settings

Every setting of every service, for whoever looks one up: its variable, its default, what it may be. `.env.example`
has the same as a file to copy.

- **Three layers**: the defaults, over them a TOML file (named by `GATEWAY_CONFIG`, `AUTH_VERIFIER_CONFIG`,
  `TASK_SERVICE_CONFIG`), over that the environment, with a `.env` beneath it. `GATEWAY_LIMITS__BODY_BYTES` is
  `body_bytes` under `[limits]` there; where a variable is called otherwise, its key stands below it.
- **Numbers** are digits alone, **switches** as they stand here, **lists** are separated by commas. An empty variable
  counts as unset, but for `CORS_ALLOWED_ORIGINS`.
- **A secret** can come from a file: `DATABASE_URL_FILE=/run/secrets/database-url`. [secrets.md](secrets.md) says how
  each is replaced.
- An unknown name under a service's prefix, a value out of its bounds and two settings that don't go together stop the
  service before it listens; `--check` says what is wrong, `--check --show` what is in force.
- Lists of tables can stand only in a file: `[[routes]]` and `[upstreams]` of the gateway, `[[trusted]]` of
  auth-verifier, explained in [gateway/defaults.toml](../gateway/defaults.toml) and
  [auth-verifier/defaults.toml](../auth-verifier/defaults.toml).
- `RUST_LOG` says which log lines are written, `PORT` (set by platforms) where a service listens that is told no
  address of its own, `USHER_DATA_DIR` where `cargo run` keeps its data; [.env.example](../.env.example) has those of
  the compose file.

This page is made from the code: `UPDATE=1 cargo test -p usher --test whole_path settings`.
";

const COLUMNS: &str = "| variable | default | may be | what it does |\n|---|---|---|---|\n";

/// What stands in one row: keys that one comment explains.
fn row(text: &mut String, names: &BTreeMap<String, String>, group: &Group, cells: [Vec<String>; 3]) {
    let what = explained(&group.comment, names);
    let what: Vec<_> = what.lines().map(|line| line.trim_start_matches("# ")).collect();
    // Of several with nothing to say, nothing is said once.
    let cell = |lines: &[String]| {
        if lines.iter().all(String::is_empty) { String::new() } else { lines.join("<br>") }
    };
    let [variables, defaults, bounds] = cells.map(|lines| cell(&lines));
    let what = what.join(" ").replace('|', "\\|");
    let _ = writeln!(text, "| {variables} | {defaults} | {bounds} | {what} |");
}

fn default(variable: &Variable) -> String {
    match &variable.default {
        toml::Value::String(text) if text.is_empty() => "–".to_owned(),
        toml::Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// What a number may be, or that it is a secret.
fn may_be(spec: &Spec, variable: &Variable) -> String {
    match &variable.default {
        _ if variable.secret => "**secret**".to_owned(),
        toml::Value::Boolean(_) => "`true`, `false`".to_owned(),
        toml::Value::Integer(_) => {
            spec.bounds(&variable.key).map(|b| format!("{} to {}", b.start(), b.end())).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// The name, and the key where nobody could tell it from that.
fn named(spec: &Spec, variable: &Variable) -> String {
    let by_prefix = variable.name.starts_with(&spec.prefix()) || variable.key.starts_with("otel.");
    if by_prefix {
        format!("`{}`", variable.name)
    } else {
        format!("`{}`<br>(`{}`)", variable.name, variable.key)
    }
}

/// The whole page.
pub fn made(specs: &[Spec]) -> String {
    let mut text = HEAD.to_owned();
    let shared = groups(SHARED_DEFAULTS);
    let is_shared = |key: &String| shared.iter().any(|group| group.keys.contains(key));
    for spec in specs {
        let _ = write!(text, "\n## {}\n\n{COLUMNS}", spec.service);
        let variables: BTreeMap<_, _> = spec.variables().into_iter().map(|v| (v.key.clone(), v)).collect();
        let names = variables.iter().map(|(key, variable)| (key.clone(), variable.name.clone())).collect();
        for group in groups(spec.defaults) {
            let own: Vec<_> =
                group.keys.iter().filter(|key| !is_shared(key)).map(|key| &variables[key]).collect();
            if own.is_empty() {
                continue;
            }
            let cells = [
                own.iter().map(|variable| named(spec, variable)).collect(),
                own.iter().map(|variable| default(variable)).collect(),
                own.iter().map(|variable| may_be(spec, variable)).collect(),
            ];
            row(&mut text, &names, &group, cells);
        }
    }
    let _ = write!(
        text,
        "\n## Every service\n\nEach by its own prefix: `…_LOG` is `GATEWAY_LOG`, `AUTH_VERIFIER_LOG` and `TASK_SERVICE_LOG`. OpenTelemetry's have \
         none.\n\n{COLUMNS}"
    );
    let of_first = specs[0].variables();
    let is_well_known = |key: &str| key.starts_with("otel.");
    let name = |key: &String| {
        let known = of_first.iter().find(|variable| variable.key == *key && is_well_known(key));
        known.map_or_else(
            || format!("…_{}", key.replace('.', "__").to_uppercase()),
            |known| known.name.clone(),
        )
    };
    let names = shared.iter().flat_map(|group| &group.keys).map(|key| (key.clone(), name(key))).collect();
    for group in &shared {
        let defaults_of = |key: &String| {
            let each: Vec<_> = specs
                .iter()
                .map(|spec| (spec.service, spec.variables().into_iter().find(|v| v.key == *key).unwrap()))
                .collect();
            let first = default(&each[0].1);
            if each.iter().all(|(_, variable)| default(variable) == first) {
                return first;
            }
            let each: Vec<_> =
                each.iter().map(|(who, variable)| format!("{who}: {}", default(variable))).collect();
            each.join(", ")
        };
        let bounds_of = |key: &String| {
            let variable = of_first.iter().find(|variable| variable.key == *key).unwrap();
            may_be(&specs[0], variable)
        };
        let cells = [
            group.keys.iter().map(|key| format!("`{}`", name(key))).collect(),
            group.keys.iter().map(defaults_of).collect(),
            group.keys.iter().map(bounds_of).collect(),
        ];
        row(&mut text, &names, group, cells);
    }
    text
}
