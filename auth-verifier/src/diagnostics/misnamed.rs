//! A session cookie that is there, but called otherwise than the settings say: said in the log, with what to set. Nobody is
//! known by it.

use http::HeaderMap;

use crate::{
    credential::cookies::Cookies,
    diagnostics::doctor,
    rejection::{Claimed, Rejection},
    session::token::SigningKeys,
    settings::Settings,
};

/// How all names of it end, whatever their prefix is.
const ENDING: &str = "session_token";

/// What the multi-session plugin calls its own, which hold what a session cookie does.
const MULTI: &str = "_multi-";

/// The most cookies of other names whose signature is checked.
const CHECKED_MAX: usize = 8;

/// What to set so that a cookie of that name is looked at; `None` if it is.
type Cure = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Finds it.
pub struct Misnamed(Cure);

impl Misnamed {
    /// By the names of settings that were checked.
    pub fn new(settings: &Settings) -> Self {
        let settings = settings.clone();
        Self(Box::new(move |name| doctor::renamed(name, &settings)))
    }

    /// The first cookie that is a session's by its name, or else by what our secret has signed.
    pub(crate) fn find(&self, headers: &HeaderMap, keys: &SigningKeys, now: u64) -> Option<Rejection> {
        let cookies = Cookies::of(headers);
        let others = || cookies.iter().filter(|(name, _)| !name.contains(MULTI));
        let by_name = || others().find(|(name, _)| name.ends_with(ENDING));
        let by_signature = || {
            let signed = others().filter(|(_, value)| value.len() > 44 && value.ends_with('='));
            signed
                .take(CHECKED_MAX)
                .find(|(_, value)| keys.open(value, now).is_some_and(|token| token.is_plain()))
        };
        let (name, _) = by_name().or_else(by_signature)?;
        Some(Rejection::OtherCookie { found: Claimed::new(name), set: (self.0)(name)? })
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::{
        secrets::Secrets,
        session::token::{SessionToken, SigningKey},
    };

    const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn";

    fn find(cookies: &str) -> Option<String> {
        let variables = [("BETTER_AUTH_SECRET", SECRET), ("BETTER_AUTH_URL", "http://a.test")];
        let settings = chassis::settings::load::<Settings>(&variables.into_iter().collect()).unwrap();
        let secret = chassis::settings::Secret::new(SECRET);
        let keys = SigningKeys::new(&Secrets::parse(None, Some(&secret)).unwrap().unwrap(), 0);
        let headers = [(header::COOKIE, cookies.parse().unwrap())].into_iter().collect();
        let found = Misnamed::new(&settings).find(&headers, &keys, 1000)?;
        let told = found.to_string();
        assert!(!told.contains("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv"), "no credential is shown: {told}");
        Some(told)
    }

    #[test]
    fn a_session_cookie_of_another_name_is_told_with_what_to_set() {
        let token = SessionToken::bare("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv").unwrap();
        let signed = SigningKey::new(SECRET).close(&token);
        let foreign = SigningKey::new("another-secret-of-at-least-32-bytes").close(&token);
        for (name, value, set) in [
            ("__Secure-better-auth.session_token", "x", Some("AUTH_VERIFIER_SESSION__SECURE_COOKIES=on")),
            ("my.session_token", "x", Some("AUTH_VERIFIER_SESSION__COOKIE_PREFIX=my")),
            ("sid", &*signed, Some("AUTH_VERIFIER_SESSION__COOKIE=sid")),
            ("sid", &foreign, None),
            ("theme", "dark", None),
            ("better-auth.session_token_multi-d9x", &signed, None),
            ("better-auth.session_token", "x", None),
        ] {
            let told = find(&format!("a=1; {name}={value}"));
            assert_eq!(told.is_some(), set.is_some(), "{name}: {told:?}");
            if let (Some(told), Some(set)) = (told, set) {
                assert!(told.contains(name) && told.contains(set), "{told}");
            }
        }
    }
}
