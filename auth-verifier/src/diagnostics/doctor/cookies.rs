//! Are Better Auth's cookies called as the settings say?
//!
//! Since 1.4 its answer to a sign-out names the cookies that it takes back, also where there was no session to end
//! (`api/routes/sign-out.ts`, `cookies/index.ts`, `deleteSessionCookie`). A sign-out without any cookie ends nothing.

use http::{Request, header};

use super::{Doctor, Finding, Report};
use crate::{
    diagnostics::pasted::SECURE,
    settings::{Lookup, Settings},
};

const NAME: &str = "cookies";

/// Compares the names. `base` is where Better Auth's API answers.
pub(super) async fn check(doctor: &Doctor<'_>, base: &str, report: &mut Report) {
    let settings = doctor.settings;
    if settings.lookup() == Lookup::Off {
        let what = "Session cookies are not accepted, so their names don't matter.";
        return report.add(NAME, [Finding::Good(what.to_owned())]);
    }
    let url = format!("{base}/sign-out");
    let request = Request::post(&url).header(header::CONTENT_TYPE, "application/json");
    let taken_back: Vec<String> = match doctor.ask(&url, request, "{}").await {
        Ok(answer) if answer.status.is_success() => taken_back(&answer.headers),
        _ => Vec::new(),
    };
    // The session's is the first, whatever it is called.
    let ending = |ending: &str| taken_back.iter().find(|name| name.ends_with(ending));
    let Some(token) = ending("session_token").or(taken_back.first()) else {
        let what = "Better Auth doesn't tell how its cookies are called (it does from 1.4 on).";
        let set = "A Cookie header on standard input shows it.";
        return report.add(NAME, [Finding::Warning(what.to_owned(), set.to_owned())]);
    };
    report.add(NAME, [judge(token, settings)]);
    let data = ending("session_data").or(taken_back.get(1));
    if let Some(data) = data.filter(|_| settings.cookie_cache.strategy.is_some())
        && !settings.cookie_names().iter().any(|names| names.data == *data)
    {
        let plain = plain(data).1;
        if renamed(token, settings).is_none() || !plain.ends_with(".session_data") {
            let what = format!(
                "Better Auth's cookie cache is called {data}, not {}.",
                settings.cookie_names()[0].data
            );
            report
                .add(NAME, [Finding::Bad(what, format!("Set AUTH_VERIFIER_COOKIE_CACHE__COOKIE={plain}."))]);
        }
    }
}

/// Names of the cookies that an answer takes back.
fn taken_back(headers: &http::HeaderMap) -> Vec<String> {
    let set = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = set.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
    pairs.filter(|(_, value)| value.is_empty()).map(|(name, _)| name.trim().to_owned()).collect()
}

/// What it means that the session cookie is called so.
pub(super) fn judge(token: &str, settings: &Settings) -> Finding {
    match renamed(token, settings) {
        None => Finding::Good(format!("The session cookie is called {token}, as expected.")),
        Some(set) => {
            let expected: Vec<_> = settings.cookie_names().into_iter().map(|names| names.token).collect();
            let what = format!(
                "The session cookie is called {}, not {}.",
                crate::rejection::Claimed::new(token),
                expected.join(" or ")
            );
            Finding::Bad(what, set)
        }
    }
}

/// What to set so that the session cookie may be called so; `None` if it may.
pub(crate) fn renamed(token: &str, settings: &Settings) -> Option<String> {
    let names = settings.cookie_names();
    if names.iter().any(|names| names.token == token) {
        return None;
    }
    let (secure, found) = plain(token);
    if !found.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("Better Auth gives its cookies no such name: look what stands in between.".to_owned());
    }
    let expected = plain(&names[0].token).1;
    let mut set = Vec::new();
    match found.strip_suffix(".session_token") {
        _ if found == expected => {}
        Some(prefix) => {
            if !settings.session.cookie.is_empty() {
                set.push("AUTH_VERIFIER_SESSION__COOKIE= (empty)".to_owned());
            }
            if prefix != settings.session.cookie_prefix {
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

/// Whether a name begins with __Secure-, and the rest of it.
fn plain(name: &str) -> (bool, &str) {
    name.strip_prefix(SECURE).map_or((false, name), |plain| (true, plain))
}

#[cfg(test)]
mod tests {
    use chassis::settings;

    use super::*;

    #[test]
    fn what_a_cookie_is_called_tells_what_to_set() {
        let secret = ("BETTER_AUTH_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn");
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
            let settings =
                settings::load::<Settings>(&variables.iter().chain([&secret]).copied().collect()).unwrap();
            let want = want.map(|set| format!("Set {set}."));
            assert_eq!(renamed(name, &settings), want, "{name} with {variables:?}");
        }
    }
}
