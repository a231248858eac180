//! Which service a request is for, and whether its caller must be known.
//!
//! Decided on one canonical path and one host, and exactly those are forwarded: a request that two readers could understand
//! differently is refused.

mod host;
mod path;
pub mod pattern;

use std::{borrow::Cow, sync::Arc};

use chassis::{
    header::{NotSingle, single},
    layer::{access_log, method},
    serve::trusted_proxies::TrustedProxies,
};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, request, uri::PathAndQuery};
use serde::Deserialize;
use thiserror::Error;

use self::pattern::Pattern;
use crate::{
    body::bounded::{BodyBounds, PendingBody},
    client::Client,
    head::Checked,
    local::Local,
    rate_limit::RateLimit,
    record::{Record, RouteMetrics},
    upstream::Upstream,
};

/// Who may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Callers that auth-verifier knows.
    #[default]
    Authenticated,
    /// Anybody, and as nobody.
    Public,
}

/// A route to a service: all that holds for each request on it.
pub struct Route {
    /// Its path, as it is set.
    pub label: Arc<str>,
    /// What is counted of it.
    pub metrics: RouteMetrics,
    /// Who may pass.
    pub access: Access,
    /// Where it leads.
    pub upstream: Arc<Upstream>,
    /// What a body may be.
    pub body: BodyBounds,
    /// How many requests one client may make, if that is bounded.
    pub client_rate: Option<Arc<RateLimit>>,
    /// How many one user may make.
    pub user_rate: Option<Arc<RateLimit>>,
}

/// What a pattern leads to.
pub enum Target {
    /// An answer of the gateway's own.
    Local(Local),
    /// A service.
    Upstream(Arc<Route>),
}

/// All routes, in their order; the first that fits is taken.
pub struct Routes {
    routes: Vec<(Pattern, Target)>,
    trusted_proxies: Arc<TrustedProxies>,
}

/// A request on its route, from a known client. Only this file makes one.
///
/// The head is boxed: every station hands it on, and none copies it.
pub struct Routed<B = PendingBody> {
    routed: Box<RoutedHead>,
    body: B,
}

/// All but the body.
struct RoutedHead {
    head: request::Parts,
    record: Arc<Record>,
    client: Client,
}

/// What answers a request.
pub enum Matched {
    /// The gateway itself.
    Local(Local),
    /// The gateway: the client asks what the server as a whole can do (RFC 9110 §9.3.7).
    ServerOptions,
    /// A service.
    Upstream(Routed),
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// It can be understood in more than one way; the client is told how.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// The method is not served; these are.
    #[error("the method is not one of {0}")]
    Method(&'static str),
    /// No pattern fits its path.
    #[error("no route fits")]
    NotFound,
}

impl Routes {
    /// The routes in their order; `trusted_proxies` are believed about their clients.
    pub fn new(routes: Vec<(Pattern, Target)>, trusted_proxies: Arc<TrustedProxies>) -> Self {
        Self { routes, trusted_proxies }
    }

    /// Finds what answers a request.
    pub fn route(&self, checked: Checked) -> Result<Matched, RouteError> {
        let mut request = checked.into_request();
        let host = host::of(&request).map_err(RouteError::Ambiguous)?;
        if single(request.headers(), &header::ORIGIN) == Err(NotSingle::Repeated) {
            return Err(RouteError::Ambiguous("the request has more than one Origin header"));
        }
        if !method::KNOWN.contains(request.method()) {
            return Err(RouteError::Method(method::ALLOW));
        }
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            return Ok(Matched::ServerOptions);
        }
        let path = path::canonical(request.uri().path()).map_err(RouteError::Ambiguous)?;
        let (_, target) =
            self.routes.iter().find(|(pattern, _)| pattern.fits(&path)).ok_or(RouteError::NotFound)?;
        match target {
            Target::Local(local) if matches!(*request.method(), Method::GET | Method::HEAD) => {
                Ok(Matched::Local(*local))
            }
            Target::Local(_) => Err(RouteError::Method("GET, HEAD")),
            Target::Upstream(route) => {
                let host = host.ok_or(RouteError::Ambiguous(host::NONE))?;
                let target =
                    target_of(path, request.uri()).ok_or(RouteError::Ambiguous("the path can't be read"))?;
                *request.uri_mut() = Uri::from(target);
                Ok(Matched::Upstream(Routed::new(request, route.clone(), host, &self.trusted_proxies)))
            }
        }
    }
}

/// The canonical path, with the query as it came.
fn target_of(path: Cow<'_, str>, uri: &Uri) -> Option<PathAndQuery> {
    match (path, uri.query()) {
        (Cow::Borrowed(_), _) => uri.path_and_query().cloned(),
        (Cow::Owned(path), None) => path.parse().ok(),
        (Cow::Owned(path), Some(query)) => format!("{path}?{query}").parse().ok(),
    }
}

impl Routed {
    fn new(
        request: Request<PendingBody>,
        route: Arc<Route>,
        host: HeaderValue,
        trusted_proxies: &TrustedProxies,
    ) -> Self {
        // Before anything is stripped: it reads what a trusted proxy says.
        let client = Client::of(&request, host, trusted_proxies);
        let (mut head, body) = request.into_parts();
        head.version = Version::HTTP_11;
        head.headers.remove(header::HOST);
        let record = Record::new(route);
        access_log::facts(record.clone());
        Self { routed: Box::new(RoutedHead { head, record, client }), body }
    }
}

impl<B> Routed<B> {
    /// The request's head, with its canonical target and without a `Host`.
    pub fn head(&self) -> &request::Parts {
        &self.routed.head
    }

    /// The request's headers, for stripping them.
    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.routed.head.headers
    }

    /// Its route.
    pub fn route(&self) -> &Arc<Route> {
        self.routed.record.route()
    }

    /// What becomes known of it.
    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.routed.record
    }

    /// Who sent it.
    pub fn client(&self) -> &Client {
        &self.routed.client
    }

    /// The same request with another body.
    pub(crate) fn map<C>(self, body: impl FnOnce(B) -> C) -> Routed<C> {
        Routed { routed: self.routed, body: body(self.body) }
    }

    /// The request, its record, its client.
    pub(crate) fn into_parts(self) -> (Request<B>, Arc<Record>, Client) {
        let RoutedHead { head, record, client } = *self.routed;
        (Request::from_parts(head, self.body), record, client)
    }
}
