//! Which service a request is for, and whether its caller must be known.
//!
//! Decided on one canonical path and one host, and exactly those are forwarded: a request that two readers could understand
//! differently is refused.

mod host;
pub(crate) mod path;
pub mod pattern;

use std::{borrow::Cow, sync::Arc, time::Duration};

use chassis::{
    header::{NotSingle, single},
    layer::{access_log, method},
    serve::trusted_proxies::TrustedProxies,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request, uri::PathAndQuery,
};
use identity::CredentialKind;
use serde::Deserialize;
use thiserror::Error;

pub use self::host::PublicHosts;
pub(crate) use self::host::hosts_of;
use self::pattern::Pattern;
use crate::{
    accounts,
    body::bounded::{BodyBounds, PendingBody},
    client::Client,
    csrf::{CsrfMode, Pages},
    head::Checked,
    local::Local,
    neon_auth::NeonAuth,
    permit::RequiredScopes,
    rate_limit::RateLimit,
    record::{Record, RouteMetrics},
    shed::Shedder,
    upstream::Upstream,
    websocket::{Handshake, HandshakeError, Waits},
};

/// Who may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Callers that auth-verifier knows.
    #[default]
    Authenticated,
    /// Anybody: callers that auth-verifier knows as such, and others as nobody.
    Optional,
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
    /// By which kind of credential a caller must be known, if not by any.
    pub credential: Option<CredentialKind>,
    /// What that must have been granted, if that matters.
    pub scopes: Option<Arc<RequiredScopes>>,
    /// Where it leads.
    pub upstream: Arc<Upstream>,
    /// What a body may be.
    pub body: BodyBounds,
    /// How many requests one client may make, if that is bounded.
    pub client_rate: Option<Arc<RateLimit>>,
    /// How many one user may make.
    pub user_rate: Option<Arc<RateLimit>>,
    /// How long an answer may take to begin, and how long it may pause.
    pub timeout: Duration,
    /// See there.
    pub idle: Duration,
    /// Whether a WebSocket may be asked for, and how long it may stay.
    pub websocket: Option<Waits>,
    /// Whether what only reads is sent again when its connection breaks, or its endpoint hangs.
    pub resend: bool,
    /// Whose pages may call.
    pub pages: Pages,
    /// Whether `Authorization` and all cookies go on to the service.
    pub forward_credentials: bool,
    /// How far a page's origin is checked.
    pub csrf: CsrfMode,
    /// Whether the service is asked by the host that the client has named.
    pub asked_by_public_host: bool,
    /// How its service is asked and heard, where that is Neon's own Better Auth.
    pub neon_auth: Option<NeonAuth>,
    /// What its answers let pages read, besides what they always may.
    pub expose: Vec<HeaderName>,
    /// The methods that are served, if not all.
    pub methods: Option<Methods>,
    /// How many may wait for its service, if that is bounded.
    pub shedder: Option<Arc<Shedder>>,
}

/// Some of the methods that there are.
#[derive(Clone, Debug)]
pub struct Methods {
    methods: Vec<Method>,
    allow: HeaderValue,
}

impl Methods {
    /// Reads methods as they are set; with `GET` goes `HEAD` (RFC 9110 §9.3.2). The error says what is wrong.
    pub fn parse(names: &[String]) -> Result<Self, String> {
        let mut methods = Vec::new();
        for name in names {
            let known = method::KNOWN.iter().find(|known| known.as_str() == name);
            methods.push(known.ok_or_else(|| format!("`{name}` is not one of {}", method::ALLOW))?.clone());
        }
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        if methods.is_empty() {
            return Err("must be at least one method; leave it out to serve all".to_owned());
        }
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        let allow = HeaderValue::try_from(names.join(", ")).map_err(|error| error.to_string())?;
        Ok(Self { methods, allow })
    }
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
    in_order: Vec<(Pattern, Target)>,
    /// The hosts that services may be asked by.
    public_hosts: PublicHosts,
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
    handshake: Option<Box<Handshake>>,
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
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// It can be understood in more than one way; the client is told how.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// The method is not served; these are.
    #[error("the method is not one of {0:?}")]
    Method(HeaderValue),
    /// Its route passes the host on, and it names one that is not ours.
    #[error("the host is not one of the public origins'")]
    Misdirected,
    /// It asks for a WebSocket, but not as one must.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// No pattern fits its path, at which somebody wants an account.
    #[error("no route fits, and accounts are Better Auth's")]
    Accounts,
    /// No pattern fits its path.
    #[error("no route fits")]
    NotFound,
}

impl Routes {
    /// The routes in their order; `trusted_proxies` are believed about their clients.
    pub fn new(
        routes: Vec<(Pattern, Target)>,
        public_hosts: PublicHosts,
        trusted_proxies: Arc<TrustedProxies>,
    ) -> Self {
        Self { in_order: routes, public_hosts, trusted_proxies }
    }

    /// Finds what answers a request.
    pub fn route(&self, checked: Checked) -> Result<Matched, RouteError> {
        let mut request = checked.into_request();
        let host = host::of(&request).map_err(RouteError::Ambiguous)?;
        if single(request.headers(), &header::ORIGIN) == Err(NotSingle::Repeated) {
            return Err(RouteError::Ambiguous("the request has more than one Origin header"));
        }
        if !method::KNOWN.contains(request.method()) {
            return Err(RouteError::Method(HeaderValue::from_static(method::ALLOW)));
        }
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            return Ok(Matched::ServerOptions);
        }
        let path = path::canonical(request.uri().path()).map_err(RouteError::Ambiguous)?;
        let found = self.in_order.iter().find(|(pattern, _)| pattern.fits(&path));
        let Some((_, target)) = found else {
            let accounts = accounts::are_asked_for(&path);
            return Err(if accounts { RouteError::Accounts } else { RouteError::NotFound });
        };
        match target {
            Target::Local(local) if matches!(*request.method(), Method::GET | Method::HEAD) => {
                Ok(Matched::Local(*local))
            }
            Target::Local(_) => Err(RouteError::Method(HeaderValue::from_static("GET, HEAD"))),
            Target::Upstream(route) => {
                if let Some(Methods { methods, allow }) = &route.methods
                    && !methods.contains(request.method())
                {
                    return Err(RouteError::Method(allow.clone()));
                }
                let host = host.ok_or(RouteError::Ambiguous(host::NONE))?;
                // Better Auth would mail links to whatever host it is asked by, and its cookies are for our own hosts.
                if (route.asked_by_public_host || route.neon_auth.is_some()) && !self.public_hosts.have(&host)
                {
                    return Err(RouteError::Misdirected);
                }
                // HTTP/1 has none in its request line; HTTP/2 lets them through, and services read them in many ways.
                if request.uri().query().is_some_and(|query| !query.is_ascii()) {
                    return Err(RouteError::Ambiguous("the query has bytes that must be escaped"));
                }
                let target =
                    target_of(path, request.uri()).ok_or(RouteError::Ambiguous("the path can't be read"))?;
                *request.uri_mut() = Uri::from(target);
                // Both before anything is stripped: what stands for the connection, and what a trusted proxy says.
                let handshake =
                    if route.websocket.is_some() { Handshake::of(&mut request)?.map(Box::new) } else { None };
                let client = Client::of(&request, host, &self.trusted_proxies);
                Ok(Matched::Upstream(Routed::new(request, route.clone(), client, handshake)))
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
        client: Client,
        handshake: Option<Box<Handshake>>,
    ) -> Self {
        let (mut head, body) = request.into_parts();
        head.version = Version::HTTP_11;
        head.headers.remove(header::HOST);
        let record = Record::new(route);
        access_log::facts(record.clone());
        Self { routed: Box::new(RoutedHead { head, record, client, handshake }), body }
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

    /// How many bytes its body has, if that is known.
    pub(crate) fn body_bytes(&self) -> Option<u64>
    where
        B: http_body::Body,
    {
        self.body.size_hint().exact()
    }

    /// Its route.
    pub fn route(&self) -> &Arc<Route> {
        self.routed.record.route()
    }

    /// What becomes known of it.
    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.routed.record
    }

    /// The WebSocket that it asks for, if it does.
    pub fn handshake(&self) -> Option<&Handshake> {
        self.routed.handshake.as_deref()
    }

    /// Who sent it.
    pub fn client(&self) -> &Client {
        &self.routed.client
    }

    /// The same request with another body.
    pub(crate) fn map<C>(self, body: impl FnOnce(B) -> C) -> Routed<C> {
        Routed { routed: self.routed, body: body(self.body) }
    }

    /// The request, its record, its client, and the WebSocket that it asks for.
    pub(crate) fn into_parts(self) -> (Request<B>, Arc<Record>, Client, Option<Box<Handshake>>) {
        let RoutedHead { head, record, client, handshake } = *self.routed;
        (Request::from_parts(head, self.body), record, client, handshake)
    }
}
