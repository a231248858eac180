//! The variables that a process sees: its environment, over a `.env` file of the current directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
};

use super::{
    dotenv::{Assignment, Dotenv, Stray},
    error::{Faults, SettingsError},
    file,
};

/// The file, in the current directory. Next.js reads `.env.local` and those of its modes, too; they are its own.
const DOTENV: &str = ".env";

/// The variables a process sees. Tests pass a map of their own.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// Where those values come from that are not the process's own environment's.
    sources: BTreeMap<String, &'static str>,
    /// Names that have no value which can be read, and why. Whose they are is for the service to say.
    unreadable: Vec<(String, String)>,
}

impl Environment {
    /// The process's environment, over a `.env` file of the current directory where there is one.
    pub fn of_process() -> Result<Self, SettingsError> {
        let dotenv = match std::fs::metadata(DOTENV) {
            // As Next.js has it: a folder of that name is somebody else's.
            Ok(found) if found.is_dir() => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            _ => file::read(DOTENV.as_ref()).map_err(|error| {
                SettingsError::new(DOTENV, format!("can't be read: {error}; make it readable or remove it"))
            })?,
        };
        Self::of(&dotenv, std::env::vars_os())
    }

    /// The variables of a process, over what a `.env` file says.
    pub fn of(
        dotenv: &[u8],
        process: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        if dotenv.starts_with(&[0xff, 0xfe]) || dotenv.starts_with(&[0xfe, 0xff]) {
            return Err(SettingsError::new(DOTENV, "is UTF-16; save it as UTF-8"));
        }
        let mut values = BTreeMap::new();
        let mut unreadable = Vec::new();
        let mut stated = BTreeSet::new();
        for (name, value) in process {
            let shown = name.to_string_lossy().into_owned();
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    values.insert(name, value);
                }
                (Ok(_), Err(_)) => unreadable.push((shown.clone(), "has a value that is not UTF-8".into())),
                (Err(_), _) => unreadable.push((shown.clone(), "has a name that is not UTF-8".into())),
            }
            stated.insert(shown);
        }
        let mut sources = BTreeMap::new();
        let Dotenv { assignments, stray } = Dotenv::read(dotenv, &values);
        for Assignment { name, value, line } in assignments {
            match value {
                _ if stated.contains(&name) => {}
                Ok(value) => {
                    sources.insert(name.clone(), DOTENV);
                    values.insert(name, value);
                }
                Err(reason) => unreadable.push((name, format!("{DOTENV}, line {line}: {reason}"))),
            }
        }
        for Stray { name, line, reason } in stray {
            if !stated.contains(&name) {
                unreadable.push((name, format!("{DOTENV}, line {line}: {reason}")));
            }
        }
        Ok(Self { values, sources, unreadable })
    }

    /// The same with one more variable, which is not a person's but of `source`'s making.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>, source: &'static str) -> Self {
        let name = name.into();
        self.sources.insert(name.clone(), source);
        self.values.insert(name, value.into());
        self
    }

    /// The same without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.sources.remove(name);
        self.values.remove(name);
        self.unreadable.retain(|(unreadable, _)| unreadable != name);
        self
    }

    /// The value of a variable if it is the process's own, and not of the `.env` file; an empty one counts as unset.
    pub(super) fn get_of_process(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|_| self.sources.get(name).is_none_or(|source| *source != DOTENV))
    }

    /// Whether a person set the variable, to whatever but nothing.
    pub(super) fn is_set_by_hand(&self, name: &str) -> bool {
        self.get(name).is_some() && self.sources.get(name).is_none_or(|source| *source == DOTENV)
    }

    /// Where the value of a variable comes from, in a word for people.
    pub fn source(&self, name: &str) -> &'static str {
        self.sources.get(name).copied().unwrap_or("environment")
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.stated(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable, though it be empty.
    pub fn stated(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All variables and what they are, though it be empty.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Refuses where a variable that is `ours` has a value, or a place in `.env`, that can't be read: it must not count as
    /// unset.
    pub fn check(&self, ours: impl Fn(&str) -> bool) -> Result<(), SettingsError> {
        let mut faults = Faults::default();
        for (name, reason) in self.unreadable.iter().filter(|(name, _)| ours(name)) {
            faults.add(name, reason);
        }
        faults.result()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (&**name, &**value))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let values = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn of(dotenv: &str, process: &[(&[u8], &[u8])]) -> Environment {
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let process = process.iter().map(|(name, value)| (os(name), os(value)));
        Environment::of(dotenv.as_bytes(), process).unwrap()
    }

    fn wrong(environment: &Environment) -> Option<String> {
        environment.check(|name| name.starts_with("OUR_")).err().map(|error| error.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let environment =
            of("OUR_A=file\nOUR_B=file\nOUR_C=file", &[(b"OUR_A", b"process"), (b"OUR_B", b"")]);
        assert_eq!(environment.get("OUR_A"), Some("process"));
        assert_eq!(environment.get("OUR_B"), None);
        assert_eq!(environment.stated("OUR_B"), Some(""));
        assert_eq!(environment.get("OUR_C"), Some("file"));
        assert_eq!(wrong(&environment), None);
    }

    #[test]
    fn what_is_not_utf8_is_named_if_it_is_ours() {
        for (process, want) in [
            ((&b"OUR_A"[..], &b"caf\xe9"[..]), Some("OUR_A: has a value that is not UTF-8")),
            ((b"OUR_\xe9", b"x"), Some("OUR_\u{fffd}: has a name that is not UTF-8")),
            ((b"OTHER", b"\xe9"), None),
            ((b"OTHER_\xe9", b"x"), None),
        ] {
            // The file doesn't stand in for what the environment states.
            let environment = of("OUR_A=file", &[process]);
            assert_eq!(wrong(&environment).as_deref(), want, "{process:?}");
            assert_eq!(environment.get("OUR_A").is_none(), process.0 == b"OUR_A");
        }
    }

    #[test]
    fn lines_that_are_none_of_ours_stop_nothing() {
        let file =
            "APP_NAME=My Todo App\nwhat is this\nAPP_TITLE='Bob's\nAPP_SELF=$APP_SELF\n=x\nAPP NAME\nOUR_A=x";
        let environment = of(file, &[]);
        assert_eq!(environment.get("APP_NAME"), Some("My Todo App"));
        assert_eq!(environment.get("OUR_A"), Some("x"));
        assert_eq!(wrong(&environment), None);
    }

    #[test]
    fn a_line_of_ours_that_can_not_be_read_is_told_with_its_number_and_without_its_value() {
        let environment = of("APP=1\nOUR_A hunter2\nOUR_B='hunter2\nOUR_C=$OUR_C", &[]);
        let told = wrong(&environment).unwrap();
        for want in [
            "OUR_A: .env, line 2: is not assigned; write NAME=value",
            "OUR_B: .env, line 3: opens a quote that nothing closes",
            "OUR_C: .env, line 4: refers to itself",
        ] {
            assert!(told.contains(want) && !told.contains("hunter2"), "{told}");
        }
        let environment = of("OUR_A hunter2", &[(b"OUR_A", b"set")]);
        assert_eq!(wrong(&environment), None);
    }

    #[test]
    fn a_file_in_another_encoding_is_told() {
        let utf16: Vec<u8> = "\u{feff}OUR_A=x".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let error = Environment::of(&utf16, []).map(drop).unwrap_err();
        assert_eq!(error.to_string(), ".env: is UTF-16; save it as UTF-8");
    }
}
