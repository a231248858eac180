//! A value that must never be shown, and what copying one adds by mistake.

use std::fmt;

use serde::Deserialize;

/// A value that must never be shown: its `Debug` says nothing of it.
///
/// Not `secrecy`'s: this one is compared and deserialized. Zeroing its memory would protect nothing, since the environment of
/// the process holds the same bytes.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
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

/// What stands around a value by mistake, if anything: quotes, a line break, a byte order mark.
///
/// `docker run --env-file` and systemd keep quotes that `.env` files drop, and editors end a file with a line feed. The value
/// then looks right and differs from Better Auth's in a byte, which locks everybody out.
pub fn brought_along(value: &str) -> Option<&'static str> {
    let quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    if value.starts_with('\u{feff}') {
        Some("begins with a byte order mark; take it off")
    } else if value.starts_with(['\n', '\r']) || value.ends_with(['\n', '\r']) {
        Some("begins or ends with a line break; take it off")
    } else if ['"', '\'', '`'].into_iter().any(quoted) {
        Some("has quotes around it that are part of the value; take them off")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn what_a_copy_brings_along_is_seen() {
        for (value, want) in [
            ("\u{feff}x", "byte order mark"),
            ("x\n", "line break"),
            ("x\r", "line break"),
            ("\nx", "line break"),
            ("\"x\"", "quotes"),
            ("'x'", "quotes"),
            ("`x`", "quotes"),
            ("\"\"", "quotes"),
        ] {
            assert!(brought_along(value).unwrap().contains(want), "{value:?}");
        }
        for value in ["", "x", "'x", "x\"", "'x\"", "\"", "a\nb", "it's 'x'", " x "] {
            assert_eq!(brought_along(value), None, "{value:?}");
        }
    }
}
