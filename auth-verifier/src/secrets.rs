//! The secrets that Better Auth signs and encrypts with: one, or several versions of which the first is current.
//!
//! What is signed by HMAC (session cookies, HS256 tokens, two forms of the cookie cache) is good under the current
//! secret alone; what is encrypted opens under any, as in Better Auth (`context/secret-utils.ts`).

use chassis::settings::{self, Secret, SettingsError};

/// The secret that Better Auth falls back to where none was set. It stands in its source, so everybody knows it
/// (`packages/better-auth/src/utils/constants.ts`).
const PUBLIC_SECRET: &str = "better-auth-secret-12345678901234567890";

/// An HMAC-SHA256 key must be as long as its output (RFC 7518 §3.2).
const BYTES_MIN: usize = 32;

/// The secrets, the current one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Reads `BETTER_AUTH_SECRETS` (`2:new,1:old`) and `BETTER_AUTH_SECRET`, which is the oldest where there are
    /// versions. `None` where neither is set. An error names the variable, and never shows what is in it.
    pub fn parse(versions: Option<&Secret>, single: Option<&Secret>) -> Result<Option<Self>, SettingsError> {
        let mut secrets = Vec::new();
        if let Some(versions) = versions {
            let mut seen = Vec::new();
            for entry in versions.expose().split(',').map(str::trim) {
                let wrong = |reason: &str| SettingsError::new("BETTER_AUTH_SECRETS", reason);
                let (version, value) = entry.split_once(':').ok_or_else(|| {
                    wrong("must be versions such as 2:current,1:previous, the current one first")
                })?;
                let version: u32 =
                    version.trim().parse().map_err(|_| wrong("has a version that is not a whole number"))?;
                if seen.contains(&version) {
                    return Err(wrong("has one version twice"));
                }
                seen.push(version);
                secrets.push(checked("BETTER_AUTH_SECRETS", value)?);
            }
        }
        if let Some(single) = single {
            let single = checked("BETTER_AUTH_SECRET", single.expose())?;
            if !secrets.contains(&single) {
                secrets.push(single);
            }
        }
        Ok((!secrets.is_empty()).then_some(Self(secrets)))
    }

    /// What Better Auth signs with now.
    pub fn current(&self) -> &str {
        self.0[0].expose()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Secret::expose)
    }
}

/// Refuses a secret that is none. `name` is the variable that it came by.
pub fn checked(name: &str, value: &str) -> Result<Secret, SettingsError> {
    if let Some(reason) = settings::brought_along(value) {
        return Err(SettingsError::new(name, reason));
    }
    let made = "; `openssl rand -base64 32` makes a good one";
    if value == PUBLIC_SECRET {
        return Err(SettingsError::new(
            name,
            format!("is Better Auth's default, which everybody knows{made}"),
        ));
    }
    if value.len() < BYTES_MIN {
        return Err(SettingsError::new(name, format!("must be at least {BYTES_MIN} bytes{made}")));
    }
    Ok(Secret::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "new-new-new-new-new-new-new-new-";
    const OLD: &str = "old-old-old-old-old-old-old-old-";

    fn parse(versions: &str, single: &str) -> Result<Option<Vec<String>>, String> {
        let secret = |text: &str| (!text.is_empty()).then(|| Secret::new(text));
        let secrets = Secrets::parse(secret(versions).as_ref(), secret(single).as_ref());
        secrets
            .map(|secrets| secrets.map(|all| all.all().map(Into::into).collect()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_version_is_current_and_the_single_secret_the_oldest() {
        let list = |texts: &[&str]| Ok(Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()));
        assert_eq!(parse("", ""), Ok(None));
        assert_eq!(parse("", OLD), list(&[OLD]));
        assert_eq!(parse(&format!("2:{NEW},1:{OLD}"), ""), list(&[NEW, OLD]));
        assert_eq!(parse(&format!(" 7:{NEW} "), OLD), list(&[NEW, OLD]));
        assert_eq!(parse(&format!("1:{NEW}"), NEW), list(&[NEW]));
        let colon = format!("{NEW}:x");
        assert_eq!(
            parse(&format!("1:{colon}"), ""),
            list(&[&colon]),
            "only the first colon ends the version"
        );
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_not_shown() {
        for (versions, want) in [
            (NEW.to_owned(), "must be versions"),
            (format!("new:{NEW}"), "not a whole number"),
            (format!("-1:{NEW}"), "not a whole number"),
            (format!("1:{NEW},1:{OLD}"), "one version twice"),
            (format!("2:{NEW},1:{}", &OLD[1..]), "must be at least 32 bytes"),
            (format!("1:{PUBLIC_SECRET}"), "is Better Auth's default"),
            (format!("1:{NEW},"), "must be versions"),
        ] {
            let error = parse(&versions, "").unwrap_err();
            assert!(error.starts_with("BETTER_AUTH_SECRETS: ") && error.contains(want), "{error}");
            assert!(!error.contains("new-") && !error.contains("old-"), "{error}");
        }
        assert!(parse("", &OLD[1..]).unwrap_err().starts_with("BETTER_AUTH_SECRET: "));
    }
}
