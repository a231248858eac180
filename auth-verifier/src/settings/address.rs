//! As whom Better Auth is asked: by its own name, wherever it is asked.
//!
//! One that knows itself by several names (`baseURL: { allowedHosts: […] }`) answers by none but those, and its keys neither.

use std::time::Duration;

use chassis::{
    outbound::client::{self, Client},
    settings::{ServiceUrl, SettingsError},
};
use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use url::{Position, Url};

use super::{Settings, Trusted, api_path};

/// Who vouches for Better Auth.
pub(crate) const CA_FILE: &str = "AUTH_VERIFIER_BETTER_AUTH__CA_FILE";

const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl Settings {
    /// The headers that say as whom Better Auth is asked at `url`: none where that is its own address.
    pub fn address_headers(&self, url: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let stated = self.better_auth.host.as_ref();
        let Some(host) = stated.cloned().or_else(|| self.public_host(url)) else { return headers };
        headers.insert(header::HOST, host);
        // As any proxy would: what it is called for the browser, its cookies too, hangs on that.
        if let Some(public) = &self.better_auth.url {
            let https = public.url().scheme() == "https";
            headers.insert(PROTO, HeaderValue::from_static(if https { "https" } else { "http" }));
        }
        headers
    }

    /// The host of `BETTER_AUTH_URL`, where `url` is the same path at another address: the same Better Auth, asked from
    /// within. Another path may be anybody's.
    fn public_host(&self, url: &str) -> Option<HeaderValue> {
        let public = self.better_auth.url.as_ref()?;
        let api = Url::parse(&public.join(api_path(public))).ok()?;
        let asked = Url::parse(url).ok()?;
        let below = asked.path().strip_prefix(api.path().trim_end_matches('/'))?;
        let elsewhere = asked.origin() != api.origin() && below.starts_with('/');
        elsewhere.then(|| HeaderValue::from_str(authority(public)).ok()).flatten()
    }

    /// A client for Better Auth, whose connections must stand within `connect`.
    pub fn client(&self, connect: Duration) -> Result<Client, SettingsError> {
        let client = client::trusting(self.better_auth.ca_file.as_deref(), connect);
        client.map_err(|why| SettingsError::new(CA_FILE, why))
    }

    pub(super) fn check_address(&self) -> Result<(), SettingsError> {
        let Some(file) = &self.better_auth.ca_file else { return Ok(()) };
        client::roots(file).map(drop).map_err(|why| SettingsError::new(CA_FILE, why))
    }
}

impl Trusted {
    /// A client for its keys.
    pub fn client(&self, connect: Duration) -> Result<Client, SettingsError> {
        let client = client::trusting(self.ca_file.as_deref(), connect);
        client.map_err(|why| SettingsError::new("AUTH_VERIFIER_CONFIG: trusted[].ca_file", why))
    }
}

/// Host and port, the port only where it must be said.
fn authority(url: &ServiceUrl) -> &str {
    &url.url()[Position::BeforeHost..Position::AfterPort]
}

/// `None` where it is left empty.
pub(super) fn host<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<HeaderValue>, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let plain = text.parse::<Authority>().ok().filter(|_| !text.contains('@'));
    let value = plain.and_then(|_| HeaderValue::from_str(&text).ok());
    value
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("must be a host, such as app.example.com or localhost:3000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: (&str, &str) = ("BETTER_AUTH_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn");

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
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
            let headers = load(variables).unwrap().address_headers(asked);
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
