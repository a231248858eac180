//! The name by which Better Auth is asked: its public one, wherever it is reached.
//!
//! One that knows itself by several names (`baseURL: { allowedHosts: […] }`) answers to no other, not even with its
//! keys.

use std::time::Duration;

use chassis::{
    outbound::client::{self, Client, Trust},
    settings::ServiceUrl,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::{Position, Url};

const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The path of Better Auth's API where its base URL has none (`packages/better-auth/src/utils/url.ts`, `withPath`).
const API_PATH: &str = "/api/auth";

/// How Better Auth is reached.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Its base URL, as the browser knows it.
    pub(crate) public: Option<ServiceUrl>,
    /// The `Host` that it is asked with, where that is set apart.
    pub(crate) host: Option<HeaderValue>,
    /// The certificates that vouch for it.
    pub(crate) trust: Trust,
}

impl Address {
    /// The URL of `path` in its API, where its base URL is known.
    pub(crate) fn api(&self, path: &str) -> Option<String> {
        self.public.as_ref().map(|base| base.join(&format!("{}{path}", api_path(base))))
    }

    /// The headers by which a request to `url` names it; none where `url` is its own address.
    pub(crate) fn headers(&self, url: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(host) = self.host.clone().or_else(|| self.public_host(url)) else { return headers };
        headers.insert(header::HOST, host);
        // As any proxy would: the names of its cookies depend on it, too.
        if let Some(public) = &self.public {
            let https = public.url().scheme() == "https";
            headers.insert(PROTO, HeaderValue::from_static(if https { "https" } else { "http" }));
        }
        headers
    }

    /// The host of the base URL, where `url` is the same path at another address: the same Better Auth, asked from
    /// within. Another path may be anybody's.
    fn public_host(&self, url: &str) -> Option<HeaderValue> {
        let public = self.public.as_ref()?;
        let api = Url::parse(&self.api("")?).ok()?;
        let asked = Url::parse(url).ok()?;
        let below = asked.path().strip_prefix(api.path().trim_end_matches('/'))?;
        let elsewhere = asked.origin() != api.origin() && below.starts_with('/');
        // Host and port, the port only where it must be said.
        let host = &public.url()[Position::BeforeHost..Position::AfterPort];
        elsewhere.then(|| HeaderValue::from_str(host).ok()).flatten()
    }

    /// A client for it, whose connections must stand within `connect`.
    pub(crate) fn client(&self, connect: Duration) -> Client {
        client::trusting(&self.trust, connect)
    }
}

/// The path between a base URL and its API: none, if the URL has a path of its own.
fn api_path(base: &ServiceUrl) -> &'static str {
    match base.url().path() {
        "" | "/" => API_PATH,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Plan, Settings};

    const SECRET: (&str, &str) = ("BETTER_AUTH_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn");

    fn load(variables: &[(&str, &str)]) -> Result<Plan, String> {
        let variables = variables.iter().chain([&SECRET]).copied().collect();
        chassis::settings::load::<Settings>(&variables).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_asked_by_its_own_name_wherever_it_is_asked() {
        let public = |url| ("BETTER_AUTH_URL", url);
        let stated = ("AUTH_VERIFIER_BETTER_AUTH__HOST", "b.test:8443");
        let inner = "http://frontend:3000/api/auth/jwks";
        for (variables, asked, want) in [
            (&[public("https://a.test")][..], inner, Some(("a.test", "https"))),
            (&[public("http://localhost:3000")], inner, Some(("localhost:3000", "http"))),
            (&[public("https://a.test:443/api/auth")], inner, Some(("a.test", "https"))),
            (&[public("https://a.test/id")], "http://frontend/id/get-session?a=b", Some(("a.test", "https"))),
            (&[public("https://a.test")], "http://a.test/api/auth/jwks", Some(("a.test", "https"))),
            // Itself, or perhaps somebody else.
            (&[public("https://a.test")], "https://a.test/api/auth/jwks", None),
            (&[public("https://a.test")], "https://keys.test/jwks.json", None),
            (&[public("https://a.test")], "http://frontend/api/authentic/jwks", None),
            (&[public("https://a.test/id")], inner, None),
            (&[public("https://a.test"), stated], inner, Some(("b.test:8443", "https"))),
            (
                &[public("https://a.test"), stated],
                "https://keys.test/jwks.json",
                Some(("b.test:8443", "https")),
            ),
        ] {
            let headers = load(variables).unwrap().better_auth.headers(asked);
            let told = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let found = told(&header::HOST).zip(told(&PROTO));
            let want = want.map(|(host, proto): (&str, &str)| (host.to_owned(), proto.to_owned()));
            assert_eq!(found, want, "{variables:?}, {asked}");
        }
    }

    #[test]
    fn a_host_that_is_none_does_not_start() {
        for good in ["a.test", "localhost:3000", "[::1]:3000", ""] {
            load(&[("AUTH_VERIFIER_BETTER_AUTH__HOST", good)]).unwrap();
        }
        for bad in ["https://a.test", "a.test/api", "a b", "a.test\r\nx: y", "u@a.test", "a.test?b"] {
            let error = load(&[("AUTH_VERIFIER_BETTER_AUTH__HOST", bad)]).unwrap_err();
            assert!(error.contains("AUTH_VERIFIER_BETTER_AUTH__HOST"), "{error}");
        }
        let error = load(&[("AUTH_VERIFIER_BETTER_AUTH__CA_FILE", "/nowhere/ca.pem")]).unwrap_err();
        assert!(error.starts_with("AUTH_VERIFIER_BETTER_AUTH__CA_FILE: /nowhere/ca.pem"), "{error}");
    }
}
