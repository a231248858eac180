//! The walk of a request, on one page.

use std::{collections::HashMap, sync::Arc};

use chassis::{
    Body,
    layer::{access_log::AccessLogged, problem::Rim, request_id::Assign},
    outbound::client::POOL_IDLE,
    serve::HttpService,
    settings::Switch,
};
use http::{Request, Response};

use crate::{
    admit::Admission,
    authenticate::{Authenticator, VerifierClient},
    compress::Compressed,
    cookies::CookiePrefixes,
    cors::Cors,
    counts::Counts,
    csrf::{Pages, TrustedOrigins},
    head::HeadBounds,
    local,
    permit::permit,
    plan::{Plan, RouteRate, TargetPlan, UpstreamPlan, UpstreamTarget, VerifierPlan},
    quota::UserQuota,
    rate_limit::{Of, Quota, Standings},
    record::RouteMetrics,
    refusal::Refusal,
    rim,
    route::{Matched, PublicHosts, Route, Routes, Target},
    sanitize::sanitize,
    shed::Shedder,
    stamp::stamp,
    upstream::{
        Connector, Endpoints, Upstream,
        forward::{ForwardError, forward},
    },
    websocket::WebSockets,
};

/// Builds the whole stack, which goes on counting where the one before it is; its services' names are looked up from now on.
pub fn stack(plan: &Plan, counts: &Counts) -> impl HttpService + use<> {
    // Outermost first. All of them stand outside of the rim, so that a refusal has them, too.
    Assign(
        // Inside of the id, which its lines carry.
        AccessLogged::at_the_door(
            Cors::new(
                // Inside of CORS: a browser hides an answer without its headers from the page.
                Compressed::new(Rim(Walk::new(plan, counts), plan.errors_as), plan.compression == Switch::On),
                plan.origins.clone(),
                plan.public_origins.clone(),
                plan.preflight_max_age,
                plan.routes.iter().map(|route| (route.pattern.clone(), route.cors)).collect(),
            ),
            plan.trusted_proxies.clone(),
        ),
    )
}

impl HttpService for Walk {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let mut standings = Standings::default();
        let mut response = rim::answer(self.walk(request, &mut standings).await);
        standings.tell(response.headers_mut());
        response
    }
}

/// The stations, in their order.
struct Walk {
    head: HeadBounds,
    routes: Routes,
    admission: Admission,
    authenticator: Authenticator,
    csrf: TrustedOrigins,
    quota: UserQuota,
    cookies: CookiePrefixes,
    websockets: WebSockets,
    server_timing: bool,
}

impl Walk {
    fn new(plan: &Plan, counts: &Counts) -> Self {
        let requests = plan.requests;
        Self {
            head: plan.head,
            routes: routes(plan, counts),
            admission: Admission::new(&requests, counts),
            authenticator: authenticator(&plan.verifier),
            csrf: TrustedOrigins::new(plan.origins.clone(), plan.public_origins.clone()),
            quota: UserQuota::new(requests.per_user_max, counts),
            cookies: plan.cookie_prefixes.clone(),
            websockets: WebSockets::new(requests.websockets_max, requests.websockets_per_client_max, counts),
            server_timing: plan.server_timing,
        }
    }

    /// Each station takes the type that only the one before it makes, so that none can be left out or swapped.
    async fn walk(
        &self,
        request: Request<Body>,
        standings: &mut Standings,
    ) -> Result<Response<Body>, Refusal> {
        // First: nothing else looks at a head that is too large.
        let checked = self.head.check(request)?;
        let routed = match self.routes.route(checked)? {
            // Before admission: that the gateway is healthy is true when it is full, too.
            Matched::Local(local) => return Ok(local.response()),
            Matched::ServerOptions => return Ok(local::server_options()),
            Matched::Upstream(routed) => routed,
        };
        // After the route, whose bounds hold for the body; before anything that waits or costs.
        let admitted = self.admission.admit(routed, standings)?;
        // After the client is read off the headers, before anybody reads who it claims to be.
        let sanitized = sanitize(admitted)?;
        let authenticated = self.authenticator.authenticate(sanitized).await?;
        let verdict = authenticated.verdict();
        let routed = authenticated.sanitized().admitted().routed();
        let (record, body) = (routed.record().clone(), routed.body_bytes());
        // All need to know the caller: by which credential, whether by a cookie, and which user.
        let checked = self.csrf.check(permit(authenticated)?)?;
        let counted = self.quota.count(checked, standings)?;
        // Those that wait for the verdict don't wait for the service; those with a body wait for their client, too, who must not
        // be able to hold the places of others.
        let shedder = record.route().shedder.as_ref().filter(|_| body == Some(0));
        let waiting = shedder.map(Shedder::enter).transpose()?;
        // Last, so that nothing is set that a later station could strip, or a client could have sent.
        let stamped = stamp(counted, &self.cookies)?;
        record.forwarded();
        let mut forwarded = forward(stamped, &self.cookies, &self.websockets).await;
        match &mut forwarded {
            Ok(answer) => {
                record.answered();
                if let Some(waiting) = waiting {
                    waiting.answered();
                }
                if self.server_timing {
                    record.tell_timing(answer.headers_mut());
                }
            }
            Err(ForwardError::IdentityRefused) => self.authenticator.forget(verdict),
            Err(_) => {}
        }
        Ok(forwarded?)
    }
}

/// The routes, those to one service sharing its endpoints.
fn routes(plan: &Plan, counts: &Counts) -> Routes {
    let mut started: HashMap<Arc<str>, Arc<Upstream>> = HashMap::new();
    let mut start = |plan: &UpstreamPlan| {
        started.entry(plan.name.clone()).or_insert_with(|| Upstream::start(plan)).clone()
    };
    // One for all routes to a service.
    let mut shedders: HashMap<Arc<str>, Arc<Shedder>> = HashMap::new();
    let mut shedder = |upstream: &UpstreamPlan| {
        let UpstreamPlan { name, shed, .. } = upstream;
        let (target, least) = (*shed)?;
        let new = || Shedder::new(name, target, least, plan.requests.max);
        Some(shedders.entry(name.clone()).or_insert_with(new).clone())
    };
    let limits = plan.rate_limits;
    // What a route sets for itself has buckets of its own.
    let rate = |of, route: &Arc<str>, rate, of_all| {
        let (route, quota): (_, Option<Quota>) = match rate {
            RouteRate::Common => (None, of_all),
            RouteRate::Own(quota) => (Some(route.clone()), quota),
        };
        quota.map(|quota| counts.rate(of, route, quota, limits.entries_max))
    };
    let routes = plan.routes.iter().map(|route| {
        let target = match &route.target {
            TargetPlan::Local(local) => Target::Local(*local),
            TargetPlan::Upstream(target) => {
                let UpstreamTarget {
                    upstream,
                    access,
                    credential,
                    scopes,
                    body,
                    client_rate,
                    user_rate,
                    timeout,
                    idle,
                    websocket,
                    resend,
                    forward_credentials,
                    csrf,
                    asked_by_public_host,
                    neon_auth,
                    expose,
                    methods,
                } = &**target;
                let label: Arc<str> = route.pattern.to_string().into();
                Target::Upstream(Arc::new(Route {
                    metrics: RouteMetrics::new(label.clone()),
                    access: *access,
                    credential: *credential,
                    scopes: scopes.clone(),
                    upstream: start(upstream),
                    body: *body,
                    client_rate: rate(Of::Client, &label, *client_rate, limits.client),
                    user_rate: rate(Of::User, &label, *user_rate, limits.user),
                    label,
                    timeout: *timeout,
                    idle: *idle,
                    websocket: *websocket,
                    resend: *resend,
                    pages: if route.cors { Pages::OfAllowedOrigins } else { Pages::Own },
                    forward_credentials: *forward_credentials,
                    csrf: *csrf,
                    asked_by_public_host: *asked_by_public_host,
                    neon_auth: neon_auth.clone(),
                    expose: expose.clone(),
                    methods: methods.clone(),
                    shedder: shedder(upstream),
                }))
            }
        };
        (route.pattern.clone(), target)
    });
    let public_hosts = PublicHosts::of(&plan.public_origins);
    Routes::new(routes.collect(), public_hosts, plan.trusted_proxies.clone())
}

fn authenticator(plan: &VerifierPlan) -> Authenticator {
    let service = "auth-verifier".into();
    let connector =
        Connector::plain(&service, plan.connect, POOL_IDLE).named(plan.names.clone(), Some(plan.tls.clone()));
    let VerifierPlan { hosts, resolve, eject, readiness, .. } = plan;
    let endpoints = Endpoints::new(&service, hosts, connector, *resolve, *eject, readiness.clone());
    Authenticator::new(VerifierClient::new(endpoints, plan.timeout), plan.cache_entries_max)
}

#[cfg(test)]
mod tests {
    use chassis::settings::{self, Environment};

    use super::*;
    use crate::settings::Settings;

    /// Each request moves the state of its walk to the heap, byte by byte.
    const WALK_BYTES_MAX: usize = 3072;

    #[tokio::test]
    async fn the_state_of_a_walk_stays_small() {
        let walk =
            Walk::new(&settings::load::<Settings>(&Environment::default()).unwrap(), &Counts::default());
        let mut standings = Standings::default();
        let bytes = std::mem::size_of_val(&walk.walk(Request::new(Body::empty()), &mut standings));
        assert!(bytes <= WALK_BYTES_MAX, "{bytes}");
    }
}
