//! A browser sends cookies along with whatever any page asks it to, so a request that is known by its cookie and may
//! change something must come from a page of ours (Duende GHSA-4j63-5v5f-xcc4 tells what happens otherwise).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{client::Scheme, refusal::Refusal, settings::Origin};

/// What browsers say of who asks (Fetch Metadata); a page can't set it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The pages that are ours.
#[derive(Clone)]
pub struct OwnPages(Arc<[HeaderValue]>);

impl OwnPages {
    /// Pages of the origins that CORS allows, and of the gateway's own.
    pub fn new(allowed: &[Origin]) -> Self {
        Self(allowed.iter().map(|origin| origin.0.clone()).collect())
    }

    /// Refuses a request that may change something, unless it says that it comes from a page of ours.
    ///
    /// One that says nothing is refused too: browsers have sent `Origin` with such requests for years, and whatever is
    /// no browser can send a bearer token.
    pub fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        host: &str,
        scheme: Option<Scheme>,
    ) -> Result<(), Refusal> {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        let ours = match (origins.next(), origins.next()) {
            (Some(origin), None) => self.0.contains(origin) || is_of(origin, host, scheme),
            (None, _) => headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin"),
            (Some(_), Some(_)) => false,
        };
        if ours { Ok(()) } else { Err(Refusal::CrossSite) }
    }
}

/// Whether a page's origin is the host that it asks. Which of the two schemes that is, only a proxy before us knows: where one that
/// we trust says it, the other is foreign.
fn is_of(origin: &HeaderValue, host: &str, scheme: Option<Scheme>) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let Some((said, name)) = origin.split_once("://") else { return false };
    let known = scheme.map_or(matches!(said, "http" | "https"), |scheme| said == scheme.as_str());
    known && name.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_trusted_proxy_says_the_scheme_a_page_of_the_other_one_is_foreign() {
        let pages = OwnPages::new(&[]);
        for (origin, scheme, want) in [
            ("https://api.test", Some(Scheme::Https), true),
            ("http://api.test", Some(Scheme::Https), false),
            ("http://api.test", Some(Scheme::Http), true),
            ("https://api.test", Some(Scheme::Http), false),
            ("ftp://api.test", None, false),
        ] {
            let headers = [(header::ORIGIN, origin.parse().unwrap())].into_iter().collect();
            let checked = pages.check(&Method::POST, &headers, "api.test", scheme).is_ok();
            assert_eq!(checked, want, "{origin} {scheme:?}");
        }
    }

    #[test]
    fn only_a_page_of_ours_changes_something_by_a_cookie() {
        let pages = OwnPages::new(&[Origin(HeaderValue::from_static("http://localhost:3000"))]);
        let check = |method: &Method, fields: &[(HeaderName, &str)]| {
            let headers = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            pages.check(method, &headers, "api.test:8000", None).is_ok()
        };
        let origin = |value| (header::ORIGIN, value);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(check(&method, &[origin("http://localhost:3000")]));
            assert!(check(&method, &[origin("https://api.test:8000")]));
            assert!(check(&method, &[origin("http://api.test:8000")]));
            assert!(check(&method, &[(FETCH_SITE, "same-origin")]));
            for foreign in [
                "https://evil.example",
                "null",
                "https://api.test:8000.evil.example",
                "http://localhost:3001",
                "",
            ] {
                assert!(!check(&method, &[origin(foreign)]), "{foreign}");
                assert!(!check(&method, &[origin(foreign), (FETCH_SITE, "same-origin")]), "{foreign}");
            }
            assert!(!check(&method, &[origin("http://localhost:3000"), origin("https://evil.example")]));
            for site in ["cross-site", "same-site", "none", ""] {
                assert!(!check(&method, &[(FETCH_SITE, site)]), "{site}");
            }
            assert!(!check(&method, &[]));
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(check(&method, &[]));
            assert!(check(&method, &[origin("https://evil.example")]), "CORS keeps the answer from the page");
        }
    }
}
