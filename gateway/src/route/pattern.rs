//! Which paths a route is for.

use std::fmt;

use super::path;

/// `/a/b` (that path, with or without a slash at its end) or `/a/**` (that path and all below it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    base: String,
    below: bool,
}

impl Pattern {
    /// Reads a pattern as it is set; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (base, below) = text.strip_suffix("/**").map_or((text, false), |base| (base, true));
        // `/users/{id}` is meant for each user; taken literally, it would leave their requests to a later route.
        if base.contains(['?', '#', '{', '}', '<', '>', '[', ']']) || base.contains("/:") {
            return Err("has a query or a placeholder in it, which no path has; write one that ends in /**");
        }
        // Requests are compared in the same spelling.
        let base = if base.is_empty() && below { Ok("".into()) } else { path::canonical(base) };
        match base {
            Ok(base) if !base.contains('*') => {
                Ok(Self { base: base.trim_end_matches('/').to_owned(), below })
            }
            _ => Err("must be a path such as /health, or one that ends in /** such as /api/**"),
        }
    }

    /// Whether this pattern fits everything that `other` fits.
    pub fn covers(&self, other: &Self) -> bool {
        self.fits(&other.base) && (self.below || !other.below)
    }

    /// Whole segments are compared: `/api/**` is not for `/apifoo`.
    pub fn fits(&self, path: &str) -> bool {
        match path.strip_prefix(&self.base) {
            Some("" | "/") => true,
            Some(rest) => self.below && rest.starts_with('/'),
            None => false,
        }
    }
}

/// As it is set, in the spelling that requests have.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.base, self.below) {
            ("", false) => f.write_str("/"),
            (base, below) => write!(f, "{base}{}", if below { "/**" } else { "" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_shown_as_it_is_set() {
        for pattern in ["/", "/**", "/health", "/api/**"] {
            assert_eq!(Pattern::parse(pattern).unwrap().to_string(), pattern);
        }
        assert_eq!(Pattern::parse("/a/").unwrap().to_string(), "/a");
    }

    #[test]
    fn a_pattern_compares_whole_segments() {
        for (pattern, fitting, not) in [
            (
                "/api/**",
                &["/api", "/api/", "/api/x", "/api/x/y/"][..],
                &["/apifoo", "/API/x", "/", "/x/api"][..],
            ),
            ("/health", &["/health", "/health/"], &["/health/x", "/healthy", "/Health", "/"]),
            ("/**", &["/", "/x", "/x/y"], &[]),
            ("/", &["/"], &["/x"]),
            ("/a|b/%40me/**", &["/a%7Cb/@me", "/a%7Cb/@me/x"], &["/a%7Cb"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for path in fitting {
                assert!(parsed.fits(path), "{pattern} {path}");
            }
            for path in not {
                assert!(!parsed.fits(path), "{pattern} {path}");
            }
        }
        for (one, other, covers) in [
            ("/**", "/api/**", true),
            ("/**", "/", true),
            ("/**", "/**", true),
            ("/api/**", "/api", true),
            ("/api/**", "/api/", true),
            ("/api/**", "/api/x/**", true),
            ("/api/**", "/apifoo", false),
            ("/api/**", "/**", false),
            ("/api/x", "/api/**", false),
            ("/api", "/api", true),
            ("/api", "/api/", true),
            ("/api", "/api/**", false),
            ("/", "/", true),
            ("/", "/x", false),
            ("/", "/**", false),
        ] {
            let parsed = |text| Pattern::parse(text).unwrap();
            assert_eq!(parsed(one).covers(&parsed(other)), covers, "{one} {other}");
        }
        for bad in ["", "api", "/a/../b", "/a//b", "/a/*", "/*/a", "/a%2fb", "/a%2a", "/a;b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
