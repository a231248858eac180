//! Settings, layered: what is compiled in, then an optional TOML file, then the environment.
//!
//! Every setting of a service stands in its `defaults.toml`, with a comment; that file is the list of what can be
//! set. `limits.body_bytes` of the gateway is `GATEWAY_LIMITS__BODY_BYTES` in the environment. An empty variable
//! counts as unset, an unknown one under the service's prefix is refused, and the text of a variable is never
//! guessed at: the secret `000123` stays what it is.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Config, FileFormat};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use thiserror::Error;
use url::Url;

/// What can be set for one service, and under which names.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The service's name, as in `auth-verifier`; its prefix is the same in capitals, `AUTH_VERIFIER_`.
    pub service: &'static str,
    /// The compiled-in defaults, as TOML. A key that is not here can't be set by a variable.
    pub defaults: &'static str,
    /// Variables whose names are known in the field and therefore carry no prefix: `(variable, key)`.
    pub well_known: &'static [(&'static str, &'static str)],
    /// Keys whose value is a secret: each can also come from a file, named by the variable with `_FILE` behind it.
    pub secrets: &'static [&'static str],
}

/// A service's settings: how they are named, and what must hold between them.
pub trait Settings: DeserializeOwned {
    /// Where they come from.
    const SPEC: Spec;

    /// Checks what one value alone can't show, and names the variable that is at fault.
    fn check(&self) -> Result<(), SettingsError>;
}

/// A setting that stops the process before a socket opens.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name}: {reason}")]
pub struct SettingsError {
    name: String,
    reason: String,
}

impl SettingsError {
    /// `name` is what the operator wrote or should write, `reason` what is wrong and what would be right.
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

/// The variables a process sees. Tests pass a map of their own.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's environment, over a `.env` file of the current directory where there is one.
    pub fn of_process() -> Result<Self, SettingsError> {
        let mut variables = BTreeMap::new();
        if Path::new(".env").exists() {
            let lines = dotenvy::from_path_iter(".env")
                .map_err(|_| SettingsError::new(".env", "can't be read; make it readable or remove it"))?;
            for line in lines {
                // dotenvy's message quotes the line, and the line may be a secret.
                let (name, value) = line.map_err(|_| {
                    SettingsError::new(".env", "a line is not NAME=value; quote values with spaces")
                })?;
                variables.insert(name, value);
            }
        }
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                variables.insert(name, value);
            }
        }
        Ok(Self(variables))
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (&**name, &**value))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Loads and checks the settings of one service.
pub fn load<S: Settings>(environment: &Environment) -> Result<S, SettingsError> {
    let spec = S::SPEC;
    let variables = spec.variables();
    spec.refuse_unknown(environment, &variables)?;

    let defaults = config::File::from_str(spec.defaults, FileFormat::Toml);
    let mut layers = Config::builder().add_source(defaults);
    if let Some(path) = environment.get(&spec.file_variable()).map(PathBuf::from) {
        let text = std::fs::read_to_string(&path).map_err(|error| {
            SettingsError::new(spec.file_variable(), format!("read {}: {error}", path.display()))
        })?;
        // Read here first: an error of the layers below would quote the line, and the line may be a secret.
        toml::from_str::<toml::Table>(&text).map_err(|error| {
            let line =
                error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
            let place = format!("{}, line {line}", path.display());
            SettingsError::new(spec.file_variable(), format!("{place}: is not TOML: {}", error.message()))
        })?;
        layers = layers.add_source(config::File::from_str(&text, FileFormat::Toml));
    }
    for Variable { name, key, secret } in &variables {
        let value =
            if *secret { secret_value(environment, name)? } else { environment.get(name).map(Into::into) };
        if let Some(value) = value {
            layers = layers
                .set_override(key, value)
                .map_err(|_| SettingsError::new(name, "is not a setting; this is a fault of the program"))?;
        }
    }
    let layered = layers.build().map_err(|_| {
        SettingsError::new(spec.file_variable(), "can't be laid over the defaults: a key has two types")
    })?;

    let settings: S = serde_path_to_error::deserialize(layered).map_err(|error| {
        let key = error.path().to_string();
        let name = variables.iter().find(|v| v.key == key).map_or(key.clone(), |v| v.name.clone());
        let name = if name == "." { spec.file_variable() } else { name };
        let default = toml_value(spec.defaults, &key).filter(|text| !text.is_empty());
        let hint = default.map_or_else(String::new, |text| format!(" (the default is {text})"));
        SettingsError::new(name, format!("{}{hint}", message(&error.into_inner())))
    })?;
    settings.check()?;
    Ok(settings)
}

/// One setting that can come from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// As it is written in the environment.
    pub name: String,
    key: String,
    secret: bool,
}

impl Spec {
    /// Every variable that this service reads, but for the `_FILE` forms of secrets.
    pub fn variables(&self) -> Vec<Variable> {
        let defaults: toml::Table = toml::from_str(self.defaults).unwrap_or_default();
        let mut keys = Vec::new();
        flatten("", &defaults, &mut keys);
        keys.into_iter()
            .map(|key| {
                let known = self.well_known.iter().find(|(_, known)| *known == key);
                let name = known.map_or_else(
                    || format!("{}{}", self.prefix(), key.replace('.', "__").to_uppercase()),
                    |(variable, _)| (*variable).to_owned(),
                );
                Variable { name, secret: self.secrets.contains(&key.as_str()), key }
            })
            .collect()
    }

    /// The variable that names this service's TOML file.
    pub fn file_variable(&self) -> String {
        format!("{}CONFIG", self.prefix())
    }

    /// `AUTH_VERIFIER_`.
    pub fn prefix(&self) -> String {
        format!("{}_", self.service.replace('-', "_").to_uppercase())
    }

    fn refuse_unknown(&self, environment: &Environment, variables: &[Variable]) -> Result<(), SettingsError> {
        let prefix = self.prefix();
        let known = |name: &str| {
            let base = name.strip_suffix("_FILE").unwrap_or(name);
            name == self.file_variable()
                || variables.iter().any(|v| v.name == name || (v.secret && v.name == base))
        };
        for (name, value) in environment.names() {
            if name.starts_with(&prefix) && !known(name) && !is_service_link(&name[prefix.len()..], value) {
                let nearest = variables.iter().min_by_key(|v| distance(&v.name, name));
                let hint = nearest.map_or_else(String::new, |v| format!("; did you mean {}?", v.name));
                return Err(SettingsError::new(name, format!("is not a setting of {}{hint}", self.service)));
            }
        }
        Ok(())
    }
}

/// Kubernetes tells every container where its services are, in variables that begin with the service's name:
/// a service called `gateway` makes `GATEWAY_PORT=tcp://10.0.0.7:8000` and its kin. They are nobody's settings.
fn is_service_link(rest: &str, value: &str) -> bool {
    rest.ends_with("SERVICE_HOST")
        || rest.ends_with("SERVICE_PORT")
        || rest.contains("SERVICE_PORT_")
        || rest.contains("_TCP_")
        || rest.contains("_UDP_")
        || (rest.ends_with("PORT") || rest.contains("PORT_"))
            && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

fn secret_value(environment: &Environment, name: &str) -> Result<Option<String>, SettingsError> {
    let by_file = format!("{name}_FILE");
    match (environment.get(name), environment.get(&by_file)) {
        (Some(_), Some(_)) => Err(SettingsError::new(name, format!("is set, and so is {by_file}; keep one"))),
        (value, None) => Ok(value.map(Into::into)),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                // Not the path: people put the secret itself there.
                .map_err(|error| {
                    SettingsError::new(by_file, format!("read the file it names: {}", error.kind()))
                })?;
            // Editors end a file with a line feed that was never part of the secret.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
        }
    }
}

fn flatten(at: &str, table: &toml::Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, keys),
            // A list of tables (the gateway's routes) has no form as text.
            toml::Value::Array(_) => {}
            _ => keys.push(key),
        }
    }
}

fn toml_value(text: &str, key: &str) -> Option<String> {
    let table: toml::Value = toml::from_str(text).ok()?;
    let value = key.split('.').try_fold(&table, |value, part| value.get(part))?;
    Some(value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
}

fn message(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Type { unexpected, expected, .. } => format!("{unexpected} is not {expected}"),
        config::ConfigError::At { error, .. } => message(error),
        other => other.to_string(),
    }
}

fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// A value that must never be seen: its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: for a key or a connection, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Switch {
    On,
    Off,
}

/// `None` where a setting is left empty.
pub fn optional<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    T::deserialize(serde::de::value::StringDeserializer::new(text)).map(Some)
}

/// A list, written `a, b` in a variable and `["a", "b"]` or `"a, b"` in TOML.
pub fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Items(Vec<String>),
    }
    let items = match Form::deserialize(from)? {
        Form::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        Form::Items(items) => items,
    };
    items
        .into_iter()
        .filter(|item| !item.is_empty())
        .map(|item| T::deserialize(serde::de::value::StringDeserializer::new(item)))
        .collect()
}

/// A wait in whole seconds; for settings whose name ends in `_secs`. Zero is allowed.
pub fn secs<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u32::deserialize(from).map(|secs| Duration::from_secs(secs.into()))
}

/// A wait in whole milliseconds, at least one; for settings whose name ends in `_ms`.
pub fn millis<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    match u32::deserialize(from)? {
        0 => Err(serde::de::Error::custom("must be at least 1")),
        millis => Ok(Duration::from_millis(millis.into())),
    }
}

/// A URL of a service: `http` or `https`, with a host, and neither user, query nor fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl(Url);

impl ServiceUrl {
    /// Reads a URL; the error says what is wrong without repeating the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text.trim()).map_err(|_| "is not a URL such as http://127.0.0.1:8001")?;
        let plain = url.username().is_empty() && url.password().is_none();
        match url.scheme() {
            "http" | "https"
                if url.has_host() && plain && url.query().is_none() && url.fragment().is_none() =>
            {
                Ok(Self(url))
            }
            "http" | "https" => Err("must be scheme, host, port and path alone"),
            _ => Err("must begin with http:// or https://"),
        }
    }

    /// The URL, as parsed.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// `scheme://host[:port]`: lower case, without the scheme's own port (RFC 6454 §6.2).
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// This URL with `path` behind its own.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }
}

impl<'de> Deserialize<'de> for ServiceUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// Where a service listens.
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!("`{text}` is not an address with a port, such as 127.0.0.1:8000"))
    })
}

/// Where a service listens, if the setting isn't left empty.
pub fn optional_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Address(#[serde(deserialize_with = "address")] SocketAddr);
    Ok(optional(from)?.map(|Address(address)| address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[serde(deserialize_with = "address")]
        listen: SocketAddr,
        #[serde(deserialize_with = "optional")]
        secret: Option<Secret>,
        #[serde(deserialize_with = "list")]
        names: Vec<String>,
        limits: Limits,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        body_bytes: u64,
        #[serde(deserialize_with = "millis")]
        wait_ms: Duration,
    }

    impl Settings for Example {
        const SPEC: Spec = Spec {
            service: "two-words",
            defaults: "listen = \"127.0.0.1:80\"\nsecret = \"\"\nnames = \"a\"\n[limits]\nbody_bytes = 7\nwait_ms = 5",
            well_known: &[("THE_SECRET", "secret")],
            secrets: &["secret"],
        };

        fn check(&self) -> Result<(), SettingsError> {
            Ok(())
        }
    }

    fn example(variables: &[(&str, &str)]) -> Result<Example, String> {
        load(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    fn file(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("usher-settings-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    #[test]
    fn the_defaults_hold_where_nothing_is_set() {
        let settings = example(&[]).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:80".parse().unwrap());
        assert_eq!(settings.secret, None);
        assert_eq!(settings.limits.body_bytes, 7);
        assert_eq!(settings.limits.wait_ms, Duration::from_millis(5));
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let path = file("layers.toml", "names = [\"f\"]\n[limits]\nbody_bytes = 8\nwait_ms = 6");
        let settings = example(&[("TWO_WORDS_CONFIG", &path), ("TWO_WORDS_LIMITS__WAIT_MS", "9")]).unwrap();
        assert_eq!(settings.names, ["f"]);
        assert_eq!(settings.limits.body_bytes, 8);
        assert_eq!(settings.limits.wait_ms, Duration::from_millis(9));
    }

    #[test]
    fn text_is_never_taken_for_a_number() {
        assert_eq!(example(&[("THE_SECRET", "000123")]).unwrap().secret, Some(Secret::new("000123")));
    }

    #[test]
    fn a_secret_can_come_from_a_file_less_its_line_feed() {
        let path = file("secret", "s3cret \n");
        let settings = example(&[("THE_SECRET_FILE", &path)]).unwrap();
        assert_eq!(settings.secret.unwrap().expose(), "s3cret ");
        let error = example(&[("THE_SECRET_FILE", &path), ("THE_SECRET", "x")]).unwrap_err();
        assert_eq!(error, "THE_SECRET: is set, and so is THE_SECRET_FILE; keep one");
    }

    #[test]
    fn a_bad_setting_is_named_with_what_would_be_right() {
        for (name, value, want) in [
            ("TWO_WORDS_LISTEN", "here", "TWO_WORDS_LISTEN: `here` is not an address with a port"),
            (
                "TWO_WORDS_LIMITS__WAIT_MS",
                "0",
                "TWO_WORDS_LIMITS__WAIT_MS: must be at least 1 (the default is 5)",
            ),
            ("TWO_WORDS_LIMITS__BODY_BYTES", "many", "TWO_WORDS_LIMITS__BODY_BYTES: "),
            (
                "TWO_WORDS_LIMTS__BODY_BYTES",
                "1",
                "is not a setting of two-words; did you mean TWO_WORDS_LIMITS__BODY_BYTES?",
            ),
            ("TWO_WORDS_NAMES_FILE", "x", "TWO_WORDS_NAMES_FILE: is not a setting"),
            ("TWO_WORDS_CONFIG", "/nowhere.toml", "TWO_WORDS_CONFIG: read /nowhere.toml"),
            ("TWO_WORDS_LISTEM", "tcp://10.0.0.7:80", "did you mean TWO_WORDS_LISTEN?"),
        ] {
            let error = example(&[(name, value)]).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn an_error_never_shows_what_may_be_a_secret() {
        let path = file("broken.toml", "listen = \"127.0.0.1:80\"\nsecret = \"hunter2");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(error.contains("line 2: is not TOML") && !error.contains("hunter2"), "{error}");
        let path = file("unquoted.toml", "secret = hunter2");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = example(&[("THE_SECRET_FILE", "hunter2")]).unwrap_err();
        assert!(error.starts_with("THE_SECRET_FILE: read") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let path = file("unknown.toml", "[limits]\nbody_byts = 1");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(error.contains("body_byts"), "{error}");
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        assert_eq!(example(&[("TWO_WORDS_NAMES", "")]).unwrap().names, ["a"]);
    }

    #[test]
    fn the_variables_that_kubernetes_makes_are_not_settings() {
        for (name, value) in [
            ("TWO_WORDS_SERVICE_HOST", "10.0.0.7"),
            ("TWO_WORDS_SERVICE_PORT_HTTP", "8000"),
            ("TWO_WORDS_PORT", "tcp://10.0.0.7:8000"),
            ("TWO_WORDS_PORT_8000_TCP_ADDR", "10.0.0.7"),
        ] {
            example(&[(name, value)]).unwrap();
        }
    }

    #[test]
    fn a_secret_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn an_origin_is_lower_case_without_the_default_port() {
        let url = ServiceUrl::parse("https://Auth.Example.com:443/api/auth/").unwrap();
        assert_eq!(url.origin(), "https://auth.example.com");
        assert_eq!(url.join("/jwks"), "https://auth.example.com/api/auth/jwks");
        for bad in ["", "localhost:3000", "ftp://a", "http://u:p@a", "http://a?b", "http://a#b"] {
            assert!(ServiceUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
