//! A session cookie that is there, but under another name than the settings say. It identifies no user; the log says
//! what to set.

use chassis::clock::UnixSeconds;
use http::HeaderMap;

use crate::{
    credential::{
        cookies::{CookieNames, Cookies},
        kind::{SECURE, split_signed},
    },
    rejection::{Rejection, Untrusted},
    session::token::SigningKeys,
};

/// The ending of the session cookie's name, whatever its prefix is.
const ENDING: &str = "session_token";

/// The multi-session plugin's own cookies, which hold the same as a session cookie.
const MULTI: &str = "_multi-";

/// The most cookies of other names whose signature is checked.
const CHECKED_MAX: usize = 8;

/// The names of Better Auth's cookies, and the settings that they come from.
#[derive(Clone, Debug)]
pub(crate) struct CookieNaming {
    /// The names, in the order in which they are looked for. There is at least one.
    pub(crate) names: Vec<CookieNames>,
    /// `AUTH_VERIFIER_SESSION__COOKIE_PREFIX`.
    pub(crate) prefix: String,
    /// `AUTH_VERIFIER_SESSION__COOKIE`, the session cookie's whole name; may be empty.
    pub(crate) own: String,
}

impl CookieNaming {
    /// The first cookie that looks like a session's by its name, or else by our signature on its value.
    pub(crate) fn find_misnamed(
        &self,
        headers: &HeaderMap,
        keys: &SigningKeys,
        now: UnixSeconds,
    ) -> Option<Rejection> {
        let cookies = Cookies::of(headers);
        let others = || cookies.iter().filter(|(name, _)| !name.contains(MULTI));
        let by_name = || others().find(|(name, _)| name.ends_with(ENDING));
        let by_signature = || {
            let signed = others().filter(|(_, value)| split_signed(value).is_some());
            signed
                .take(CHECKED_MAX)
                .find(|(_, value)| keys.verify(value, now).is_some_and(|token| token.is_plain()))
        };
        let (name, _) = by_name().or_else(by_signature)?;
        Some(Rejection::OtherCookie { found: Untrusted::new(name), set: self.to_set(name)? })
    }

    /// What to set so that the session cookie may be called `token`; `None` if it may.
    pub(crate) fn to_set(&self, token: &str) -> Option<String> {
        let names = &self.names;
        if names.iter().any(|names| names.token == token) {
            return None;
        }
        let (secure, found) = plain(token);
        if !found.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(
                "Better Auth gives its cookies no such name: look what stands in between.".to_owned(),
            );
        }
        if is_neons(found) {
            return Some(
                "It is Neon Auth's: set NEON_AUTH_BASE_URL to the Auth URL of Neon's console.".to_owned(),
            );
        }
        let is_expected = names.iter().any(|names| plain(&names.token).1 == found);
        let mut set = Vec::new();
        match found.strip_suffix(".session_token") {
            _ if is_expected => {}
            Some(prefix) => {
                if !self.own.is_empty() {
                    set.push("AUTH_VERIFIER_SESSION__COOKIE= (empty)".to_owned());
                }
                if prefix != self.prefix {
                    set.push(format!("AUTH_VERIFIER_SESSION__COOKIE_PREFIX={prefix}"));
                }
            }
            None => set.push(format!("AUTH_VERIFIER_SESSION__COOKIE={found}")),
        }
        if !names.iter().any(|names| names.token.starts_with(SECURE) == secure) {
            let on = if secure { "on" } else { "off" };
            set.push(format!("AUTH_VERIFIER_SESSION__SECURE_COOKIES={on}"));
        }
        Some(format!("Set {}.", set.join(" and ")))
    }
}

/// Whether a session cookie's name, less `__Secure-`, is one that Neon Auth's has.
fn is_neons(name: &str) -> bool {
    ["neon-auth.session_token", "neonauth.session_token"].contains(&name)
}

/// Whether a name begins with `__Secure-`, and the rest of it.
pub(crate) fn plain(name: &str) -> (bool, &str) {
    name.strip_prefix(SECURE).map_or((false, name), |plain| (true, plain))
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::{
        secrets::Secrets,
        session::token::{SessionToken, SigningKey},
        settings::Plan,
        settings::Settings,
    };

    const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn";

    fn plan(variables: &[(&str, &str)]) -> Plan {
        let all = variables.iter().chain(&[("BETTER_AUTH_SECRET", SECRET)]).copied().collect();
        chassis::settings::load::<Settings>(&all).unwrap()
    }

    fn find(cookies: &str) -> Option<String> {
        let plan = plan(&[("BETTER_AUTH_URL", "http://a.test")]);
        let secret = chassis::settings::Secret::new(SECRET);
        let keys = SigningKeys::new(&Secrets::parse(None, Some(&secret)).unwrap().unwrap(), UnixSeconds(0));
        let headers = [(header::COOKIE, cookies.parse().unwrap())].into_iter().collect();
        let found = plan.cookies.find_misnamed(&headers, &keys, UnixSeconds(1000))?;
        let told = found.to_string();
        assert!(!told.contains("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv"), "no credential is shown: {told}");
        Some(told)
    }

    #[test]
    fn a_session_cookie_of_another_name_is_told_with_what_to_set() {
        let token = SessionToken::bare("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv").unwrap();
        let signed = SigningKey::new(SECRET).sign(&token);
        let foreign = SigningKey::new("another-secret-of-at-least-32-bytes").sign(&token);
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

    #[test]
    fn what_a_cookie_is_called_tells_what_to_set() {
        let (http, https) = (("BETTER_AUTH_URL", "http://a.test"), ("BETTER_AUTH_URL", "https://a.test"));
        let own = ("AUTH_VERIFIER_SESSION__COOKIE", "sid");
        for (variables, name, want) in [
            (&[http][..], "better-auth.session_token", None),
            (&[https], "__Secure-better-auth.session_token", None),
            (&[], "better-auth.session_token", None),
            (&[], "__Secure-better-auth.session_token", None),
            (&[http, own], "sid", None),
            (&[http], "my.session_token", Some("AUTH_VERIFIER_SESSION__COOKIE_PREFIX=my")),
            (&[http], "a.b.session_token", Some("AUTH_VERIFIER_SESSION__COOKIE_PREFIX=a.b")),
            (&[http], "sid", Some("AUTH_VERIFIER_SESSION__COOKIE=sid")),
            (&[http], "__Secure-better-auth.session_token", Some("AUTH_VERIFIER_SESSION__SECURE_COOKIES=on")),
            (&[https], "better-auth.session_token", Some("AUTH_VERIFIER_SESSION__SECURE_COOKIES=off")),
            (
                &[https],
                "my.session_token",
                Some("AUTH_VERIFIER_SESSION__COOKIE_PREFIX=my and AUTH_VERIFIER_SESSION__SECURE_COOKIES=off"),
            ),
            (
                &[https],
                "__Host-sid",
                Some(
                    "AUTH_VERIFIER_SESSION__COOKIE=__Host-sid and AUTH_VERIFIER_SESSION__SECURE_COOKIES=off",
                ),
            ),
            (
                &[https],
                "__Host-my.session_token",
                Some(
                    "AUTH_VERIFIER_SESSION__COOKIE_PREFIX=__Host-my and AUTH_VERIFIER_SESSION__SECURE_COOKIES=off",
                ),
            ),
            (&[http, own], "better-auth.session_token", Some("AUTH_VERIFIER_SESSION__COOKIE= (empty)")),
        ] {
            let want = want.map(|set| format!("Set {set}."));
            assert_eq!(plan(variables).cookies.to_set(name), want, "{name} with {variables:?}");
        }
    }
}
