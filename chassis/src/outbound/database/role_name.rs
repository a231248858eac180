//! The name of a role, which somebody gives to have SQL printed for it.

use std::fmt;

/// What PostgreSQL would cut off behind, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// Names that mean something else than a role wherever one stands, quoted or not: everybody, and nobody.
const RESERVED: [&str; 2] = ["public", "none"];

/// A name that a role may have. It is shown as an SQL identifier: quoted, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(String);

impl RoleName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// No role can be called so, in words for whoever gave the name.
    pub fn parse(name: &str) -> Result<Self, String> {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
        if !fits || name.contains('\0') || name.starts_with("pg_") || RESERVED.contains(&name) {
            return Err(format!(
                "{name:?} is no name of a role: 1 to {NAME_BYTES_MAX} bytes, and not pg_…, public or none"
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_role_can_have_are_refused() {
        for bad in ["", "a\0", "pg_monitor", "pg_", "public", "none", &"x".repeat(64), &"ü".repeat(32)] {
            assert!(
                RoleName::parse(bad).unwrap_err().contains("is no name of a role: 1 to 63 bytes"),
                "{bad}"
            );
        }
        for good in ["a", "PUBLIC", "Public", "pgbouncer", "public_", "user", &"x".repeat(63)] {
            assert_eq!(RoleName::parse(good).unwrap().text(), good);
        }
    }

    #[test]
    fn a_name_stays_a_name_whatever_is_in_it() {
        let name = RoleName::parse("o'brien\"; drop table x; --").unwrap();
        assert_eq!(name.to_string(), r#""o'brien""; drop table x; --""#);
    }
}
