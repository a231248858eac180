//! What the stack is built from: settings, parsed. It has nothing that could still be wrong.
//!
//! All faults are reported at once, each under the name of its variable, or of the file and the key in it.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use chassis::{
    layer::problem::MediaType,
    outbound::client,
    process::Service,
    serve::{ServerSettings, Tls, TlsError, TlsSettings, trusted_proxies::TrustedProxies},
    settings::{Faults, ServiceUrl, SettingsError, Switch},
};
use http::{HeaderName, HeaderValue};
use identity::CredentialKind;
use tokio_rustls::rustls::{ClientConfig, pki_types::ServerName};

use crate::{
    body::{
        bounded::{BodyBounds, Slack},
        idle::Rate,
    },
    cookies::CookiePrefixes,
    csrf::CsrfMode,
    head::HeadBounds,
    local::Local,
    neon_auth::{self, NeonAuth},
    permit::RequiredScopes,
    rate_limit::Quota,
    route::{Access, Methods, pattern::Pattern},
    settings::{
        self, BODY_BYTES, BODY_RATE, BODY_SECS, BURST, CredentialSetting, HostSetting, IDLE_SECS, NEON_AUTH,
        Origin, PER_MINUTE, RouteSettings, Secs, ServiceSettings, Settings, TASK_SERVICE, TIMEOUT_SECS, Urls,
        variable,
    },
    upstream::{Host, Readiness, ReadyAt, ServerNames},
    websocket::Waits,
};

/// What the stack is built from.
#[derive(Debug)]
pub struct Plan {
    /// The bounds of the listener.
    pub server: ServerSettings,
    /// By what its traffic is encrypted, if it is.
    pub tls: Option<Tls>,
    pub(crate) trusted_proxies: Arc<TrustedProxies>,
    pub(crate) origins: Vec<HeaderValue>,
    pub(crate) public_origins: Vec<HeaderValue>,
    pub(crate) preflight_max_age: Duration,
    pub(crate) compression: Switch,
    /// What errors are called.
    pub(crate) errors_as: MediaType,
    pub(crate) head: HeadBounds,
    /// Whether answers say where the time went.
    pub(crate) server_timing: bool,
    pub(crate) routes: Vec<RoutePlan>,
    pub(crate) requests: RequestLimits,
    pub(crate) rate_limits: RateLimits,
    pub(crate) cookie_prefixes: CookiePrefixes,
    pub(crate) verifier: VerifierPlan,
}

/// How many requests may be in flight, and how fast their answers must be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLimits {
    pub(crate) max: usize,
    pub(crate) per_client_max: usize,
    pub(crate) per_user_max: usize,
    pub(crate) websockets_max: usize,
    pub(crate) websockets_per_client_max: usize,
    pub(crate) neon_max: usize,
    pub(crate) neon_per_client_max: usize,
    pub(crate) answer: Rate,
}

/// How many requests a client and a user may make in a while, on all routes that don't say otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimits {
    pub(crate) client: Option<Quota>,
    pub(crate) user: Option<Quota>,
    /// How many are remembered, for each limit.
    pub(crate) entries_max: usize,
}

/// A route.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    pub(crate) pattern: Pattern,
    /// Whether pages of allowed origins may call, and read its answers.
    pub(crate) cors: bool,
    pub(crate) target: TargetPlan,
}

/// What a route leads to.
#[derive(Debug)]
pub(crate) enum TargetPlan {
    Local(Local),
    Upstream(Box<UpstreamTarget>),
}

/// A service, and what holds for requests on this way to it.
#[derive(Debug)]
pub(crate) struct UpstreamTarget {
    pub(crate) upstream: Arc<UpstreamPlan>,
    pub(crate) access: Access,
    pub(crate) credential: Option<CredentialKind>,
    pub(crate) scopes: Option<Arc<RequiredScopes>>,
    pub(crate) body: BodyBounds,
    pub(crate) client_rate: RouteRate,
    pub(crate) user_rate: RouteRate,
    pub(crate) timeout: Duration,
    pub(crate) idle: Duration,
    pub(crate) websocket: Option<Waits>,
    pub(crate) resend: bool,
    pub(crate) forward_credentials: bool,
    pub(crate) csrf: CsrfMode,
    pub(crate) asked_by_public_host: bool,
    pub(crate) neon_auth: Option<NeonAuth>,
    pub(crate) expose: Vec<HeaderName>,
    pub(crate) methods: Option<Methods>,
}

/// The rate limit of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteRate {
    /// That of all routes.
    Common,
    /// Its own, or none.
    Own(Option<Quota>),
}

/// A service: in plain HTTP, unless it is Neon's.
#[derive(Debug)]
pub(crate) struct UpstreamPlan {
    pub(crate) name: Arc<str>,
    /// Never empty.
    pub(crate) hosts: Vec<Host>,
    /// What each of them is called, in the same order.
    pub(crate) names: Vec<ServerNames>,
    pub(crate) connect: Duration,
    pub(crate) pool_idle: Duration,
    pub(crate) resolve: Duration,
    pub(crate) eject: Duration,
    /// How soon its answers should begin, and how many may wait whatever becomes of that; where load is shed by it.
    pub(crate) shed: Option<(Duration, usize)>,
    /// How its endpoints are asked whether they are ready, if they are.
    pub(crate) readiness: Option<Readiness>,
    /// Whether it is believed when it says that it did nothing. One that only passes on what services behind it say, may have done
    /// something before.
    pub(crate) believes_not_applied: bool,
    /// Whether it is spoken to by HTTP/2, without asking first.
    pub(crate) http2: bool,
    /// Whether it does nothing twice that has one `Idempotency-Key`, whichever endpoint is sent it.
    pub(crate) honours_idempotency_key: bool,
    /// How it is asked over TLS, if it is.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// auth-verifier.
#[derive(Debug)]
pub(crate) struct VerifierPlan {
    /// Never empty.
    pub(crate) hosts: Vec<Host>,
    /// What each of them is called, in the same order.
    pub(crate) names: Vec<ServerNames>,
    /// How those are asked that are asked over TLS.
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) connect: Duration,
    pub(crate) timeout: Duration,
    /// How many verdicts are kept.
    pub(crate) cache_entries_max: u64,
    pub(crate) resolve: Duration,
    pub(crate) eject: Duration,
    pub(crate) readiness: Option<Readiness>,
}

impl Plan {
    /// Parses settings.
    pub(crate) fn parse(settings: &Settings) -> Result<Self, SettingsError> {
        let Settings { cors, limits, server, .. } = settings;
        let mut faults = Faults::default();
        let upstreams = upstreams(settings, &mut faults);
        let routes = routes(settings, &upstreams, &mut faults);
        if settings.csrf.mode == CsrfMode::Off {
            faults.add(variable::CSRF_MODE, "may be off only for a public route (`csrf` of that route)");
        }
        let is_web = |origin: &Origin| origin.0.as_bytes().starts_with(b"http");
        if !settings.public_origins.iter().all(is_web) {
            faults.add(variable::PUBLIC_ORIGINS, "must be origins such as https://app.example.com");
        }
        if limits.target_bytes > server.head_bytes {
            faults.add(variable::TARGET_BYTES, format!("must fit into {}", variable::HEAD_BYTES));
        }
        let cookie_prefixes = CookiePrefixes::parse(settings.sanitize.cookie_prefixes.clone())
            .map_err(|reason| SettingsError::new(variable::COOKIE_PREFIXES, reason));
        // Where there is a Neon, its sessions may be cookies of our own host: whatever is set, no service sees or sets one.
        let further = if settings.neon_auth.stated().is_some() { &neon_auth::NAMES[..] } else { &[] };
        let cookie_prefixes = faults.hear(cookie_prefixes).map(|prefixes| prefixes.and(further));
        let verifier = faults.hear(VerifierPlan::parse(settings));
        let tls = tls(&settings.tls, &mut faults);
        let parsed = move || {
            Some(Self {
                server: Settings::server(server.clone()),
                tls,
                trusted_proxies: server.trusted_proxies.clone().into(),
                origins: cors.allowed_origins.iter().map(|origin| origin.0.clone()).collect(),
                public_origins: settings.public_origins.iter().map(|origin| origin.0.clone()).collect(),
                preflight_max_age: cors.max_age,
                compression: settings.compression,
                errors_as: settings.errors_as,
                head: HeadBounds {
                    target_bytes: limits.target_bytes,
                    head_bytes: server.head_bytes,
                    head_fields: server.head_fields,
                    slack: Slack { idle: limits.body_idle, grace: limits.body_grace },
                },
                server_timing: settings.server_timing == Switch::On,
                routes,
                requests: RequestLimits {
                    max: limits.requests_max,
                    per_client_max: limits.requests_per_client_max,
                    per_user_max: limits.requests_per_user_max,
                    websockets_max: limits.websockets_max,
                    websockets_per_client_max: limits.websockets_per_client_max,
                    neon_max: settings.neon_auth.requests_max,
                    neon_per_client_max: settings.neon_auth.requests_per_client_max,
                    answer: Rate { bytes: limits.answer_rate, grace: limits.body_idle },
                },
                rate_limits: RateLimits {
                    client: quota(limits.client_per_minute, limits.client_burst),
                    user: quota(limits.user_per_minute, limits.user_burst),
                    entries_max: limits.rate_entries_max,
                },
                cookie_prefixes: cookie_prefixes?,
                verifier: verifier?,
            })
        };
        match parsed() {
            Some(plan) if !faults.found() => Ok(plan),
            _ => Err(faults.into()),
        }
    }
}

/// By what the traffic is encrypted, if that is set.
fn tls(settings: &TlsSettings, faults: &mut Faults) -> Option<Tls> {
    let (certificate, key) = match (&settings.certificate_file, &settings.key_file) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (certificate, key),
        (None, Some(_)) => {
            faults.add(variable::CERTIFICATE_FILE, format!("is missing beside {}", variable::KEY_FILE));
            return None;
        }
        (Some(_), None) => {
            faults.add(variable::KEY_FILE, format!("is missing beside {}", variable::CERTIFICATE_FILE));
            return None;
        }
    };
    let read = Tls::read(certificate, key).map_err(|error| match error {
        TlsError::Certificate(reason) => SettingsError::new(variable::CERTIFICATE_FILE, reason),
        TlsError::Key(reason) => SettingsError::new(variable::KEY_FILE, reason),
    });
    faults.hear(read)
}

/// The upstreams by name; `None` for one with a fault.
type Upstreams<'a> = BTreeMap<&'a str, Option<Arc<UpstreamPlan>>>;

fn upstreams<'a>(settings: &'a Settings, faults: &mut Faults) -> Upstreams<'a> {
    let mut upstreams = BTreeMap::new();
    for (name, service) in &settings.upstreams {
        let key = format!("upstreams.{name}");
        if name == TASK_SERVICE {
            faults.add(key, format!("is set by {} (task_service_url)", variable::TASK_SERVICE_URL));
            continue;
        }
        if name == NEON_AUTH {
            faults.add(key, format!("is set by {}", variable::NEON_AUTH_BASE_URL));
            continue;
        }
        let upstream = UpstreamPlan::parse(name, service, &settings.upstream)
            .map_err(|reason| SettingsError::new(&*key, reason));
        upstreams.insert(&**name, faults.hear(upstream).map(Arc::new));
        if !settings.routes.iter().any(|route| route.upstream.as_ref() == Some(name)) {
            faults.add(key, "no route leads there; write one, or take it out");
        }
    }
    let task_service = ServiceSettings {
        url: settings.task_service_url.clone(),
        ready: settings.task_service_ready.clone(),
        http2: settings.task_service_http2 == Switch::On,
        // It notes what it answered in the transaction of the write, and whoever comes meanwhile hears that it is under way.
        idempotency_key: true,
    };
    let task_service = UpstreamPlan::parse(TASK_SERVICE, &task_service, &settings.upstream)
        .map_err(|reason| SettingsError::new(variable::TASK_SERVICE_URL, reason));
    upstreams.insert(TASK_SERVICE, faults.hear(task_service).map(Arc::new));
    // Read only where a route leads there: what auth-verifier is set up by opens nothing here.
    if let Some((url, variable)) = settings.neon_auth.stated()
        && settings.routes.iter().any(|route| route.upstream.as_deref() == Some(NEON_AUTH))
    {
        let neon_auth = UpstreamPlan::of_neon(url, variable, settings);
        upstreams.insert(NEON_AUTH, faults.hear(neon_auth).map(Arc::new));
    }
    upstreams
}

impl UpstreamPlan {
    fn parse(
        name: &str,
        service: &ServiceSettings,
        settings: &settings::Upstream,
    ) -> Result<Self, &'static str> {
        let ServiceSettings { url: Urls(urls), ready, http2, idempotency_key } = service;
        let is_plain = |url: &ServiceUrl| url.url().scheme() == "http" && url.url().path() == "/";
        if urls.is_empty() || !urls.iter().all(is_plain) {
            return Err(
                "must be one or more of http://host:port; services inside are spoken to in plain HTTP",
            );
        }
        let hosts = urls.iter().map(Host::of).collect();
        let names: Result<_, _> = urls.iter().map(server_names).collect();
        let settings::Upstream { connect, pool_idle, resolve, eject, answer_target_ms, waiting_min, .. } =
            *settings;
        let shed = (answer_target_ms > 0).then_some((Duration::from_millis(answer_target_ms), waiting_min));
        let believes_not_applied = name == TASK_SERVICE;
        Ok(Self {
            name: name.into(),
            hosts,
            names: names?,
            connect,
            pool_idle,
            resolve,
            eject,
            shed,
            readiness: readiness(ready.as_ref(), settings),
            believes_not_applied,
            http2: *http2,
            honours_idempotency_key: *idempotency_key,
            tls: None,
        })
    }
}

impl UpstreamPlan {
    /// Neon's own Better Auth.
    fn of_neon(url: &ServiceUrl, variable: &'static str, settings: &Settings) -> Result<Self, SettingsError> {
        let wrong = |reason| SettingsError::new(variable, reason);
        let is_encrypted = url.url().scheme() == "https";
        let is_here = url.url().host().is_some_and(|host| match host {
            url::Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            url::Host::Ipv4(address) => address.is_loopback(),
            url::Host::Ipv6(address) => address.is_loopback(),
        });
        if !is_encrypted && !is_here {
            return Err(wrong("must be https:// where the gateway sends sign-ins there"));
        }
        let origin = url.url().origin().ascii_serialization();
        if settings.public_origins.iter().any(|own| own.0.as_bytes() == origin.as_bytes()) {
            let reason = format!(
                "is at the gateway's own origin ({}): it would ask itself. Write Neon's Auth URL, as Neon's console gives it",
                variable::PUBLIC_ORIGINS
            );
            return Err(SettingsError::new(variable, reason));
        }
        let tls = || match &settings.neon_auth.ca_file {
            None => Ok(client::tls()),
            Some(file) => client::roots(file)
                .map(client::tls_by)
                .map_err(|reason| SettingsError::new(variable::NEON_AUTH_CA_FILE, reason)),
        };
        let settings::Upstream { connect, pool_idle, resolve, eject, .. } = settings.upstream;
        Ok(Self {
            name: NEON_AUTH.into(),
            hosts: vec![Host::of(url)],
            names: vec![server_names(url).map_err(wrong)?],
            connect,
            pool_idle,
            resolve,
            eject,
            shed: None,
            readiness: None,
            believes_not_applied: false,
            http2: false,
            honours_idempotency_key: false,
            tls: is_encrypted.then(tls).transpose()?.map(Arc::new),
        })
    }
}

impl VerifierPlan {
    fn parse(settings: &Settings) -> Result<Self, SettingsError> {
        let urls = &settings.auth_verifier_url.0;
        let wrong = |reason| SettingsError::new(variable::AUTH_VERIFIER_URL, reason);
        let Some(first) = urls.first() else { return Err(wrong("must be one or more URLs")) };
        if urls.iter().any(|url| url.url().path() != "/") {
            return Err(wrong("must have no path: the gateway asks /verify"));
        }
        if urls.iter().any(|url| url.url().scheme() != first.url().scheme()) {
            return Err(wrong("must be all http:// or all https://"));
        }
        let names: Result<_, _> = urls.iter().map(server_names).collect();
        let tls = match &settings.verifier.ca_file {
            None => client::tls(),
            Some(file) => client::roots(file)
                .map(client::tls_by)
                .map_err(|reason| SettingsError::new(variable::VERIFIER_CA_FILE, reason))?,
        };
        Ok(Self {
            hosts: urls.iter().map(Host::of).collect(),
            names: names.map_err(wrong)?,
            tls: Arc::new(tls),
            connect: settings.verifier.connect,
            timeout: settings.verifier.timeout,
            cache_entries_max: settings.verifier.cache_entries_max,
            resolve: settings.upstream.resolve,
            eject: settings.upstream.eject,
            readiness: readiness(settings.auth_verifier_ready.as_ref(), &settings.upstream),
        })
    }
}

fn readiness(at: Option<&ReadyAt>, settings: &settings::Upstream) -> Option<Readiness> {
    let settings::Upstream { ready: every, ready_timeout: timeout, .. } = *settings;
    at.cloned().map(|at| Readiness { at, every, timeout })
}

fn server_names(url: &ServiceUrl) -> Result<ServerNames, &'static str> {
    let not_a_host = "names a host that can't be asked";
    let (host, url) = (Host::of(url), url.url());
    let name = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
    let tls = (url.scheme() == "https").then(|| ServerName::try_from(host.name));
    Ok(ServerNames {
        authority: HeaderValue::try_from(authority).map_err(|_| not_a_host)?,
        tls: tls.transpose().map_err(|_| not_a_host)?,
    })
}

/// The routes in their order, without those that have a fault.
fn routes(settings: &Settings, upstreams: &Upstreams<'_>, faults: &mut Faults) -> Vec<RoutePlan> {
    if settings.routes.is_empty() {
        faults.add("routes", "must be at least one; without any nothing is answered");
    }
    let mut earlier: Vec<(usize, Pattern)> = Vec::new();
    let mut planned = Vec::new();
    for (at, route) in settings.routes.iter().enumerate() {
        let key = format!("routes[{at}]");
        let target = target(&key, route, settings, upstreams, faults);
        let pattern = match Pattern::parse(&route.path) {
            Ok(pattern) => pattern,
            Err(reason) => {
                faults.add(format!("{key}.path"), reason);
                continue;
            }
        };
        if let Some((first, _)) = earlier.iter().find(|(_, known)| known.covers(&pattern)) {
            let reason = unreachable(route, *first, &settings.routes[*first]);
            faults.add(format!("{key}.path"), reason);
        }
        earlier.push((at, pattern.clone()));
        planned.extend(target.map(|target| RoutePlan { pattern, cors: route.cors, target }));
    }
    planned
}

/// What a route leads to; `None` if that has a fault.
fn target(
    key: &str,
    route: &RouteSettings,
    settings: &Settings,
    upstreams: &Upstreams<'_>,
    faults: &mut Faults,
) -> Option<TargetPlan> {
    let rates = own_rates(key, route, &settings.limits, faults);
    match (route.answer, &route.upstream) {
        (Some(local), None) => {
            for (name, reason) in of_upstreams(route) {
                faults.add(
                    format!("{key}.{name}"),
                    format!("says nothing beside `answer`, {reason}; take it out"),
                );
            }
            if rates != [RouteRate::Common; 2] {
                let reason = "answers by itself, and that is never limited; leave out client_… and user_…";
                faults.add(key, reason);
            }
            Some(TargetPlan::Local(local))
        }
        (None, Some(name)) => {
            let body = body(key, route, &settings.limits, faults);
            let (timeout, idle) = waits(key, route, &settings.upstream, faults);
            let tunnel_idle = route.idle.map_or(settings.limits.websocket_idle, |Secs(idle)| idle);
            let tunnel = Waits { idle: tunnel_idle, age: settings.limits.websocket_age };
            let Some(upstream) = upstreams.get(name.as_str()) else {
                let reason = if name == NEON_AUTH {
                    format!("is Neon's own Better Auth, and {} is not set", variable::NEON_AUTH_BASE_URL)
                } else {
                    format!("`{name}` is not in [upstreams]")
                };
                faults.add(format!("{key}.upstream"), reason);
                return None;
            };
            let upstream = upstream.clone()?;
            if route.websocket && upstream.http2 {
                let reason = format!(
                    "can't be opened by HTTP/2, which `{name}` is set to; give it an upstream without"
                );
                faults.add(format!("{key}.websocket"), reason);
            }
            Some(TargetPlan::Upstream(Box::new(UpstreamTarget {
                upstream,
                access: route.access.unwrap_or_default(),
                credential: credential(key, route, faults),
                scopes: scopes(key, route, faults),
                body,
                client_rate: rates[0],
                user_rate: rates[1],
                timeout,
                idle,
                websocket: route.websocket.then_some(tunnel),
                // Whoever signs people in does so by GET, too: from a link in a mail.
                resend: route.resend.unwrap_or(!route.forward_credentials && name != NEON_AUTH),
                forward_credentials: forward_credentials(key, route, settings, faults),
                csrf: csrf(key, route, settings, faults),
                asked_by_public_host: public_host(key, route, settings, faults),
                neon_auth: neon_auth(key, route, settings, faults),
                expose: expose(key, route, faults),
                methods: methods(key, route, faults),
            })))
        }
        (Some(_), Some(_)) | (None, None) => {
            faults.add(key, "must have either `answer` or `upstream`");
            None
        }
    }
}

/// What a route has that only one to a service may have, and why not another one.
fn of_upstreams(route: &RouteSettings) -> Vec<(&'static str, &'static str)> {
    let body = route.body_bytes.is_some() || route.body_total.is_some() || route.body_rate.is_some();
    [
        (route.access.is_some(), ("access", "which anybody may ask for")),
        (route.credential.is_some(), ("credential", "which anybody may ask for")),
        (route.scopes.is_some(), ("scopes", "which anybody may ask for")),
        (body, ("body_…", "which reads no body")),
        (route.timeout.is_some(), ("timeout_secs", "which is there at once")),
        (route.idle.is_some(), ("idle_secs", "which is there at once")),
        (route.websocket, ("websocket", "which is no service")),
        (route.resend.is_some(), ("resend", "which is no service")),
        (route.forward_credentials, ("forward_credentials", "which is no service")),
        (route.csrf.is_some(), ("csrf", "which changes nothing")),
        (route.host.is_some(), ("host", "which is no service")),
        (route.methods.is_some(), ("methods", "which is for GET and HEAD")),
        (!route.expose_headers.is_empty(), ("expose_headers", "which is no service")),
    ]
    .into_iter()
    .filter_map(|(is_set, of)| is_set.then_some(of))
    .collect()
}

/// Whether credentials go on to the service.
fn forward_credentials(key: &str, route: &RouteSettings, settings: &Settings, faults: &mut Faults) -> bool {
    let hosts = |urls: &Urls| urls.0.iter().map(Host::of).collect::<Vec<_>>();
    let inner = hosts(&settings.task_service_url);
    let is_task_service = |name: &String| {
        let alias = settings.upstreams.get(name).map(|service| hosts(&service.url)).unwrap_or_default();
        name == TASK_SERVICE || alias.iter().any(|host| inner.contains(host))
    };
    if route.forward_credentials && route.upstream.as_ref().is_some_and(is_task_service) {
        let reason = "is not for task-service, which knows its callers by what auth-verifier signs, and must not see \
                      what they sign in with";
        faults.add(format!("{key}.forward_credentials"), reason);
    }
    route.forward_credentials
}

/// Whether the service is asked by the host that the client has named.
fn public_host(key: &str, route: &RouteSettings, settings: &Settings, faults: &mut Faults) -> bool {
    let is_public = route.host == Some(HostSetting::Public);
    if is_public && settings.public_origins.is_empty() {
        let reason = format!(
            "is \"public\", and {} is not set: the service would be asked by whatever host a client makes up, and put it \
             into the links that it mails",
            variable::PUBLIC_ORIGINS,
        );
        faults.add(format!("{key}.host"), reason);
    }
    is_public
}

/// How Neon's own Better Auth is asked and heard on a route that leads there. What such a route may not say is told.
fn neon_auth(key: &str, route: &RouteSettings, settings: &Settings, faults: &mut Faults) -> Option<NeonAuth> {
    let (url, _) = settings.neon_auth.stated().filter(|_| route.upstream.as_deref() == Some(NEON_AUTH))?;
    for (is_wrong, name, reason) in [
        (
            route.access != Some(Access::Public),
            "access",
            "must be \"public\" on the way to Neon: who signs in is nobody yet",
        ),
        (
            route.forward_credentials,
            "forward_credentials",
            "says nothing on the way to Neon, which gets its own cookies alone",
        ),
        (
            route.csrf == Some(CsrfMode::Off),
            "csrf",
            "can't be off on the way to Neon, which is told the page's origin in good faith",
        ),
        (route.websocket, "websocket", "has no use on the way to Neon"),
        (
            route.host == Some(HostSetting::Public),
            "host",
            "can't be \"public\": Neon is asked by its own name",
        ),
        (
            route.resend == Some(true),
            "resend",
            "can't be on the way to Neon, where a GET may change something",
        ),
    ] {
        if is_wrong {
            faults.add(format!("{key}.{name}"), reason);
        }
    }
    if settings.public_origins.is_empty() {
        let reason = format!(
            "leads to Neon, and {} is not set: it says whose cookies Neon's become",
            variable::PUBLIC_ORIGINS
        );
        faults.add(format!("{key}.upstream"), reason);
    }
    let pattern = Pattern::parse(&route.path).ok()?;
    // A route below another one to Neon is a part of it, with bounds of its own.
    let to_neon = settings.routes.iter().filter(|route| route.upstream.as_deref() == Some(NEON_AUTH));
    let around =
        to_neon.filter_map(|route| Pattern::parse(&route.path).ok()).filter(|outer| outer.covers(&pattern));
    let path = around.map(|outer| outer.to_string()).min_by_key(String::len)?;
    let Some(path) = path.strip_suffix("/**") else {
        faults.add(
            format!("{key}.path"),
            "must end in /** on the way to Neon: what it stands for is put behind its base URL",
        );
        return None;
    };
    let values = |origins: &[Origin]| origins.iter().map(|origin| origin.0.clone()).collect::<Vec<_>>();
    let (own, allowed) = (values(&settings.public_origins), values(&settings.cors.allowed_origins));
    Some(NeonAuth::new(path, url.url().path(), &own, &allowed))
}

/// What answers on a route let pages read.
fn expose(key: &str, route: &RouteSettings, faults: &mut Faults) -> Vec<HeaderName> {
    let mut parsed = Vec::new();
    for name in &route.expose_headers {
        match HeaderName::try_from(name.as_str()) {
            Ok(name) if name != "*" => parsed.push(name),
            // With credentials it would be the name of a header (Fetch §3.2.5).
            _ => faults.add(format!("{key}.expose_headers"), format!("`{name}` is not the name of a header")),
        }
    }
    parsed
}

fn methods(key: &str, route: &RouteSettings, faults: &mut Faults) -> Option<Methods> {
    let methods = Methods::parse(route.methods.as_ref()?)
        .map_err(|reason| SettingsError::new(format!("{key}.methods"), reason));
    faults.hear(methods)
}

/// The kind of credential that a route takes.
fn credential(key: &str, route: &RouteSettings, faults: &mut Faults) -> Option<CredentialKind> {
    let kind = match route.credential? {
        CredentialSetting::Bearer => CredentialKind::Bearer,
        CredentialSetting::Cookie => CredentialKind::Cookie,
    };
    if route.access == Some(Access::Public) {
        let reason = "says nothing where access is public: anybody passes, by whatever credential or none";
        faults.add(format!("{key}.credential"), reason);
    }
    Some(kind)
}

/// What a credential must have been granted on a route.
fn scopes(key: &str, route: &RouteSettings, faults: &mut Faults) -> Option<Arc<RequiredScopes>> {
    let key = format!("{key}.scopes");
    let set = route.scopes.as_ref()?;
    if route.access.unwrap_or_default() != Access::Authenticated {
        let reason =
            "demands something of whoever is known, where nobody need be; leave out `access`, or this";
        faults.add(&*key, reason);
    }
    if route.credential == Some(CredentialSetting::Cookie) {
        let reason = "lets nobody in beside `credential = \"cookie\"`: only tokens have scopes";
        faults.add(&*key, reason);
    }
    let scopes = RequiredScopes::parse(set).map_err(|reason| SettingsError::new(&*key, reason));
    faults.hear(scopes).map(Arc::new)
}

/// How far a page's origin is checked on a route.
fn csrf(key: &str, route: &RouteSettings, settings: &Settings, faults: &mut Faults) -> CsrfMode {
    let is_public = route.access == Some(Access::Public);
    if route.csrf == Some(CsrfMode::Off) && !is_public {
        let reason =
            "may be off only where access is public: elsewhere any page could act for whoever is signed in";
        faults.add(format!("{key}.csrf"), reason);
    }
    route.csrf.unwrap_or(settings.csrf.mode)
}

/// How long an answer on a route may take to begin, and how long it may pause.
fn waits(
    key: &str,
    route: &RouteSettings,
    all: &settings::Upstream,
    faults: &mut Faults,
) -> (Duration, Duration) {
    let mut wait = |name: &str, own: Option<Secs>, all: Duration, range: &RangeInclusive<u64>| {
        let wait = own.map_or(all, |Secs(own)| own);
        in_range(faults, format!("{key}.{name}"), wait.as_secs(), range);
        wait
    };
    (
        wait("timeout_secs", route.timeout, all.timeout, &TIMEOUT_SECS),
        wait("idle_secs", route.idle, all.idle, &IDLE_SECS),
    )
}

fn in_range(faults: &mut Faults, key: String, value: u64, range: &RangeInclusive<u64>) {
    if !range.contains(&value) {
        faults.add(key, format!("must be {} to {}", range.start(), range.end()));
    }
}

/// The bounds of bodies on a route: its own, or else those of all.
fn body(key: &str, route: &RouteSettings, limits: &settings::Limits, faults: &mut Faults) -> BodyBounds {
    let all = limits.body();
    let body = BodyBounds {
        bytes: route.body_bytes.unwrap_or(all.bytes),
        total: route.body_total.map_or(all.total, |Secs(total)| total),
        rate: route.body_rate.unwrap_or(all.rate),
    };
    let mut check = |name: &str, value: u64, range: &RangeInclusive<u64>| {
        in_range(faults, format!("{key}.{name}"), value, range);
    };
    check("body_bytes", body.bytes, &BODY_BYTES);
    check("body_secs", body.total.as_secs(), &BODY_SECS);
    check("body_rate", body.rate.into(), &BODY_RATE);
    body
}

/// So many requests a minute, so many at once; 0 a minute is no limit.
fn quota(per_minute: u32, burst: u32) -> Option<Quota> {
    (per_minute > 0).then_some(Quota { per_minute, burst })
}

/// The rates of a route's clients and users, where it has its own.
fn own_rates(
    key: &str,
    route: &RouteSettings,
    limits: &settings::Limits,
    faults: &mut Faults,
) -> [RouteRate; 2] {
    let mut own = |name: &str, per_minute: Option<u32>, burst: Option<u32>, all: (u32, u32)| {
        for (end, value, range) in [("per_minute", per_minute, &PER_MINUTE), ("burst", burst, &BURST)] {
            if value.is_some_and(|value| !range.contains(&value.into())) {
                let (least, most) = (range.start(), range.end());
                faults.add(format!("{key}.{name}_{end}"), format!("must be {least} to {most}"));
            }
        }
        let own = quota(per_minute.unwrap_or(all.0), burst.unwrap_or(all.1));
        if burst.is_some() && own.is_none() {
            faults.add(
                format!("{key}.{name}_burst"),
                format!("says nothing without {name}_per_minute; set that, too"),
            );
        }
        if per_minute.is_some() || burst.is_some() { RouteRate::Own(own) } else { RouteRate::Common }
    };
    let client = (limits.client_per_minute, limits.client_burst);
    let user = (limits.user_per_minute, limits.user_burst);
    let rates = [
        own("client", route.client_per_minute, route.client_burst, client),
        own("user", route.user_per_minute, route.user_burst, user),
    ];
    if rates[1] != RouteRate::Common && route.access == Some(Access::Public) {
        faults.add(format!("{key}.user_per_minute"), "counts nobody: on a public route no user is known");
    }
    rates
}

/// What is wrong with a route that the one at `at` leaves nothing for.
fn unreachable(route: &RouteSettings, at: usize, first: &RouteSettings) -> String {
    let access = |route: &RouteSettings| route.upstream.as_ref().map(|_| route.access.unwrap_or_default());
    let differs = match (access(first), access(route)) {
        (Some(Access::Public | Access::Optional), Some(Access::Authenticated)) => ", and lets anybody in",
        (Some(Access::Authenticated), Some(Access::Public | Access::Optional)) => {
            ", and demands authentication"
        }
        _ => "",
    };
    format!(
        "`{}` is never reached: routes[{at}], `{}`, takes all of it first{differs}; put it before that",
        route.path, first.path
    )
}

#[cfg(test)]
mod tests {
    use chassis::settings;

    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Plan, String> {
        settings::load::<Settings>(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    fn load_file(text: &str) -> Result<Plan, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(path, text).unwrap();
        // Each fault says in which file it is, and where there.
        let in_file = format!("{} {path}: ", variable::CONFIG);
        load(&[(variable::CONFIG, path)]).map_err(|error| error.replace(&in_file, ""))
    }

    #[test]
    fn all_that_does_not_go_together_is_told_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let routes = "[[routes]]\npath = \"/a\"\n[[routes]]\npath = \"b\"\nanswer = \"health\"\n\
                      [upstreams]\nnotes = \"https://notes\"";
        let path = file.path().to_str().unwrap();
        std::fs::write(path, routes).unwrap();
        let error = load(&[
            (variable::CONFIG, path),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://verifier:8001/verify"),
            ("GATEWAY_TASK_SERVICE_URL", "https://tasks"),
            ("GATEWAY_LIMITS__TARGET_BYTES", "40000"),
            // One that can't be read does not hide those that don't go together.
            ("GATEWAY_LIMITS__REQUESTS_MAX", "0"),
            ("GATEWAY_SANITIZE__COOKIE_PREFIXES", "better auth"),
        ])
        .unwrap_err();
        for name in [
            &format!("GATEWAY_CONFIG {path}: routes[0]: "),
            &format!("GATEWAY_CONFIG {path}: routes[1].path: "),
            &format!("GATEWAY_CONFIG {path}: [upstreams] notes: must be one or more of"),
            &format!("GATEWAY_CONFIG {path}: [upstreams] notes: no route leads there"),
            "GATEWAY_AUTH_VERIFIER_URL: ",
            "GATEWAY_TASK_SERVICE_URL: ",
            "GATEWAY_LIMITS__TARGET_BYTES: ",
            "GATEWAY_LIMITS__REQUESTS_MAX: ",
            "GATEWAY_SANITIZE__COOKIE_PREFIXES: ",
        ] {
            assert!(error.lines().any(|line| line.starts_with(name)), "{name}: {error}");
        }
    }

    #[test]
    fn a_path_that_no_request_has_is_told_and_hides_nothing_from_who_thinks_it_guards() {
        for path in ["/users/{id}", "/users/:id", "/users/<id>/**", "/users/[id]", "/{x}/**", "/a?b", "/a#b"]
        {
            let text = format!(
                "[[routes]]\npath = \"{path}\"\nupstream = \"task-service\"\n\
                 [[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\""
            );
            let error = load_file(&text).unwrap_err();
            assert!(error.starts_with("routes[0].path: has a query or a placeholder"), "{path}: {error}");
        }
        for path in ["/v1/tasks:complete", "/@me/**", "/a|b", "/auth0|1:x@y"] {
            let text = format!("[[routes]]\npath = \"{path}\"\nupstream = \"task-service\"");
            assert_eq!(load_file(&text).unwrap().routes.len(), 1, "{path}");
        }
    }

    #[test]
    fn routes_come_from_a_file() {
        let good = "[upstreams]\nnotes = \"http://notes:1\"\n[[routes]]\npath = \"/n/**\"\nupstream = \"notes\"\naccess = \"public\"";
        assert_eq!(load_file(good).unwrap().routes.len(), 1);
        for notes in [
            "[\"http://a:1\", \"http://b:1\"]",
            "{ url = \"http://a:1, http://b:1\", ready = \":2/x\", idempotency_key = true }",
        ] {
            let plan = load_file(&good.replace("\"http://notes:1\"", notes)).unwrap();
            let TargetPlan::Upstream(target) = &plan.routes[0].target else { panic!("{notes}") };
            let upstream = &target.upstream;
            assert_eq!(upstream.hosts.len(), 2, "{notes}");
            assert_eq!(upstream.honours_idempotency_key, notes.contains("true"), "off unless it is set");
            assert_eq!(upstream.readiness.is_some(), notes.contains("ready"));
        }
        let open_before_closed = "[[routes]]\npath = \"/api/open\"\nupstream = \"task-service\"\naccess = \"public\"\n\
                                  [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\n\
                                  [[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\"";
        let routes = load_file(open_before_closed).unwrap().routes;
        assert_eq!(routes.len(), 3);
        let TargetPlan::Upstream(target) = &routes[0].target else { panic!("no service") };
        assert!(target.upstream.honours_idempotency_key, "task-service keeps keys");
        for (bad, want) in [
            ("[[routes]]\npath = \"/n\"\nupstream = \"nowhere\"", "`nowhere` is not in [upstreams]"),
            ("[[routes]]\npath = \"/n\"", "either `answer` or `upstream`"),
            ("[[routes]]\npath = \"n\"\nanswer = \"health\"", "routes[0].path"),
            ("[[routes]]\npath = \"/n/*/x\"\nanswer = \"health\"", "routes[0].path"),
            (
                "[[routes]]\npath = \"/h\"\nanswer = \"health\"\nclient_per_minute = 1",
                "routes[0]: answers by itself, and that is never limited",
            ),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nclient_burst = 1",
                "routes[0].client_burst: says nothing without client_per_minute",
            ),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nuser_per_minute = 6000001",
                "routes[0].user_per_minute: must be 0 to 6000000",
            ),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nuser_per_minute = 1\nuser_burst = 0",
                "routes[0].user_burst: must be 1 to 1000000",
            ),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\naccess = \"public\"\nuser_per_minute = 1",
                "routes[0].user_per_minute: counts nobody",
            ),
            ("[[routes]]\npath = \"/n\"\nanswer = \"health\"\nacces = \"public\"", "acces"),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\naccess = \"everybody\"",
                "routes[0].access: must be authenticated, optional or public",
            ),
            (
                "[[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\"\n\
                 [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"",
                "routes[1].path: `/api/**` is never reached: routes[0], `/**`, takes all of it first, and lets anybody in; \
                 put it before that",
            ),
            (
                "[[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\n\
                 [[routes]]\npath = \"/api/open\"\nupstream = \"task-service\"\naccess = \"public\"",
                "routes[1].path: `/api/open` is never reached: routes[0], `/api/**`, takes all of it first, and demands \
                 authentication; put it before that",
            ),
            (
                "[[routes]]\npath = \"/a\"\nupstream = \"task-service\"\n\
                 [[routes]]\npath = \"/a/\"\nupstream = \"task-service\"",
                "routes[1].path: `/a/` is never reached: routes[0], `/a`, takes all of it first; put it before that",
            ),
            (
                "[[routes]]\npath = \"/a/**\"\nanswer = \"health\"\n\
                 [[routes]]\npath = \"/a/b\"\nupstream = \"task-service\"",
                "routes[1].path: `/a/b` is never reached: routes[0], `/a/**`, takes all of it first; put it before that",
            ),
            (
                "[[routes]]\npath = \"/h\"\nanswer = \"health\"\naccess = \"authenticated\"",
                "routes[0].access: says nothing beside `answer`, which anybody may ask for",
            ),
            (
                "[[routes]]\npath = \"/h\"\nanswer = \"health\"\naccess = \"public\"",
                "routes[0].access: says nothing",
            ),
            (
                "[[routes]]\npath = \"/h\"\nanswer = \"health\"\nupstream = \"task-service\"",
                "either `answer` or `upstream`",
            ),
            ("[upstreams]\nnotes = \"http://notes:1\"", "[upstreams] notes: no route leads there"),
            (
                "[upstreams]\nnotes = \"\"\n[[routes]]\npath = \"/n\"\nupstream = \"notes\"",
                "[upstreams] notes: must be one or more of",
            ),
            (
                "[upstreams]\nnotes = { url = \"https://notes\" }\n[[routes]]\npath = \"/n\"\nupstream = \"notes\"",
                "[upstreams] notes: must be one or more of",
            ),
            (
                "[upstreams]\nnotes = { url = \"http://notes:1\", ready = \"healthz\" }",
                "`healthz` must be a path, `/healthz`, or a port and a path, `:9002/readyz`",
            ),
            ("[upstreams]\nnotes = { url = \"http://notes:1\", redy = \"/healthz\" }", "redy"),
            ("[upstreams]\nnotes = { ready = \"/healthz\" }", "url"),
            ("[upstreams]\nnotes = 1", "one or more URLs, or a table with `url`"),
            ("routes = []", "routes: must be at least one"),
            ("[[routes]]\npath = \"/n\"\nanswer = \"health\"\nbody_bytes = 1", "reads no body"),
            ("[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_byts = 1", "body_byts"),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_secs = 0",
                "routes[0].body_secs: must be 1 to 86400",
            ),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_rate = 0",
                "routes[0].body_rate: must be 1 to",
            ),
            (
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_bytes = 1099511627777",
                "routes[0].body_bytes: must be 1 to",
            ),
        ] {
            let error = load_file(bad).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
