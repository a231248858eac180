//! Protection against cross-site request forgery (CSRF): a browser sends cookies along with whatever any page asks it to
//! (Duende GHSA-4j63-5v5f-xcc4 shows what follows).
//!
//! A request passes if one of these holds, in this order:
//!
//! 1. No cookie counts: its caller is nobody (a public route), or known by a bearer token, which no browser sends by itself. Where a
//!    route passes cookies on (`forward_credentials`), they count for the service.
//! 2. Its method is `GET`, `HEAD` or `OPTIONS`. It changes nothing, and CORS keeps the answer from the page.
//! 3. It has exactly one `Origin`, and that is byte for byte one of the trusted origins (`CORS_ALLOWED_ORIGINS`). Not on a route with
//!    `cors = false`: where no page of theirs may read, none may write.
//! 4. It has exactly one `Origin`, and that is the gateway's own: one of `public_origins`, or where none are set the one whose host
//!    and port are those that the request names, and whose scheme is the one by which the client asked, where a trusted proxy tells
//!    it. What `Sec-Fetch-Site` says must not speak against that.
//! 5. It has no `Origin`, and `Sec-Fetch-Site` is `same-origin`.
//! 6. It has neither, and the mode is `fetch-metadata`: no browser has sent it.
//!
//! On a route to Neon's own Better Auth (`neon_auth`) a cookie always counts, also one that isn't there yet. Nor does rule 2 hold there for
//! what a foreign page loads (an image, a frame, a script), as its browser tells: a GET may sign somebody in. A link that is followed is
//! another matter: mails have them.
//!
//! A WebSocket is asked for by `GET`, and CORS keeps nothing of it from any page. So rule 2 does not hold for it, and an `Origin` that
//! it has must be a good one even where no cookie counts, but for a bearer token.
//!
//! These are the rules of Go 1.25's [`CrossOriginProtection`] (by Filippo Valsorda, <https://words.filippo.io/csrf/>) and of
//! tower-http's `csrf`, but stricter where we know more:
//!
//! - A request with neither header passes there, for the sake of clients that are no browsers; here only where that is set. Browsers
//!   have sent `Origin` with such requests for years, and other clients can send a bearer token.
//! - There `Sec-Fetch-Site` is asked first, and `none` passes; here a foreign `Origin` is never overruled, and `none` (a user
//!   typed the address) doesn't go with a method that changes something.
//! - There rule 4 ignores the scheme; here `http` is foreign to `https`, where the scheme is known.
//!
//! Deployment caveat: where no `public_origins` are set, a proxy in front must pass `Host` and `Origin` on unchanged, and be listed
//! in `GATEWAY_SERVER__TRUSTED_PROXIES` for its `X-Forwarded-Proto`.
//!
//! [`CrossOriginProtection`]: https://pkg.go.dev/net/http#CrossOriginProtection

use chassis::header::{NotSingle, single};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use thiserror::Error;

use crate::{
    authenticate::Authenticated,
    client::{Client, Scheme},
    permit::Permitted,
};

/// What browsers say of the page that asks (Fetch Metadata); a page can't set it.
pub(crate) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// And of how and for what it asks: a link that is followed is a navigation, for a document.
pub(crate) const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// How a request that says nothing of the page that it comes from is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CsrfMode {
    /// It is refused.
    #[default]
    Strict,
    /// It is no browser's (rule 6).
    FetchMetadata,
    /// Nothing is checked: on a public route, whose service does.
    Off,
}

/// Whose pages may call on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Those of the origins that are allowed, and the gateway's own.
    OfAllowedOrigins,
    /// The gateway's own alone (`cors = false`).
    Own,
}

/// The origins whose pages may change something by a cookie.
pub struct TrustedOrigins {
    trusted: Box<[HeaderValue]>,
    /// The gateway's own. Empty: each request's own host.
    own: Box<[HeaderValue]>,
}

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
    /// Trusts `trusted` and `own`, or where that is empty each request's own host.
    pub fn new(trusted: Vec<HeaderValue>, own: Vec<HeaderValue>) -> Self {
        Self { trusted: trusted.into(), own: own.into() }
    }

    /// Checks a request by the rules above.
    pub fn check(&self, permitted: Permitted) -> Result<CsrfChecked, CsrfError> {
        let authenticated = permitted.into_inner();
        let sanitized = authenticated.sanitized();
        let routed = sanitized.admitted().routed();
        let route = routed.route();
        // Rule 1. A credential of a kind that is not told counts as a cookie.
        let by_cookie = match authenticated.caller() {
            Some(caller) => !caller.is_by_bearer(),
            // At Neon a sign-in counts, too: no foreign page signs anybody in as somebody of its own.
            None if route.neon_auth.is_some() => true,
            None => route.forward_credentials && sanitized.credentials().are_ambient(),
        };
        let headers = &routed.head().headers;
        let tells_page = || authenticated.caller().is_none() && headers.contains_key(header::ORIGIN);
        let counts = match routed.handshake() {
            None => {
                let is_load = || route.neon_auth.is_some() && is_foreign_load(headers);
                by_cookie && (!routed.head().method.is_safe() || is_load())
            }
            Some(_) => by_cookie || tells_page(),
        };
        // No service is known to check the page of a WebSocket by itself.
        if counts && (route.csrf != CsrfMode::Off || routed.handshake().is_some()) {
            let trusted = match route.pages {
                Pages::OfAllowedOrigins => &*self.trusted,
                Pages::Own => &[],
            };
            self.allow(trusted, headers, routed.client(), route.csrf)?;
        }
        Ok(CsrfChecked(authenticated))
    }

    /// Rules 3 to 6.
    fn allow(
        &self,
        trusted: &[HeaderValue],
        headers: &HeaderMap,
        client: &Client,
        mode: CsrfMode,
    ) -> Result<(), CsrfError> {
        let mut sites = headers.get_all(FETCH_SITE).into_iter().peekable();
        let says_nothing = sites.peek().is_none();
        let is_foreign = sites.any(|site| site != "same-origin");
        match single(headers, &header::ORIGIN) {
            Ok(origin) if trusted.contains(origin) => Ok(()),
            Ok(origin) if !is_foreign && self.is_own(origin, client) => Ok(()),
            Ok(_) => Err(CsrfError::ForeignOrigin),
            Err(NotSingle::Missing) if says_nothing && mode == CsrfMode::FetchMetadata => Ok(()),
            Err(NotSingle::Missing) if says_nothing || is_foreign => Err(CsrfError::NoOrigin),
            Err(NotSingle::Missing) => Ok(()),
            Err(NotSingle::Repeated) => Err(CsrfError::ManyOrigins),
        }
    }

    /// Whether a page's origin is the gateway's.
    fn is_own(&self, origin: &HeaderValue, client: &Client) -> bool {
        if !self.own.is_empty() {
            return self.own.contains(origin);
        }
        let origin = origin.to_str().unwrap_or_default();
        let Some((scheme, host)) = origin.split_once("://") else { return false };
        let scheme_fits = client
            .scheme()
            .map_or(matches!(scheme, "http" | "https"), |known: Scheme| scheme == known.as_str());
        scheme_fits && host.as_bytes().eq_ignore_ascii_case(client.host().as_bytes())
    }
}

/// Whether the browser says that a page of another origin loads this, as a part of itself.
fn is_foreign_load(headers: &HeaderMap) -> bool {
    let says_other = |name: &HeaderName, same: &[&str]| {
        headers.get_all(name).iter().any(|value| !same.iter().any(|same| value == same))
    };
    says_other(&FETCH_SITE, &["same-origin", "none"])
        && (says_other(&FETCH_MODE, &["navigate"]) || says_other(&FETCH_DEST, &["document"]))
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

    const PAGE: &str = "http://localhost:3000";

    fn allow(
        origins: &TrustedOrigins,
        headers: &HeaderMap,
        client: &Client,
        mode: CsrfMode,
    ) -> Result<(), CsrfError> {
        origins.allow(&origins.trusted, headers, client, mode)
    }

    fn origins(own: &[&'static str]) -> TrustedOrigins {
        let own = own.iter().map(|own| HeaderValue::from_static(own)).collect();
        TrustedOrigins::new(vec![HeaderValue::from_static(PAGE)], own)
    }

    fn fields(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn origin(value: &str) -> (HeaderName, &str) {
        (header::ORIGIN, value)
    }

    #[test]
    fn where_a_trusted_proxy_says_the_scheme_a_page_of_the_other_one_is_foreign() {
        for (page, scheme, want) in [
            ("https://api.test", Some(Scheme::Https), true),
            ("http://api.test", Some(Scheme::Https), false),
            ("http://api.test", Some(Scheme::Http), true),
            ("https://api.test", Some(Scheme::Http), false),
            ("ftp://api.test", None, false),
        ] {
            let client = Client::named("api.test", scheme);
            let checked = allow(&origins(&[]), &fields(&[origin(page)]), &client, CsrfMode::Strict).is_ok();
            assert_eq!(checked, want, "{page} {scheme:?}");
        }
    }

    #[test]
    fn only_a_page_of_a_trusted_origin_changes_something_by_a_cookie() {
        let client = Client::named("api.test:8000", None);
        let why = |given: &[(HeaderName, &str)]| {
            let strict = allow(&origins(&[]), &fields(given), &client, CsrfMode::Strict);
            let lenient = allow(&origins(&[]), &fields(given), &client, CsrfMode::FetchMetadata);
            // The mode is about requests that say nothing, and about no others.
            assert!(strict == lenient || given.is_empty(), "{given:?}");
            strict
        };
        let check = |given: &[(HeaderName, &str)]| why(given).is_ok();
        assert!(check(&[origin(PAGE)]));
        assert!(check(&[origin(PAGE), (FETCH_SITE, "cross-site")]), "it is trusted, wherever it is");
        assert!(check(&[origin("https://api.test:8000")]));
        assert!(check(&[origin("http://api.test:8000"), (FETCH_SITE, "same-origin")]));
        assert!(check(&[(FETCH_SITE, "same-origin")]));
        for foreign in [
            "https://evil.example",
            "null",
            "https://api.test:8000.evil.example",
            "http://localhost:3001",
            "",
        ] {
            assert!(!check(&[origin(foreign)]), "{foreign}");
            assert!(!check(&[origin(foreign), (FETCH_SITE, "same-origin")]), "{foreign}");
        }
        assert!(!check(&[origin(PAGE), origin("https://evil.example")]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!check(&[(FETCH_SITE, site)]), "{site}");
            assert!(!check(&[(FETCH_SITE, "same-origin"), (FETCH_SITE, site)]), "{site}");
            // The browser knows better than we what is the same origin.
            assert!(!check(&[origin("http://api.test:8000"), (FETCH_SITE, site)]), "{site}");
        }
        assert_eq!(why(&[]), Err(CsrfError::NoOrigin));
        assert_eq!(why(&[origin("null")]), Err(CsrfError::ForeignOrigin));
        assert_eq!(why(&[origin(PAGE), origin(PAGE)]), Err(CsrfError::ManyOrigins), "even the same one");
        let lenient = allow(&origins(&[]), &HeaderMap::new(), &client, CsrfMode::FetchMetadata);
        assert_eq!(lenient, Ok(()), "no browser has sent it");
    }

    #[test]
    fn where_the_gateways_own_origins_are_set_a_host_that_somebody_names_is_not_one() {
        let origins = origins(&["https://app.test"]);
        let check = |host, given: &[(HeaderName, &str)]| {
            allow(&origins, &fields(given), &Client::named(host, None), CsrfMode::Strict).is_ok()
        };
        assert!(check("gateway.internal", &[origin("https://app.test")]));
        assert!(!check("app.test", &[origin("http://app.test")]));
        assert!(!check("evil.example", &[origin("http://evil.example")]));
        assert!(!check("app.test", &[origin("https://app.test"), (FETCH_SITE, "cross-site")]));
        assert!(check("app.test", &[origin(PAGE)]));
    }
}
