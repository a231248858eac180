//! What is wrong with the settings of one start: each fault by the name of its setting, all of them at once.

use std::fmt;

/// Settings that stop the process before a socket opens: one line for each fault.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingsError(Vec<Fault>);

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    name: String,
    reason: String,
}

impl SettingsError {
    /// `name` is the setting's variable or key: [`load`](super::load()) makes of it what the operator wrote or should write.
    /// `reason` says what is wrong and what would be right.
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self(vec![Fault { name: name.into(), reason: reason.into() }])
    }

    /// The same faults, each under the name that `name` makes of its own.
    pub(super) fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        Self(self.0.into_iter().map(|fault| Fault { name: name(&fault.name), ..fault }).collect())
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Fault { name, reason }) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{name}: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Collects faults as they are found, so that all of them are reported.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one, by the variable or the key of the setting. The same one twice is one.
    pub fn add(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.extend(SettingsError::new(name, reason));
    }

    /// The value, or `None` after adding the faults of the error.
    pub fn hear<T>(&mut self, result: Result<T, SettingsError>) -> Option<T> {
        result.map_err(|error| self.extend(error)).ok()
    }

    /// Adds the faults of the error that have nothing to do with those that were found before.
    pub(super) fn hear_unrelated(&mut self, SettingsError(faults): SettingsError) {
        let related = |fault: &Fault| {
            self.0.iter().any(|known| known.name == fault.name || fault.reason.contains(&known.name))
        };
        let unrelated = faults.into_iter().filter(|fault| !related(fault)).collect();
        self.extend(SettingsError(unrelated));
    }

    /// Whether any was added.
    pub fn found(&self) -> bool {
        !self.0.is_empty()
    }

    /// An error of all faults, if there are any.
    pub fn result(self) -> Result<(), SettingsError> {
        if self.0.is_empty() { Ok(()) } else { Err(SettingsError(self.0)) }
    }

    fn extend(&mut self, SettingsError(faults): SettingsError) {
        for fault in faults {
            if !self.0.contains(&fault) {
                self.0.push(fault);
            }
        }
    }
}

impl From<Faults> for SettingsError {
    /// For where a value is missing, so that there was a fault.
    fn from(Faults(faults): Faults) -> Self {
        Self(faults)
    }
}
