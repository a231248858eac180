//! Protection against cross-site request forgery (CSRF): a browser sends cookies along with whatever any page asks it to
//! (Duende GHSA-4j63-5v5f-xcc4 shows what follows).
//!
//! A request passes if one of these holds, in this order:
//!
//! 1. Its caller is not known by a cookie: nobody is (a public route), or by a bearer token, which no browser sends by itself.
//! 2. Its method is `GET`, `HEAD` or `OPTIONS`. It changes nothing, and CORS keeps the answer from the page.
//! 3. It has exactly one `Origin`, and that is byte for byte one of the trusted origins (`CORS_ALLOWED_ORIGINS`).
//! 4. It has exactly one `Origin`, whose host and port are those that the request names, and whose scheme is the one by which
//!    the client asked, where a trusted proxy tells it.
//! 5. It has no `Origin`, and `Sec-Fetch-Site` is `same-origin`.
//!
//! These are the rules of Go 1.25's [`CrossOriginProtection`] (by Filippo Valsorda, <https://words.filippo.io/csrf/>) and of
//! tower-http's `csrf`, but stricter where we know more:
//!
//! - A request with neither header passes there, for the sake of clients that are no browsers; here it is refused. Browsers have
//!   sent `Origin` with such requests for years, and other clients can send a bearer token.
//! - There `Sec-Fetch-Site` is asked first, and `none` passes; here a foreign `Origin` is never overruled, and `none` (a user
//!   typed the address) doesn't go with a method that changes something.
//! - There rule 4 ignores the scheme; here `http` is foreign to `https`, where the scheme is known.
//!
//! Deployment caveat: a proxy in front must pass `Host` and `Origin` on unchanged, or be listed in
//! `GATEWAY_SERVER__TRUSTED_PROXIES` for its `X-Forwarded-Proto`.
//!
//! [`CrossOriginProtection`]: https://pkg.go.dev/net/http#CrossOriginProtection

use chassis::header::{NotSingle, single};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use thiserror::Error;

use crate::{
    authenticate::{Authenticated, Caller},
    client::{Client, Scheme},
};

/// What browsers say of the page that asks (Fetch Metadata); a page can't set it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origins whose pages may change something by a cookie, besides the gateway's own.
pub struct TrustedOrigins(Box<[HeaderValue]>);

/// A request that no foreign page can have forged. Only this file makes one.
pub struct CsrfChecked(Authenticated);

/// Why a request may have been forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CsrfError {
    /// It comes from a page of another origin.
    #[error("the page's origin is not trusted")]
    ForeignOrigin,
    /// It names more than one origin.
    #[error("the request has more than one Origin")]
    ManyOrigins,
    /// It names no origin, and the browser does not say that it is the same one.
    #[error("the request does not say from which page it comes")]
    NoOrigin,
}

impl CsrfError {
    /// The value of the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ForeignOrigin => "foreign_origin",
            Self::ManyOrigins => "many_origins",
            Self::NoOrigin => "no_origin",
        }
    }
}

impl TrustedOrigins {
    /// Trusts `origins`, and each request's own host.
    pub fn new(origins: impl IntoIterator<Item = HeaderValue>) -> Self {
        Self(origins.into_iter().collect())
    }

    /// Checks a request by the rules above.
    pub fn check(&self, authenticated: Authenticated) -> Result<CsrfChecked, CsrfError> {
        // Rule 1. A credential of a kind that is not told counts as a cookie.
        if authenticated.caller().is_some_and(|caller: &Caller| !caller.is_by_bearer()) {
            let routed = authenticated.sanitized().admitted().routed();
            self.allow(&routed.head().method, &routed.head().headers, routed.client())?;
        }
        Ok(CsrfChecked(authenticated))
    }

    /// Rules 2 to 5.
    fn allow(&self, method: &Method, headers: &HeaderMap, client: &Client) -> Result<(), CsrfError> {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        match single(headers, &header::ORIGIN) {
            Ok(origin) if self.0.contains(origin) || is_own(origin, client) => Ok(()),
            Ok(_) => Err(CsrfError::ForeignOrigin),
            Err(NotSingle::Missing) if headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin") => {
                Ok(())
            }
            Err(NotSingle::Missing) => Err(CsrfError::NoOrigin),
            Err(NotSingle::Repeated) => Err(CsrfError::ManyOrigins),
        }
    }
}

/// Whether a page's origin is the host that it asks.
fn is_own(origin: &HeaderValue, client: &Client) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    let scheme_fits =
        client.scheme().map_or(matches!(scheme, "http" | "https"), |known: Scheme| scheme == known.as_str());
    scheme_fits && host.as_bytes().eq_ignore_ascii_case(client.host().as_bytes())
}

impl CsrfChecked {
    pub(crate) fn authenticated_mut(&mut self) -> &mut Authenticated {
        &mut self.0
    }

    /// The request, and who is calling.
    pub(crate) fn into_inner(self) -> Authenticated {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_trusted_proxy_says_the_scheme_a_page_of_the_other_one_is_foreign() {
        let origins = TrustedOrigins::new([]);
        for (origin, scheme, want) in [
            ("https://api.test", Some(Scheme::Https), true),
            ("http://api.test", Some(Scheme::Https), false),
            ("http://api.test", Some(Scheme::Http), true),
            ("https://api.test", Some(Scheme::Http), false),
            ("ftp://api.test", None, false),
        ] {
            let headers = [(header::ORIGIN, origin.parse().unwrap())].into_iter().collect();
            let client = Client::named("api.test", scheme);
            let checked = origins.allow(&Method::POST, &headers, &client).is_ok();
            assert_eq!(checked, want, "{origin} {scheme:?}");
        }
    }

    #[test]
    fn only_a_page_of_a_trusted_origin_changes_something_by_a_cookie() {
        let origins = TrustedOrigins::new([HeaderValue::from_static("http://localhost:3000")]);
        let why = |method: &Method, fields: &[(HeaderName, &str)]| {
            let headers = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            origins.allow(method, &headers, &Client::named("api.test:8000", None))
        };
        let check = |method: &Method, fields: &[(HeaderName, &str)]| why(method, fields).is_ok();
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
            assert_eq!(why(&method, &[]), Err(CsrfError::NoOrigin));
            assert_eq!(why(&method, &[origin("null")]), Err(CsrfError::ForeignOrigin));
            let two = [origin("http://localhost:3000"), origin("http://localhost:3000")];
            assert_eq!(why(&method, &two), Err(CsrfError::ManyOrigins), "even the same one");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(check(&method, &[]));
            assert!(check(&method, &[origin("https://evil.example")]), "CORS keeps the answer from the page");
        }
    }
}
