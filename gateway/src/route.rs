//! Where does this request go, and must we know who sends it?
//!
//! Decided on one canonical path and one host, and exactly those are forwarded: a request that two readers could
//! read in two ways is refused.

mod host;
mod path;

use std::{sync::Arc, time::Duration};

use chassis::Body;
use http::{Method, Request, Uri, Version, header};
use serde::Deserialize;

use crate::{
    body::bounded::BodyBounds,
    refusal::{self, Refusal},
    settings::{self, Settings},
};

/// One route, as it is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "defaults.toml explains each one")]
pub struct RouteSettings {
    pub path: String,
    #[serde(default)]
    pub answer: Option<Answer>,
    #[serde(default)]
    pub upstream: Option<String>,
    /// Left out, it is [`Access::Authenticated`]; beside an answer of ours it would say nothing.
    #[serde(default)]
    pub access: Option<Access>,
    #[serde(default)]
    pub body_bytes: Option<u64>,
    #[serde(default, rename = "body_secs")]
    pub body_total: Option<Secs>,
    #[serde(default)]
    pub body_rate: Option<u32>,
}

/// A wait in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secs(#[serde(deserialize_with = "chassis::settings::secs")] pub Duration);

impl RouteSettings {
    /// What a body may be on this route: what it says itself, or else what holds for all.
    pub fn body(&self, limits: &settings::Limits) -> BodyBounds {
        let all = limits.body();
        BodyBounds {
            bytes: self.body_bytes.unwrap_or(all.bytes),
            total: self.body_total.map_or(all.total, |Secs(total)| total),
            rate: self.body_rate.unwrap_or(all.rate),
        }
    }

    /// Whether it says something of bodies.
    pub fn bounds_bodies(&self) -> bool {
        self.body_bytes.is_some() || self.body_total.is_some() || self.body_rate.is_some()
    }
}

/// What the gateway answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// That it is there.
    Health,
}

/// Who may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Those whom auth-verifier knows.
    #[default]
    Authenticated,
    /// Anybody, and as nobody.
    Public,
}

/// Which paths a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    base: String,
    below: bool,
}

impl Pattern {
    /// Reads `/a/b` (that path, with or without a slash at its end) or `/a/**` (that path and all below it).
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (base, below) = text.strip_suffix("/**").map_or((text, false), |base| (base, true));
        let plain =
            base.is_empty() && below || path::canonical(base).as_deref() == Ok(base) && base.starts_with('/');
        if !plain || base.contains('*') {
            return Err("must be a path such as /health, or one that ends in /** such as /api/**");
        }
        // Whoever writes `/users/{id}` means each user, and a later route would let their requests by.
        if base.contains(['?', '#', '{', '}', '<', '>', '[', ']']) || base.contains("/:") {
            return Err("has a query or a placeholder in it, which no path has; write one that ends in /**");
        }
        Ok(Self { base: base.trim_end_matches('/').to_owned(), below })
    }

    /// Whether whatever the other fits, this one fits too.
    pub fn covers(&self, other: &Self) -> bool {
        self.fits(&other.base) && (self.below || !other.below)
    }

    /// Whole segments are compared: `/api/**` is not for `/apifoo`.
    fn fits(&self, path: &str) -> bool {
        match path.strip_prefix(&self.base) {
            Some("" | "/") => true,
            Some(rest) => self.below && rest.starts_with('/'),
            None => false,
        }
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
enum Target {
    Answer(Answer),
    Upstream(Arc<str>, Access, BodyBounds),
}

/// All routes, in their order.
#[derive(Clone, Debug)]
pub struct Routes(Arc<[(Pattern, Target)]>);

/// A request whose way is known. Only this file makes one.
pub struct Routed {
    request: Request<Body>,
    host: String,
    upstream: Arc<str>,
    access: Access,
    body: BodyBounds,
}

/// Where a request goes.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all requests go inside, and a box would cost each of them"
)]
pub enum Way {
    /// Nowhere: it is answered here.
    Here(Answer),
    /// Nowhere: it asks what the server as a whole can do.
    Server,
    /// To a service.
    Inside(Routed),
}

impl Routes {
    /// Builds the routes from settings that were checked.
    pub fn new(settings: &Settings) -> Self {
        let route = |route: &RouteSettings| {
            let pattern = Pattern::parse(&route.path).ok()?;
            let body = route.body(&settings.limits);
            let access = route.access.unwrap_or_default();
            let upstream = |name: &String| Target::Upstream(name.as_str().into(), access, body);
            let target =
                route.answer.map(Target::Answer).or_else(|| route.upstream.as_ref().map(upstream))?;
            Some((pattern, target))
        };
        Self(settings.routes.iter().filter_map(route).collect())
    }

    /// Finds a request's way.
    pub fn route(&self, mut request: Request<Body>) -> Result<Way, Refusal> {
        let host = host::of(&request).map_err(Refusal::Ambiguous)?;
        match request.method().as_str() {
            "OPTIONS" if request.uri().path() == "*" => return Ok(Way::Server),
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => {}
            _ => return Err(Refusal::Method(refusal::METHODS)),
        }
        let path = path::canonical(request.uri().path()).map_err(Refusal::Ambiguous)?;
        let (_, target) = self.0.iter().find(|(pattern, _)| pattern.fits(&path)).ok_or(Refusal::NoRoute)?;
        match target {
            Target::Answer(answer) if matches!(*request.method(), Method::GET | Method::HEAD) => {
                Ok(Way::Here(*answer))
            }
            Target::Answer(_) => Err(Refusal::Method("GET, HEAD")),
            Target::Upstream(upstream, access, body) => {
                let host = host.ok_or(Refusal::Ambiguous(host::NONE))?;
                let target = match request.uri().query() {
                    Some(query) => format!("{path}?{query}"),
                    None => path,
                };
                *request.uri_mut() =
                    target.parse::<Uri>().map_err(|_| Refusal::Ambiguous("the path can't be read"))?;
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().remove(header::HOST);
                let (upstream, access, body) = (upstream.clone(), *access, *body);
                Ok(Way::Inside(Routed { request, host, upstream, access, body }))
            }
        }
    }
}

impl Routed {
    /// The request, for reading.
    pub fn request(&self) -> &Request<Body> {
        &self.request
    }

    /// What its body may be.
    pub fn body(&self) -> BodyBounds {
        self.body
    }

    /// The request with its canonical target, the host it named, its upstream, and who may pass.
    pub fn into_parts(self) -> (Request<Body>, String, Arc<str>, Access) {
        (self.request, self.host, self.upstream, self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_compares_whole_segments() {
        for (pattern, fitting, not) in [
            (
                "/api/**",
                &["/api", "/api/", "/api/x", "/api/x/y/"][..],
                &["/apifoo", "/API/x", "/", "/x/api"][..],
            ),
            ("/health", &["/health", "/health/"], &["/health/x", "/healthy", "/Health", "/"]),
            ("/**", &["/", "/x", "/x/y"], &[]),
            ("/", &["/"], &["/x"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for path in fitting {
                assert!(parsed.fits(path), "{pattern} {path}");
            }
            for path in not {
                assert!(!parsed.fits(path), "{pattern} {path}");
            }
        }
        for (one, other, covers) in [
            ("/**", "/api/**", true),
            ("/**", "/", true),
            ("/**", "/**", true),
            ("/api/**", "/api", true),
            ("/api/**", "/api/", true),
            ("/api/**", "/api/x/**", true),
            ("/api/**", "/apifoo", false),
            ("/api/**", "/**", false),
            ("/api/x", "/api/**", false),
            ("/api", "/api", true),
            ("/api", "/api/", true),
            ("/api", "/api/**", false),
            ("/", "/", true),
            ("/", "/x", false),
            ("/", "/**", false),
        ] {
            let parsed = |text| Pattern::parse(text).unwrap();
            assert_eq!(parsed(one).covers(&parsed(other)), covers, "{one} {other}");
        }
        for bad in ["", "api", "/a/../b", "/a//b", "/a/*", "/*/a", "/a%2fb", "/a;b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
