//! What is in force, for `--check --show`: a setting a line, with where it comes from. Secrets are hidden.

use std::fmt::Write;

use toml::{Table, Value};

use super::{
    layers::{Layers, at},
    spec::Variable,
};

/// What stands for a secret that is set.
const HIDDEN: &str = "***";

impl Layers {
    /// Every setting in the form of the environment, then the tables that only a file can set.
    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        let mut variables: Vec<_> = self.variables.iter().collect();
        // Those outside of any table first.
        variables.sort_by_key(|variable| variable.key.contains('.'));
        for Variable { name, key, secret, .. } in variables {
            let value = at(&self.layered, key).map(text_of).unwrap_or_default();
            let value =
                if *secret && !value.is_empty() { HIDDEN.to_owned() } else { quoted(&hidden(&value)) };
            let _ = writeln!(text, "{name}={value}  # {}", self.source(key));
        }
        for (name, value) in &self.layered {
            if self.is_table_of_a_file(name, value) {
                let _ = writeln!(text, "# {name}: {}", self.source(name));
                let table = Table::from_iter([(name.clone(), without_secrets(value))]);
                for line in toml::to_string(&table).unwrap_or_default().lines() {
                    let _ = writeln!(text, "#   {line}");
                }
            }
        }
        text
    }

    fn is_table_of_a_file(&self, name: &str, value: &Value) -> bool {
        let below = format!("{name}.");
        let is_set_by_variables =
            self.variables.iter().any(|variable| variable.key == name || variable.key.starts_with(&below));
        !is_set_by_variables && matches!(value, Value::Array(_) | Value::Table(_))
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

/// As a `.env` file has it, on one line.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:,@%+=[]*?&~^!".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else if text.contains(char::is_control) {
        format!("\"{}\"", text.escape_debug())
    } else {
        let quote = if text.contains('\'') { '"' } else { '\'' };
        format!("{quote}{text}{quote}")
    }
}

/// Without the user and the password of a URL. Our own settings have none; what a file lists may.
fn hidden(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#', ',', ' ']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{host}{}", hidden(path))
}

fn without_secrets(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(hidden(text)),
        Value::Array(items) => Value::Array(items.iter().map(without_secrets).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(name, value)| (name.clone(), without_secrets(value))).collect())
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_neither_user_nor_password() {
        for (text, want) in [
            ("postgresql://ada:hunter2@db/tasks?a=b", "postgresql://***@db/tasks?a=b"),
            ("http://hunter2@a, http://u:hunter2@b/c", "http://***@a, http://***@b/c"),
            ("http://a/b@c", "http://a/b@c"),
            ("a@b", "a@b"),
        ] {
            assert_eq!(hidden(text), want);
        }
    }

    #[test]
    fn a_value_stands_on_one_line() {
        for (text, want) in [
            ("1048576", "1048576"),
            ("http://a:1/b", "http://a:1/b"),
            ("a b", "'a b'"),
            ("a#b", "'a#b'"),
            ("it's", "\"it's\""),
            ("a\nb", "\"a\\nb\""),
            ("", ""),
        ] {
            assert_eq!(quoted(text), want);
        }
    }
}
