//! What can be set for one service, and under which names.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

use super::{SettingsError, environment::Environment, error::Faults, kubernetes, typos};
use crate::{serve::ServerSettings, telemetry::traces};

/// The lowest layer: what every service can be set to.
pub const SHARED_DEFAULTS: &str = include_str!("../../defaults.toml");

/// The least and the most that each number may be, by its key in a table of settings.
pub type Bounds = &'static [(&'static str, RangeInclusive<u64>)];

/// What can be set for one service, and under which names.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The service's name, as in `auth-verifier`; its prefix is the same in capitals, `AUTH_VERIFIER_`.
    pub service: &'static str,
    /// The service's own compiled-in defaults, as TOML, over [`SHARED_DEFAULTS`]. A key that is in neither can't be set by a
    /// variable, and what a key is there, a number, `true` or `false`, or text, it is wherever it is set.
    pub defaults: &'static str,
    /// Variables whose names are known in the field and therefore carry no prefix: `(variable, key)`.
    pub well_known: &'static [(&'static str, &'static str)],
    /// Keys whose value is a secret: each can also come from a file, named by the variable with `_FILE` behind it.
    pub secrets: &'static [&'static str],
    /// The bounds of its own numbers, table by table; `""` for those outside of any.
    pub bounds: &'static [(&'static str, Bounds)],
    /// Lists whose default grants something. An empty variable of theirs is an empty list: who empties it wants less, not the
    /// default.
    pub emptied: &'static [&'static str],
    /// Keys whose reader takes off by itself what a copy brings along.
    pub forgiving: &'static [&'static str],
    /// Keys that were called otherwise before: `(old, new)`. The old ones are refused, with the new one's name.
    pub renamed: &'static [(&'static str, &'static str)],
}

/// A service's settings: how they are named, and what must hold between them.
pub trait Settings: DeserializeOwned {
    /// How they are named and where they come from.
    const SPEC: Spec;

    /// What the process is built from. It holds nothing that could turn out to be unusable later.
    type Plan;

    /// Parses what single values can't show.
    ///
    /// # Errors
    ///
    /// All faults at once, each by the variable or the key of its setting.
    fn plan(self) -> Result<Self::Plan, SettingsError>;

    /// What works and yet is hardly meant, a sentence each, for `--check` and for the log at the start.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One setting that can come from the environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// As it is written in the environment.
    pub name: String,
    /// What holds where it is not set; its type is that of the setting.
    pub default: toml::Value,
    /// Where it stands in TOML: `limits.body_bytes`.
    pub key: String,
    /// Whether it is a secret: never shown, and also taken from the file that the same name with `_FILE` behind it names.
    pub secret: bool,
}

impl Spec {
    /// Every variable that this service reads, but for the `_FILE` forms of secrets.
    pub fn variables(&self) -> Vec<Variable> {
        let mut found = Vec::new();
        flatten("", self.table(), &mut found);
        found
            .into_iter()
            .map(|(key, default)| {
                let known = self.all_well_known().find(|(_, known)| *known == key);
                let name = known.map_or_else(|| self.prefixed(&key), |(variable, _)| (*variable).to_owned());
                Variable { name, default, secret: self.is_secret(&key), key }
            })
            .collect()
    }

    /// The names without a prefix: this service's, and every service's.
    fn all_well_known(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        self.well_known.iter().chain(traces::WELL_KNOWN)
    }

    fn is_secret(&self, key: &str) -> bool {
        self.secrets.contains(&key) || traces::SECRETS.contains(&key)
    }

    /// The variable of a key that has no well-known one: `GATEWAY_LIMITS__BODY_BYTES` for `limits.body_bytes`.
    fn prefixed(&self, key: &str) -> String {
        format!("{}{}", self.prefix(), key.replace('.', "__").to_uppercase())
    }

    /// What a key is called now, if it was called otherwise before.
    pub(super) fn renamed(&self, key: &str) -> Option<&'static str> {
        self.renamed.iter().find_map(|(old, new)| (*old == key).then_some(*new))
    }

    /// The variable that names this service's TOML file.
    pub fn file_variable(&self) -> String {
        format!("{}CONFIG", self.prefix())
    }

    /// `AUTH_VERIFIER_`.
    pub fn prefix(&self) -> String {
        format!("{}_", self.service.replace('-', "_").to_uppercase())
    }

    /// Whether a variable of this name would be one of this service's, well spelt or not.
    pub fn claims(&self, name: &str) -> bool {
        let base = name.strip_suffix("_FILE").unwrap_or(name);
        name.starts_with(&self.prefix()) || self.all_well_known().any(|(known, _)| *known == base)
    }

    /// The defaults. A test of each service holds them to be good TOML.
    pub(super) fn table(&self) -> toml::Table {
        let mut table = toml::from_str(SHARED_DEFAULTS).unwrap_or_default();
        lay_over(&mut table, toml::from_str(self.defaults).unwrap_or_default());
        table
    }

    /// The least and the most that a number may be, by its key, where it has any bounds.
    pub fn bounds(&self, key: &str) -> Option<&'static RangeInclusive<u64>> {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let shared = [("server", ServerSettings::BOUNDS), ("otel", traces::BOUNDS)];
        let (_, bounds) = self.bounds.iter().chain(&shared).find(|(known, _)| *known == table)?;
        bounds.iter().find_map(|(known, range)| (*known == name).then_some(range))
    }

    pub(super) fn refuse_unknown(
        &self,
        environment: &Environment,
        variables: &[Variable],
        faults: &mut Faults,
    ) {
        let prefix = self.prefix();
        let known = |name: &str| {
            let base = name.strip_suffix("_FILE").unwrap_or(name);
            name == self.file_variable()
                || variables.iter().any(|v| v.name == name || (v.secret && v.name == base))
        };
        let is_host = |name: &str| environment.get(name).is_some_and(kubernetes::is_address_of_service);
        for (name, value) in environment.names() {
            let Some(rest) = name.strip_prefix(&prefix) else { continue };
            if !known(name) && !kubernetes::is_link(&prefix, rest, value, is_host) {
                let renamed = self.renamed.iter().find(|(old, _)| self.prefixed(old) == name);
                if let Some(new) = renamed.and_then(|(_, new)| variables.iter().find(|v| v.key == *new)) {
                    faults.add(name, format!("is now {}", new.name));
                    continue;
                }
                let nearest = typos::nearest(variables, name);
                let hint = nearest.map_or_else(String::new, |v| format!("; did you mean {}?", v.name));
                faults.add(name, format!("is not a setting of {}{hint}", self.service));
            }
        }
    }
}

fn lay_over(below: &mut toml::Table, above: toml::Table) {
    for (name, value) in above {
        match (below.get_mut(&name), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(name, value);
            }
        }
    }
}

fn flatten(at: &str, table: toml::Table, found: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let key = if at.is_empty() { name } else { format!("{at}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, found),
            // A list of tables (the gateway's routes) has no form as text.
            toml::Value::Array(_) => {}
            value => found.push((key, value)),
        }
    }
}
