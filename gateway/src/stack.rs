//! The walk of a request, on one page.

use std::sync::Arc;

use chassis::{
    Body,
    layer::{access_log::AccessLogged, problem::Rim, request_id::Assign},
    serve::{HttpService, trusted_proxies::TrustedProxies},
};
use http::{Request, Response};

use crate::{
    admit::Limits,
    authenticate::Authenticate,
    client::Client,
    cookies::CookiePrefixes,
    cors,
    csrf::OwnPages,
    refusal::{self, Refusal},
    route::{Answer, Routes, Way},
    sanitize,
    settings::Settings,
    stamp,
    upstream::forward::Forward,
};

/// Builds the whole stack from settings that were checked.
///
/// Id, trace and CORS stand outside the rim, so that a refusal has them too: a browser hides an answer without
/// CORS headers from the page, and a refusal without an id can't be found in the log.
pub fn stack(settings: &Settings) -> impl HttpService {
    let walk = Walk {
        trusted: settings.server.trusted_proxies.clone().into(),
        limits: Limits::new(settings),
        routes: Routes::new(settings),
        cookies: CookiePrefixes(settings.sanitize.cookie_prefixes.clone().into()),
        authenticate: Authenticate::new(
            &settings.auth_verifier_url,
            &settings.verifier,
            OwnPages::new(&settings.cors.allowed_origins),
        ),
        forward: Forward::new(settings),
    };
    Assign(AccessLogged(cors::cors(Rim(walk), &settings.cors)))
}

struct Walk {
    trusted: Arc<TrustedProxies>,
    limits: Limits,
    routes: Routes,
    cookies: CookiePrefixes,
    authenticate: Authenticate,
    forward: Forward,
}

impl HttpService for Walk {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.walk(request).await.unwrap_or_else(refusal::answer)
    }
}

impl Walk {
    /// Each station takes what the one before it made, so that none can be left out or swapped.
    async fn walk(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let client = Client::of(&request, &self.trusted);
        let (request, fate) = self.limits.bound(request)?;
        let routed = match self.routes.route(request)? {
            Way::Here(Answer::Health) => return Ok(refusal::healthy()),
            Way::Server => return Ok(refusal::methods()),
            Way::Inside(routed) => routed,
        };
        Limits::bound_body(&routed, &fate)?;
        // Only here: that the gateway is healthy is true when it is full, too.
        let mut place = self.limits.enter(&client)?;
        let sanitized = sanitize::sanitize(routed, client)?;
        let authenticated = self.authenticate.authenticate(sanitized).await?;
        if let Some(user) = authenticated.user() {
            place.count_to(user)?;
        }
        let stamped = stamp::stamp(authenticated, &self.cookies);
        let response = self.forward.forward(stamped, &fate).await?;
        Ok(place.hold(response))
    }
}
