//! What can be set; each one explained in `defaults.toml`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use chassis::{
    process::{Common, Service},
    serve::ServerSettings,
    settings::{self, ServiceUrl, SettingsError, Spec},
    telemetry::LogFormat,
};
use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::route::{Pattern, RouteSettings};

/// The name of the upstream that `GATEWAY_TASK_SERVICE_URL` sets.
pub const TASK_SERVICE: &str = "task-service";

/// All settings of the gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one, for operators and for us")]
pub struct Settings {
    #[serde(deserialize_with = "settings::address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "settings::address")]
    pub ops_listen: SocketAddr,
    pub log: LogFormat,
    pub auth_verifier_url: ServiceUrl,
    pub task_service_url: Urls,
    pub cors: Cors,
    pub verifier: Verifier,
    pub upstream: Upstream,
    pub limits: Limits,
    pub sanitize: Sanitize,
    pub server: ServerSettings,
    #[serde(default)]
    pub upstreams: BTreeMap<String, Urls>,
    pub routes: Vec<RouteSettings>,
}

/// The places of one upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Urls(#[serde(deserialize_with = "settings::list")] pub Vec<ServiceUrl>);

/// Which pages may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Cors {
    #[serde(deserialize_with = "settings::list")]
    pub allowed_origins: Vec<Origin>,
    #[serde(rename = "max_age_secs", deserialize_with = "settings::secs")]
    pub max_age: Duration,
}

/// An origin as browsers send it (RFC 6454 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub HeaderValue);

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        // Whoever puts a user and a password there doesn't want to read them in a log.
        let shown = if text.contains('@') { "a URL with a user" } else { &text };
        let wrong = |reason: &str| Err(serde::de::Error::custom(format!("`{shown}` {reason}")));
        if text.contains('*') {
            // With credentials a wildcard would let any page act as whoever is signed in (Fetch §3.2.5).
            return wrong(
                "is a wildcard, which can't be allowed together with credentials; list each origin",
            );
        }
        let serialized = Url::parse(&text).ok().map(|url| url.origin()).filter(url::Origin::is_tuple);
        match serialized.map(|origin| origin.ascii_serialization()) {
            Some(origin) if origin == text => Ok(Self(text.parse().map_err(serde::de::Error::custom)?)),
            Some(origin) => wrong(&format!("is not an origin as browsers send it; write {origin}")),
            None => wrong("is not an origin such as https://app.example.com"),
        }
    }
}

/// The call to auth-verifier.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Verifier {
    #[serde(rename = "connect_ms", deserialize_with = "settings::millis")]
    pub connect: Duration,
    #[serde(rename = "timeout_ms", deserialize_with = "settings::millis")]
    pub timeout: Duration,
}

/// The way to a service and back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Upstream {
    #[serde(rename = "connect_ms", deserialize_with = "settings::millis")]
    pub connect: Duration,
    #[serde(rename = "timeout_secs", deserialize_with = "settings::secs")]
    pub timeout: Duration,
    #[serde(rename = "idle_secs", deserialize_with = "settings::secs")]
    pub idle: Duration,
    #[serde(rename = "resolve_secs", deserialize_with = "settings::secs")]
    pub resolve: Duration,
    #[serde(rename = "eject_secs", deserialize_with = "settings::secs")]
    pub eject: Duration,
}

/// What a request may be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Limits {
    pub body_bytes: u64,
    pub target_bytes: usize,
    pub requests_max: usize,
}

/// What stops at the gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct Sanitize {
    #[serde(deserialize_with = "settings::list")]
    pub cookie_prefixes: Vec<String>,
}

impl Settings {
    /// Every upstream, by name.
    pub fn upstreams(&self) -> impl Iterator<Item = (&str, &Urls)> {
        let further = self.upstreams.iter().map(|(name, urls)| (&**name, urls));
        std::iter::once((TASK_SERVICE, &self.task_service_url)).chain(further)
    }
}

impl settings::Settings for Settings {
    const SPEC: Spec = Spec {
        service: "gateway",
        defaults: include_str!("../defaults.toml"),
        well_known: &[("CORS_ALLOWED_ORIGINS", "cors.allowed_origins")],
        secrets: &[],
    };

    fn check(&self) -> Result<(), SettingsError> {
        self.server.check(&Self::SPEC.prefix())?;
        let wrong = |name: &str, reason: String| Err(SettingsError::new(name, reason));
        let plain = |url: &ServiceUrl| url.url().scheme() == "http" && url.url().path() == "/";
        if self.auth_verifier_url.url().path() != "/" {
            return wrong("GATEWAY_AUTH_VERIFIER_URL", "must have no path: the gateway asks /verify".into());
        }
        for (name, Urls(urls)) in self.upstreams() {
            let setting = if name == TASK_SERVICE { "GATEWAY_TASK_SERVICE_URL" } else { name };
            if urls.is_empty() || !urls.iter().all(plain) {
                let reason =
                    "must be one or more of http://host:port; services inside are spoken to in plain HTTP";
                return wrong(setting, reason.into());
            }
        }
        if self.upstreams.contains_key(TASK_SERVICE) {
            return wrong(
                "upstreams.task-service",
                "is set by GATEWAY_TASK_SERVICE_URL (task_service_url)".into(),
            );
        }
        for (at, route) in self.routes.iter().enumerate() {
            let setting = format!("routes[{at}]");
            if let Err(reason) = Pattern::parse(&route.path) {
                return wrong(&format!("{setting}.path"), reason.into());
            }
            match (&route.answer, &route.upstream) {
                (Some(_), None) => {}
                (None, Some(name)) if self.upstreams().any(|(known, _)| known == name) => {}
                (None, Some(name)) => {
                    return wrong(&format!("{setting}.upstream"), format!("`{name}` is not in [upstreams]"));
                }
                _ => return wrong(&setting, "must have either `answer` or `upstream`".into()),
            }
        }
        for (name, value) in [
            ("GATEWAY_UPSTREAM__TIMEOUT_SECS", self.upstream.timeout),
            ("GATEWAY_UPSTREAM__IDLE_SECS", self.upstream.idle),
            ("GATEWAY_UPSTREAM__RESOLVE_SECS", self.upstream.resolve),
        ] {
            if value.is_zero() {
                return wrong(name, "must be at least 1".into());
            }
        }
        if !(1..=1_000_000).contains(&self.limits.requests_max) {
            return wrong("GATEWAY_LIMITS__REQUESTS_MAX", "must be 1 to 1000000".into());
        }
        if !(256..=self.server.head_bytes).contains(&self.limits.target_bytes) {
            let reason = "must be at least 256, and fit into GATEWAY_SERVER__HEAD_BYTES";
            return wrong("GATEWAY_LIMITS__TARGET_BYTES", reason.into());
        }
        Ok(())
    }
}

impl Service for Settings {
    const ABOUT: &'static str =
        "The one origin that the browser sees: asks who is calling, and forwards inward";

    fn common(&self) -> Common {
        Common {
            listen: self.listen,
            ops_listen: self.ops_listen,
            log: self.log,
            server: self.server.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
        settings::load(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    fn load_file(name: &str, text: &str) -> Result<Settings, String> {
        let path = std::env::temp_dir().join(format!("usher-gateway-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        load(&[("GATEWAY_CONFIG", path.to_str().unwrap())])
    }

    #[test]
    fn the_defaults_are_good() {
        let settings = load(&[]).unwrap();
        assert_eq!(
            settings.cors.allowed_origins,
            [Origin(HeaderValue::from_static("http://localhost:3000"))]
        );
        assert_eq!(settings.routes.len(), 3);
    }

    #[test]
    fn an_origin_is_exact() {
        let settings = load(&[("CORS_ALLOWED_ORIGINS", "https://a.test, http://b.test:8080")]).unwrap();
        assert_eq!(settings.cors.allowed_origins.len(), 2);
        for (bad, want) in [
            ("*", "is a wildcard"),
            ("https://*.a.test", "is a wildcard"),
            ("https://a.test/", "write https://a.test"),
            ("https://A.test", "write https://a.test"),
            ("https://a.test:443", "write https://a.test"),
            ("https://a.test/path", "write https://a.test"),
            ("null", "is not an origin"),
            (
                "http://u:hunter2@a.test",
                "`a URL with a user` is not an origin as browsers send it; write http://a.test",
            ),
            ("a.test", "is not an origin"),
            ("file:///x", "is not an origin"),
        ] {
            let error = load(&[("CORS_ALLOWED_ORIGINS", bad)]).unwrap_err();
            assert!(error.starts_with("CORS_ALLOWED_ORIGINS") && error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_setting_that_can_not_work_does_not_start() {
        for (name, value) in [
            ("GATEWAY_TASK_SERVICE_URL", "https://tasks:8002"),
            ("GATEWAY_TASK_SERVICE_URL", "http://tasks:8002/below"),
            ("GATEWAY_TASK_SERVICE_URL", ","),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://verifier:8001/verify"),
            ("GATEWAY_UPSTREAM__IDLE_SECS", "0"),
            ("GATEWAY_LIMITS__REQUESTS_MAX", "0"),
            ("GATEWAY_LIMITS__TARGET_BYTES", "40000"),
            ("GATEWAY_LIMITS__BODY_BYTES", "-1"),
            ("GATEWAY_SERVER__HEAD_BYTES", "100"),
            ("GATEWAY_LOG", "loud"),
        ] {
            let error = load(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn routes_come_from_a_file() {
        let good = "[upstreams]\nnotes = \"http://notes:1\"\n[[routes]]\npath = \"/n/**\"\nupstream = \"notes\"\naccess = \"public\"";
        assert_eq!(load_file("good.toml", good).unwrap().routes.len(), 1);
        for (name, bad, want) in [
            ("a", "[[routes]]\npath = \"/n\"\nupstream = \"nowhere\"", "`nowhere` is not in [upstreams]"),
            ("b", "[[routes]]\npath = \"/n\"", "either `answer` or `upstream`"),
            ("c", "[[routes]]\npath = \"n\"\nanswer = \"health\"", "routes[0].path"),
            ("d", "[[routes]]\npath = \"/n/*/x\"\nanswer = \"health\"", "routes[0].path"),
            ("e", "[[routes]]\npath = \"/n\"\nanswer = \"health\"\nacces = \"public\"", "acces"),
            (
                "f",
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\naccess = \"everybody\"",
                "everybody",
            ),
        ] {
            let error = load_file(name, bad).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
