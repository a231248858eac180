//! Issuer and audience: is a name that a token has one of those expected, or a slip away from it?

use std::net::IpAddr;

use url::{Host, Url};

use super::Finding;
use crate::{loose::Loose, rejection::Untrusted};

/// The longest name that is handed on to be copied, in bytes.
const VALUE_BYTES_MAX: usize = 200;

/// A name that a token must have: its issuer or its audience.
pub(super) struct Party<'a> {
    /// The word for it.
    pub(super) what: &'static str,
    /// The names that are expected.
    pub(super) expected: &'a [String],
    /// The setting that lists them.
    pub(super) variable: String,
    /// Where they come from now.
    pub(super) from: From,
}

/// Where expected names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The setting that lists them.
    List,
    /// `BETTER_AUTH_URL`.
    BaseUrl,
}

impl From {
    /// Names come from a setting, unless that lists none.
    pub(super) fn of(listed: &[String]) -> Self {
        if listed.is_empty() { Self::BaseUrl } else { Self::List }
    }
}

impl Party<'_> {
    /// Whether a claim names one of those expected, or else what to set.
    pub(super) fn judge(&self, claim: &Loose) -> Finding {
        let Self { what, expected, variable, from } = self;
        let found = claim.names().unwrap_or_default();
        if let Some(good) = found.iter().find(|found| expected.contains(found)) {
            return Finding::Good(format!("Its {what} is {}, as expected.", Untrusted::new(good)));
        }
        let Some(first) = found.first() else {
            return Finding::bad(
                format!("It names no {what}."),
                "Take out of Better Auth's settings what removes it: without it a token is not accepted."
                    .to_owned(),
            );
        };
        let near = found.iter().find_map(|found| Some((&**found, nearest(found, expected)?)));
        let claimed = Untrusted::new(near.as_ref().map_or(first, |(found, _)| found));
        let what = match &near {
            Some((_, (meant, difference))) => {
                format!("Its {what} is {claimed}, which is {meant} but for {difference}.")
            }
            None if expected.is_empty() => format!("Its {what} is {claimed}, and none is accepted."),
            None => format!("Its {what} is {claimed}, not {}.", expected.join(" or ")),
        };
        let value = near.map_or(&**first, |(found, _)| found);
        // What could break a line, or a list, is not handed on to be copied.
        let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !b",'\"`$\\".contains(&byte));
        if !plain || value.len() > VALUE_BYTES_MAX {
            return Finding::bad(what, format!("Set {variable} to that, if it is what you accept."));
        }
        let listed = expected.iter().filter(|_| *from == From::List).map(String::as_str);
        let values: Vec<_> = listed.chain([value]).collect();
        Finding::bad(what, format!("If that is your Better Auth's, set {variable}={}.", values.join(",")))
    }
}

/// In which respect `found` is not `expected`, where that is little: a slip rather than another name. For the sentence
/// "it is … but for …".
fn difference(found: &str, expected: &str) -> Option<String> {
    let (Ok(a), Ok(b)) = (Url::parse(found), Url::parse(expected)) else {
        return found.eq_ignore_ascii_case(expected).then(|| "upper and lower case".to_owned());
    };
    let mut differences = Vec::new();
    if a.scheme() != b.scheme() {
        differences.push("the scheme");
    }
    if a.host() != b.host() {
        if !(is_loopback(&a) && is_loopback(&b)) {
            return None;
        }
        differences.push("the name of the machine");
    }
    if a.port() != b.port() {
        differences.push("the port");
    }
    if a.path().trim_end_matches('/') != b.path().trim_end_matches('/') {
        differences.push("the path");
    } else if found.ends_with('/') != expected.ends_with('/') {
        differences.push("the slash at the end");
    }
    if differences.is_empty() {
        let case = found.eq_ignore_ascii_case(expected);
        differences.push(if case { "upper and lower case" } else { "the port, which goes without saying" });
    }
    Some(differences.join(" and "))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

/// The first of `expected` that `found` was probably meant to be, and how it differs.
fn nearest<'a>(found: &str, expected: &'a [String]) -> Option<(&'a str, String)> {
    expected.iter().find_map(|expected| Some((&**expected, difference(found, expected)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_named_and_somebody_else_is_not_taken_for_one() {
        for (found, expected, want) in [
            ("http://a.test/", "http://a.test", Some("the slash at the end")),
            ("http://a.test", "http://a.test/", Some("the slash at the end")),
            ("http://a.test", "https://a.test", Some("the scheme")),
            ("https://a.test/api/auth", "https://a.test", Some("the path")),
            ("http://a.test:3000", "http://a.test:3001", Some("the port")),
            ("http://a.test", "http://a.test:3000", Some("the port")),
            ("http://A.test", "http://a.test", Some("upper and lower case")),
            ("HTTPS://a.test", "https://a.test", Some("upper and lower case")),
            ("https://a.test:443", "https://a.test", Some("the port, which goes without saying")),
            ("http://localhost:3000", "http://127.0.0.1:3000", Some("the name of the machine")),
            ("http://[::1]:3000", "http://localhost:3000", Some("the name of the machine")),
            (
                "https://localhost/",
                "http://127.0.0.1:3000",
                Some("the scheme and the name of the machine and the port and the slash at the end"),
            ),
            ("API", "api", Some("upper and lower case")),
            ("https://b.test", "https://a.test", None),
            ("https://a.test.evil.test", "https://a.test", None),
            ("http://localhost.evil.test", "http://localhost", None),
            ("http://192.168.0.2:3000", "http://localhost:3000", None),
            ("tasks", "api", None),
            ("", "https://a.test", None),
        ] {
            assert_eq!(difference(found, expected).as_deref(), want, "{found} for {expected}");
        }
    }

    fn issuer(expected: &[String], from: From) -> Party<'_> {
        Party { what: "issuer", expected, variable: "NAME".to_owned(), from }
    }

    #[test]
    fn a_claim_that_is_not_expected_tells_what_to_set() {
        let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let text = |name: &str| Loose::Text(name.to_owned());
        let texts = |names: &[&str]| Loose::Texts(listed(names));
        let check = |claim: Loose, expected: &[&str], was_listed: bool, what: &str, set: &str| {
            let from = if was_listed { From::List } else { From::BaseUrl };
            let finding = issuer(&listed(expected), from).judge(&claim);
            let (Finding::Bad { what: told, advice } | Finding::Warning { what: told, advice }) = &finding
            else {
                panic!("{finding:?}")
            };
            assert!(told.contains(what) && advice.contains(set), "{claim:?}: {finding:?}");
        };
        let a = &["http://a.test"];
        check(text("http://a.test/"), a, false, "but for the slash at the end", "NAME=http://a.test/.");
        check(text("https://a.test"), a, false, "but for the scheme", "NAME=https://a.test.");
        check(text("https://a.test"), a, true, "but for the scheme", "NAME=http://a.test,https://a.test.");
        check(text("http://a.test/api/auth"), a, false, "but for the path", "NAME=http://a.test/api/auth.");
        check(texts(&["x", "http://a.test:1"]), a, false, "but for the port", "NAME=http://a.test:1.");
        check(text("tasks"), a, false, "\"tasks\", not http://a.test", "NAME=tasks.");
        check(text("tasks"), &[], false, "none is accepted", "NAME=tasks.");
        check(Loose::Nothing, a, false, "names no issuer", "");
        check(texts(&[]), a, false, "names no issuer", "");
        check(text("a\n\u{1b}[31m'; rm"), a, false, r"\n\u{1b}", "Set NAME to that");
        let good = issuer(&listed(a), From::BaseUrl).judge(&texts(&["x", "http://a.test"]));
        assert!(matches!(good, Finding::Good(_)), "{good:?}");
    }
}
