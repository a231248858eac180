//! The layers, one over the other, and what is wrong with any of them.
//!
//! What a setting is, its default says: a number takes digits and nothing else, and no text is guessed at. Faults of single
//! values are told together, and where there are none, those of values that don't go together.

use std::{collections::BTreeSet, path::Path};

use config::{Config, FileFormat};
use toml::{Table, Value};

use super::{
    SettingsError,
    environment::Environment,
    error::Faults,
    file,
    secret::brought_along,
    spec::{Settings, Spec, Variable},
};

/// Loads the plan of one service.
pub fn load<S: Settings>(environment: &Environment) -> Result<S::Plan, SettingsError> {
    read::<S>(environment)?.plan()
}

/// Reads the settings of one service, each by itself.
pub fn read<S: Settings>(environment: &Environment) -> Result<S, SettingsError> {
    let loading = Loading { spec: S::SPEC, variables: S::SPEC.variables(), defaults: S::SPEC.table() };
    let mut faults = Faults::default();
    // The log's is every service's.
    faults.hear(environment.check(|name| loading.spec.claims(name) || name == "RUST_LOG"));
    loading.spec.refuse_unknown(environment, &loading.variables, &mut faults);
    let file = loading.file(environment, &mut faults);
    let set = loading.set(environment, &mut faults);
    let mut layered = loading.layered(file, set)?;
    loading.hold_bounds(&mut layered, &mut faults);
    let settings: Option<S> = loading.read(layered, &mut faults);
    faults.result()?;
    settings.ok_or_else(|| SettingsError::new(S::SPEC.file_variable(), "can't be read"))
}

struct Loading {
    spec: Spec,
    variables: Vec<Variable>,
    defaults: Table,
}

impl Loading {
    /// The TOML file's layer, less what can't be what it says.
    fn file(&self, environment: &Environment, faults: &mut Faults) -> Table {
        let name = self.spec.file_variable();
        let Some(path) = environment.get(&name).map(Path::new) else { return Table::new() };
        let text = match file::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                faults.add(name, format!("{}: is not UTF-8", path.display()));
                return Table::new();
            }
            Err(error) => {
                faults.add(name, format!("read {}: {error}", path.display()));
                return Table::new();
            }
        };
        match toml::from_str(&text) {
            Ok(mut table) => {
                self.shape("", &self.defaults, &mut table, faults);
                table
            }
            // Without the line that it is about, which may be a secret.
            Err(error) => {
                let error: toml::de::Error = error;
                let line =
                    error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
                let place = format!("{}, line {line}", path.display());
                faults.add(name, format!("{place}: is not TOML: {}", error.message()));
                Table::new()
            }
        }
    }

    /// Takes off what is not of its default's type. What has no default is for the settings themselves to know.
    fn shape(&self, at: &str, defaults: &Table, given: &mut Table, faults: &mut Faults) {
        given.retain(|name, value| {
            let key = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
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
            faults.add(self.name(&key), self.with_default(&key, &wrong));
            false
        });
    }

    /// What variables set, each as what its default is.
    fn set(&self, environment: &Environment, faults: &mut Faults) -> Vec<(&str, config::Value)> {
        let mut set = Vec::new();
        for variable in &self.variables {
            let Variable { name, key, default, secret } = variable;
            let text = if *secret {
                faults.hear(secret_text(environment, name)).flatten()
            } else if self.spec.emptied.contains(&key.as_str()) {
                environment.stated(name).map(ToOwned::to_owned)
            } else {
                environment.get(name).map(ToOwned::to_owned)
            };
            let Some(text) = text else { continue };
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
                Some(value) => set.push((key.as_str(), value)),
                None => faults.add(name, self.with_default(key, &self.form(key, default))),
            }
        }
        set
    }

    fn layered(&self, file: Table, set: Vec<(&str, config::Value)>) -> Result<Table, SettingsError> {
        let wrong = || SettingsError::new(self.spec.file_variable(), "can't be laid over the defaults");
        let file = toml::to_string(&file).map_err(|_| wrong())?;
        let mut layers = Config::builder()
            .add_source(config::File::from_str(self.spec.defaults, FileFormat::Toml))
            .add_source(config::File::from_str(&file, FileFormat::Toml));
        for (key, value) in set {
            layers = layers.set_override(key, value).map_err(|_| wrong())?;
        }
        // Into plain TOML: reading the settings from `Config` itself would make 1 of `yes`, and 0 of `off`.
        layers.build().and_then(Config::try_deserialize).map_err(|_| wrong())
    }

    /// Puts the default where a number is out of its bounds.
    fn hold_bounds(&self, layered: &mut Table, faults: &mut Faults) {
        for Variable { name, key, default, .. } in &self.variables {
            let Some(bounds) = self.spec.bounds(key) else { continue };
            let Some(given) = place(layered, key) else { continue };
            let within =
                given.as_integer().and_then(|n| u64::try_from(n).ok()).is_some_and(|n| bounds.contains(&n));
            if !within {
                *given = default.clone();
                faults.add(name, self.with_default(key, &range(bounds)));
            }
        }
    }

    /// Reads the settings. Where one can't be read its default takes its place, so that the next fault is found, too.
    fn read<S: Settings>(&self, mut layered: Table, faults: &mut Faults) -> Option<S> {
        let mut replaced = BTreeSet::new();
        loop {
            let error = match serde_path_to_error::deserialize(Value::Table(layered.clone())) {
                Ok(settings) => return Some(settings),
                Err(error) => error,
            };
            let key = error.path().to_string();
            let is_secret = self.variables.iter().any(|v| v.secret && v.key == key);
            // What a secret is mistaken for may show it.
            let reason = if is_secret { "must be text".into() } else { message(error.inner()) };
            faults.add(self.name(&key), self.with_default(&key, &reason));
            // Of a list of tables, the whole list.
            let key = key.split('[').next().unwrap_or_default().to_owned();
            if !self.replace(&mut layered, &key) || !replaced.insert(key) {
                return None;
            }
        }
    }

    /// Puts the default of a key in its place, or takes away what has none.
    fn replace(&self, layered: &mut Table, key: &str) -> bool {
        let default = key
            .split('.')
            .try_fold(&Value::Table(self.defaults.clone()), |value, part| value.get(part))
            .cloned();
        let (table, name) = match key.rsplit_once('.') {
            Some((table, name)) => (place(layered, table).and_then(Value::as_table_mut), name),
            None => (Some(layered), key),
        };
        let Some(table) = table else { return false };
        match default {
            Some(default) => table.insert(name.to_owned(), default),
            None => table.remove(name),
        }
        .is_some()
    }

    /// What a person would write to set it.
    fn name(&self, key: &str) -> String {
        let variable = self.variables.iter().find(|variable| variable.key == key);
        match variable {
            Some(variable) => variable.name.clone(),
            None if key == "." => self.spec.file_variable(),
            None => key.to_owned(),
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
        let default =
            self.variables.iter().find(|variable| variable.key == key).map(|variable| &variable.default);
        let shown = default.map(|value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
        match shown.filter(|shown| !shown.is_empty()) {
            Some(shown) => format!("{reason} (the default is {shown})"),
            None => reason.to_owned(),
        }
    }
}

/// Digits, and nothing else: no sign, no exponent, no separator, no space.
fn digits(text: &str) -> Option<i64> {
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

fn place<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    let mut parts = key.split('.');
    let first = table.get_mut(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get_mut(part))
}

fn message(error: &toml::de::Error) -> String {
    error.message().trim().to_owned()
}

fn secret_text(environment: &Environment, name: &str) -> Result<Option<String>, SettingsError> {
    let by_file = format!("{name}_FILE");
    match (environment.get(name), environment.get(&by_file)) {
        (Some(_), Some(_)) => Err(SettingsError::new(name, format!("is set, and so is {by_file}; keep one"))),
        (value, None) => Ok(value.map(Into::into)),
        (None, Some(path)) => {
            // Not the path: people put the secret itself there.
            let wrong =
                |reason: String| SettingsError::new(&by_file, format!("read the file it names: {reason}"));
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
