//! The layers, one over the other, and what is wrong with any of them.
//!
//! What a setting is, its default says: a number takes digits and nothing else, and no text is guessed at. A fault names
//! what the operator wrote: the variable, or the file and the place in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use config::{Config, FileFormat};
use serde::de::DeserializeOwned;
use strsim::osa_distance;
use toml::{Table, Value};

use super::{
    SettingsError,
    environment::Environment,
    error::Faults,
    file, port,
    secret::brought_along,
    spec::{Spec, Variable},
};
use crate::telemetry;

/// What was read, layer by layer.
pub(super) struct Layers {
    pub(super) spec: Spec,
    pub(super) variables: Vec<Variable>,
    defaults: Table,
    /// The TOML file's path, if there is one, and what it says.
    path: Option<String>,
    in_file: Table,
    /// The keys that variables set.
    by_variable: BTreeMap<String, SetBy>,
    /// All of them, one over the other.
    pub(super) layered: Table,
    /// Whether a part of the file is missing, for which no default stands.
    partial: bool,
}

/// What sets a key.
struct SetBy {
    /// The variable, as a fault names it.
    variable: String,
    /// Where its value comes from, for people.
    source: String,
}

impl Layers {
    /// Reads the settings of one service, each by itself. Defaults stand for those that can't be read; if some have none,
    /// there are no settings.
    pub(super) fn read<S: DeserializeOwned>(
        spec: Spec,
        environment: &Environment,
    ) -> (Option<S>, Self, Faults) {
        let mut layers = Self {
            spec,
            variables: spec.variables(),
            defaults: spec.table(),
            path: environment.get(&spec.file_variable()).map(Into::into),
            in_file: Table::new(),
            by_variable: BTreeMap::new(),
            layered: Table::new(),
            partial: false,
        };
        let mut faults = Faults::default();
        // The log's is every service's.
        faults.hear(environment.check(|name| spec.claims(name) || name == telemetry::FILTER));
        spec.refuse_unknown(environment, &layers.variables, &mut faults);
        let file = layers.file(&mut faults);
        let set = layers.set(environment, &mut faults);
        if let Some(layered) = faults.hear(layers.over_each_other(&file, set)) {
            layers.layered = layered;
            layers.hold_bounds(&mut faults);
        }
        let settings = layers.deserialized(&mut faults).filter(|_| !layers.partial);
        if settings.is_none() && !faults.found() {
            faults.add(spec.file_variable(), "can't be read");
        }
        (settings, layers, faults)
    }

    /// What the operator wrote to set what a variable or a key names: `GATEWAY_LIMITS__BODY_BYTES`, or
    /// `GATEWAY_CONFIG /etc/usher/gateway.toml: [limits] body_bytes`.
    pub(super) fn named(&self, name: &str) -> String {
        let variable = self.variables.iter().find(|variable| variable.name == name || variable.key == name);
        let of_file = self.spec.file_variable();
        if let Some(set) = variable.and_then(|variable| self.by_variable.get(&variable.key)) {
            return set.variable.clone();
        }
        let key = match variable {
            Some(variable) => &variable.key,
            None => name.strip_prefix(&format!("{of_file}: ")).unwrap_or(name),
        };
        let outermost = key.split(['.', '[']).next().unwrap_or_default();
        let is_in_file = match variable {
            Some(_) => at(&self.in_file, key).is_some(),
            None => self.in_file.contains_key(outermost),
        };
        match variable {
            _ if is_in_file => self.place_in_file(key),
            Some(variable) => variable.name.clone(),
            None if key == "." => of_file,
            None => name.to_owned(),
        }
    }

    /// A key as it stands in the file.
    fn place_in_file(&self, key: &str) -> String {
        let file = format!("{} {}", self.spec.file_variable(), self.path.as_deref().unwrap_or_default());
        match key.rsplit_once('.') {
            Some((table, name)) if !table.contains('[') => format!("{file}: [{table}] {name}"),
            _ => format!("{file}: {key}"),
        }
    }

    /// Where the value of a key comes from, in a few words for people.
    pub(super) fn source(&self, key: &str) -> &str {
        match (self.by_variable.get(key), &self.path) {
            (Some(set), _) => &set.source,
            (None, Some(path)) if at(&self.in_file, key).is_some() => path,
            _ => "default",
        }
    }

    /// The TOML file's layer, without what has the wrong type.
    fn file(&mut self, faults: &mut Faults) -> Table {
        let Some(path) = &self.path else { return Table::new() };
        self.partial = true;
        let name = format!("{} {path}", self.spec.file_variable());
        let text = match file::read(Path::new(path)).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                faults.add(name, "is not UTF-8");
                return Table::new();
            }
            Err(error) => {
                faults.add(name, format!("read it: {error}"));
                return Table::new();
            }
        };
        match toml::from_str::<Table>(&text) {
            Ok(table) => {
                self.partial = false;
                self.in_file = table.clone();
                let mut table = table;
                self.shape("", &self.defaults, &mut table, faults);
                table
            }
            // Without the line that it is about, which may be a secret.
            Err(error) => {
                let line =
                    error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
                faults.add(format!("{name}, line {line}"), format!("is not TOML: {}", error.message()));
                Table::new()
            }
        }
    }

    /// Takes off what has another type than its default. What has no default is for the settings themselves to know.
    fn shape(&self, table: &str, defaults: &Table, given: &mut Table, faults: &mut Faults) {
        given.retain(|name, value| {
            let key = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
            let wrong = match (defaults.get(name), &mut *value) {
                (Some(Value::Table(defaults)), Value::Table(inner)) => {
                    self.shape(&key, defaults, inner, faults);
                    return true;
                }
                (Some(Value::Table(_)), _) => format!("must be a table, [{key}]"),
                (Some(Value::Array(_)), Value::Array(_))
                | (Some(Value::Boolean(_)), Value::Boolean(_))
                | (Some(Value::String(_)), Value::String(_) | Value::Array(_)) => return true,
                (None, _) => match self.spec.renamed(&key) {
                    Some(new) => format!("is now {new}"),
                    None => return true,
                },
                (Some(Value::Integer(_)), Value::Integer(n)) if *n >= 0 => return true,
                (Some(Value::Array(_)), _) => "must be a list".to_owned(),
                (Some(Value::String(_)), _) => "must be text in quotes".to_owned(),
                (Some(default), _) => self.form(&key, default),
            };
            faults.add(self.place_in_file(&key), self.with_default(&key, &wrong));
            false
        });
    }

    /// What variables set, each of the type that its default has.
    fn set(&mut self, environment: &Environment, faults: &mut Faults) -> Vec<(String, config::Value)> {
        let mut set = Vec::new();
        for Variable { name, key, default, secret } in &self.variables {
            let by_file = format!("{name}_FILE");
            let text = if *secret {
                secret_text(environment, name, &by_file)
            } else if self.spec.emptied.contains(&key.as_str()) {
                Ok(environment.stated(name).map(ToOwned::to_owned))
            } else {
                Ok(environment.get(name).map(ToOwned::to_owned))
            };
            if matches!(text, Ok(None)) {
                continue;
            }
            let source = if *secret && environment.get(name).is_none() {
                format!("{by_file}, {}", environment.source(&by_file))
            } else {
                environment.source(name).to_owned()
            };
            // Set, though it can't be read.
            self.by_variable.insert(key.clone(), SetBy { variable: name.clone(), source });
            let Some(Some(text)) = faults.hear(text) else { continue };
            let value: Option<config::Value> = match default {
                Value::Integer(_) => digits(&text).map(Into::into),
                Value::Boolean(_) => text.parse::<bool>().ok().map(Into::into),
                _ => {
                    if !self.spec.forgiving.contains(&key.as_str())
                        && let Some(reason) = brought_along(&text).or_else(|| placeholder(&text, *secret))
                    {
                        faults.add(name, reason);
                        continue;
                    }
                    Some(text.into())
                }
            };
            match value {
                Some(value) => set.push((key.clone(), value)),
                None => faults.add(name, self.with_default(key, &self.form(key, default))),
            }
        }
        self.follow_port(environment, &mut set, faults);
        set
    }

    /// Takes the address that a platform asks for, unless the service is told one of its own.
    fn follow_port(
        &mut self,
        environment: &Environment,
        set: &mut Vec<(String, config::Value)>,
        faults: &mut Faults,
    ) {
        let Some(listen) = self.variables.iter().find(|variable| variable.key == port::KEY) else { return };
        if self.is_set(port::KEY) {
            return;
        }
        if let Some(Some(address)) = faults.hear(port::address(environment, &listen.name)) {
            let source = format!("{}, {}", port::PORT, environment.source(port::PORT));
            self.by_variable.insert(port::KEY.into(), SetBy { variable: port::PORT.into(), source });
            set.push((port::KEY.into(), address.to_string().into()));
        }
    }

    /// Whether a layer over the defaults sets a key, though it be to something that can't be read. Empty text in a file
    /// sets nothing.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let is_empty = |value: &Value| value.as_str().is_some_and(str::is_empty);
        self.by_variable.contains_key(key) || at(&self.in_file, key).is_some_and(|value| !is_empty(value))
    }

    fn over_each_other(
        &self,
        file: &Table,
        set: Vec<(String, config::Value)>,
    ) -> Result<Table, SettingsError> {
        let wrong = || SettingsError::new(self.spec.file_variable(), "can't be laid over the defaults");
        let mut layers = Config::builder();
        for layer in [&self.defaults, file] {
            let text = toml::to_string(layer).map_err(|_| wrong())?;
            layers = layers.add_source(config::File::from_str(&text, FileFormat::Toml));
        }
        for (key, value) in set {
            layers = layers.set_override(key, value).map_err(|_| wrong())?;
        }
        // Into plain TOML: reading the settings from `Config` itself would make 1 of `yes`, and 0 of `off`.
        layers.build().and_then(Config::try_deserialize).map_err(|_| wrong())
    }

    /// Puts the default where a number is out of its bounds.
    fn hold_bounds(&mut self, faults: &mut Faults) {
        for Variable { key, default, .. } in &self.variables {
            let Some(bounds) = self.spec.bounds(key) else { continue };
            let Some(given) = at_mut(&mut self.layered, key) else { continue };
            let within =
                given.as_integer().and_then(|n| u64::try_from(n).ok()).is_some_and(|n| bounds.contains(&n));
            if !within {
                *given = default.clone();
                faults.add(self.named(key), self.with_default(key, &range(bounds)));
            }
        }
    }

    /// Reads the settings. Where one can't be read its default takes its place, so that the next fault is found, too.
    fn deserialized<S: DeserializeOwned>(&mut self, faults: &mut Faults) -> Option<S> {
        let mut layered = self.layered.clone();
        let mut replaced = BTreeSet::new();
        loop {
            let error = match serde_path_to_error::deserialize(Value::Table(layered.clone())) {
                Ok(settings) => return Some(settings),
                Err(error) => error,
            };
            let key = error.path().to_string();
            let is_secret = self.variables.iter().any(|v| v.secret && v.key == key);
            // What a secret is mistaken for may show it.
            let reason =
                if is_secret { "must be text".into() } else { self.in_words(&key, error.inner().message()) };
            faults.add(self.named(&key), self.with_default(&key, &reason));
            self.partial |= !self.variables.iter().any(|variable| variable.key == key);
            // Of a list of tables, the whole list.
            let key = key.split('[').next().unwrap_or_default().to_owned();
            if !self.replace(&mut layered, &key) || !replaced.insert(key) {
                return None;
            }
        }
    }

    /// Those of the settings that `T` has.
    pub(super) fn part<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let part = serde_path_to_error::deserialize(Value::Table(self.layered.clone()));
        part.map_err(|error| {
            let key = error.path().to_string();
            SettingsError::new(self.named(&key), self.in_words(&key, error.inner().message()))
        })
    }

    /// Puts the default of a key in its place, or takes away what has none.
    fn replace(&self, layered: &mut Table, key: &str) -> bool {
        let (table, name) = match key.rsplit_once('.') {
            Some((table, name)) => (at_mut(layered, table).and_then(Value::as_table_mut), name),
            None => (Some(layered), key),
        };
        let Some(table) = table else { return false };
        match at(&self.defaults, key) {
            Some(default) => table.insert(name.to_owned(), default.clone()),
            None => table.remove(name),
        }
        .is_some()
    }

    /// What serde says of a value, in the words of who sets it: an enum's variants are what it must be.
    fn in_words(&self, key: &str, message: &str) -> String {
        let message = message.trim();
        let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let mut words: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        if what.starts_with("unknown field") {
            let name = what.split('`').nth(1).unwrap_or_default();
            let nearest = words.iter().min_by_key(|known| osa_distance(known, name));
            let hint = nearest.map_or_else(String::new, |known| format!("; did you mean {known}?"));
            return format!("is not a setting of {}{hint}", self.spec.service);
        }
        if !what.starts_with("unknown variant") {
            return message.to_owned();
        }
        // A reader of its own may know one more.
        let default = self.default_text(key).unwrap_or_default();
        if !default.is_empty() && !words.contains(&&*default) {
            words.push(&default);
        }
        match words.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("must be {} or {last}", most.join(", ")),
            _ => format!("must be {}", words.concat()),
        }
    }

    fn form(&self, key: &str, default: &Value) -> String {
        match default {
            Value::Boolean(_) => "must be true or false".to_owned(),
            _ => match self.spec.bounds(key) {
                Some(bounds) => format!("must be {} to {}, in digits alone", bounds.start(), bounds.end()),
                None => "must be a whole number, in digits alone".to_owned(),
            },
        }
    }

    fn with_default(&self, key: &str, reason: &str) -> String {
        match self.default_text(key).filter(|shown| !shown.is_empty()) {
            Some(shown) => format!("{reason} (the default is {shown})"),
            None => reason.to_owned(),
        }
    }

    fn default_text(&self, key: &str) -> Option<String> {
        let default = &self.variables.iter().find(|variable| variable.key == key)?.default;
        Some(default.as_str().map_or_else(|| default.to_string(), ToOwned::to_owned))
    }
}

/// Digits, and nothing else: no sign, no exponent, no separator, no space.
pub(super) fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More than fits is out of any bounds.
    plain.then(|| text.parse().unwrap_or(i64::MAX))
}

fn range(bounds: &std::ops::RangeInclusive<u64>) -> String {
    match (bounds.start(), bounds.end()) {
        (0, max) => format!("must be at most {max}"),
        (min, max) => format!("must be {min} to {max}"),
    }
}

/// `${NAME}` that a template left behind. In a secret it may be one.
fn placeholder(text: &str, secret: bool) -> Option<&'static str> {
    (!secret && text.contains("${")).then_some("has a ${…} in it that nobody replaced")
}

/// The value of a dotted key.
pub(super) fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn at_mut<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    let mut parts = key.split('.');
    let first = table.get_mut(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get_mut(part))
}

fn secret_text(
    environment: &Environment,
    name: &str,
    by_file: &str,
) -> Result<Option<String>, SettingsError> {
    match (environment.get(name), environment.get(by_file)) {
        (Some(_), Some(_)) => Err(SettingsError::new(name, format!("is set, and so is {by_file}; keep one"))),
        (value, None) => Ok(value.map(Into::into)),
        (None, Some(path)) => {
            // Not the path: people put the secret itself there.
            let wrong =
                |reason: String| SettingsError::new(by_file, format!("read the file it names: {reason}"));
            let bytes = file::read(Path::new(path)).map_err(|error| wrong(error.kind().to_string()))?;
            let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".into()))?;
            // Editors end a file with a line feed that was never part of the secret.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                return Err(wrong("it is empty".into()));
            }
            Ok(Some(text.to_owned()))
        }
    }
}
