//! What is wrong with the settings of one start: each fault by its variable's name, all of them at once.

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
    /// `name` is what the operator wrote or should write, `reason` what is wrong and what would be right.
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self(vec![Fault { name: name.into(), reason: reason.into() }])
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

/// Faults as they are found, so that whoever has several hears of all of them.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One more; said twice it is still one.
    pub fn add(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.extend(SettingsError::new(name, reason));
    }

    /// What came out well, or nothing where there was a fault.
    pub fn hear<T>(&mut self, result: Result<T, SettingsError>) -> Option<T> {
        result.map_err(|error| self.extend(error)).ok()
    }

    /// Whether there was any.
    pub fn found(&self) -> bool {
        !self.0.is_empty()
    }

    /// An error, if there was any fault.
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
