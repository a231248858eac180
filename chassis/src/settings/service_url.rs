//! The URL of a service, as our HTTP client can really use it.

use serde::{Deserialize, Deserializer};
use url::{Host, Url};

/// The longest name, and the longest part of one between dots, that DNS has (RFC 1035 §2.3.4).
const NAME_CHARS_MAX: usize = 253;
const LABEL_CHARS_MAX: usize = 63;

/// A URL of a service: `http` or `https`, with a host, and neither user, query nor fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl(Url);

impl ServiceUrl {
    /// Reads a URL; the error says what is wrong without repeating the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.contains("${") || text.contains("$(") {
            return Err("has a placeholder in it that nobody replaced");
        }
        // A browser's URL forgives what nobody means: line breaks are left out, a backslash counts as a slash.
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err("has a space, a line break or a backslash in it");
        }
        let url = Url::parse(text).map_err(|_| "is not a URL such as http://127.0.0.1:8001")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with http:// or https://");
        }
        let behind_scheme = text.get(url.scheme().len()..).and_then(|rest| rest.strip_prefix("://"));
        if behind_scheme.is_none_or(|rest| rest.starts_with('/')) {
            return Err("is not a URL such as http://127.0.0.1:8001");
        }
        let plain = url.username().is_empty() && url.password().is_none() && !text.contains('@');
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return Err("must be scheme, host, port and path alone");
        }
        if !url.host().is_some_and(|host| is_host(&host)) {
            return Err("names a host that can't be one");
        }
        if url.port() == Some(0) {
            return Err("has port 0, where nobody listens");
        }
        // What the client sends a request by has narrower rules than what a browser understands.
        if url.as_str().parse::<http::Uri>().is_err() {
            return Err("has a path with characters that must be percent-encoded");
        }
        Ok(Self(url))
    }

    /// The URL, as parsed.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// `scheme://host[:port]`: lower case, without the scheme's own port (RFC 6454 §6.2).
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// This URL with `path` behind its own.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }
}

impl<'de> Deserialize<'de> for ServiceUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// An address, or a name as DNS and the makers of container networks have them.
pub fn is_host<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Ipv4(_) | Host::Ipv6(_) => true,
        Host::Domain(name) => {
            let name = name.as_ref();
            let name = name.strip_suffix('.').unwrap_or(name);
            let is_label = |label: &str| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                (1..=LABEL_CHARS_MAX).contains(&label.len()) && label.bytes().all(plain)
            };
            name.len() <= NAME_CHARS_MAX && name.split('.').all(is_label)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_lower_case_without_the_default_port() {
        let url = ServiceUrl::parse("https://Auth.Example.com:443/api/auth/").unwrap();
        assert_eq!(url.origin(), "https://auth.example.com");
        assert_eq!(url.join("/jwks"), "https://auth.example.com/api/auth/jwks");
        for bad in ["", "localhost:3000", "ftp://a", "http://u:p@a", "http://a?b", "http://a#b"] {
            assert!(ServiceUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_read_can_be_asked() {
        for good in [
            "http://127.0.0.1:8001",
            "http://[::1]:8001",
            "http://task_service:8002",
            "http://task-service.default.svc.cluster.local.:8002",
            "https://a.test/api/auth",
            "https://a.test/%7Busers%7D",
            "http://a:65535",
            "HTTP://A.test",
            " http://a.test ",
            "http://bücher.example",
        ] {
            let url = ServiceUrl::parse(good).unwrap();
            let uri: http::Uri = url.join("/verify").parse().unwrap();
            assert!(uri.host().is_some_and(|host| !host.is_empty()), "{good}");
        }
    }

    #[test]
    fn what_can_not_be_asked_is_refused() {
        let long = format!("http://{}.test", "a".repeat(64));
        for bad in [
            "http://${VERIFIER}:8001",
            "http://$(VERIFIER):8001",
            "http://$VERIFIER:8001",
            "http://{verifier}:8001",
            "http://a..test",
            "http://.a.test",
            "http://a.test..",
            "http://",
            "http:///a",
            "http:a.test",
            "http:/a.test",
            "http:\\\\a.test",
            "http://a b",
            "http://a\n.test",
            "http://a\t.test",
            "http://a,b",
            "http://a;b",
            "http://a*",
            "http://a'b",
            "http://a\"b",
            "http://a`b",
            "http://(a)",
            "http://a=b",
            "http://a&b",
            "http://a~b",
            "http://a!",
            "http://a%24b",
            "http://a:0",
            "http://a:65536",
            "http://a:port",
            "http://a:-1",
            "http://a:80:80",
            "http://[fe80::1%25eth0]:80",
            "http://[fe80::1%eth0]:80",
            "http://[::1",
            "http://::1",
            "http://@a.test",
            "http://:@a.test",
            "http://1.2.3.4.5",
            "http://999.1.1.1",
            &long,
        ] {
            assert!(ServiceUrl::parse(bad).is_err(), "{bad:?}");
        }
    }
}
