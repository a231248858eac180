//! Puts on what only we may say: who is calling, and where the request came from.

use std::sync::Arc;

use chassis::{Body, serve::trusted_proxies::FORWARDED_FOR};
use http::{HeaderName, HeaderValue, Request, header};

use crate::{
    authenticate::{Authenticated, Caller},
    client::Scheme,
    cookies::{self, CookiePrefixes},
};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request that may go inside. Only this file makes one.
pub struct Stamped {
    request: Request<Body>,
    upstream: Arc<str>,
}

/// Stamps a request. Its client's own copies of these headers were taken off before.
pub fn stamp(authenticated: Authenticated, prefixes: &CookiePrefixes) -> Stamped {
    let (sanitized, caller) = authenticated.into_parts();
    let (mut request, client, host, upstream, cookies) = sanitized.into_parts();
    let credentials = caller.as_ref().and_then(Caller::credential_cookies);
    let cookies = cookies::inward(&cookies, prefixes, credentials);
    let headers = request.headers_mut();
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(FORWARDED_FOR, client.forwarded_for());
    put(FORWARDED_HOST, host);
    // We speak plain HTTP, so that it was https only a proxy before us can know.
    put(FORWARDED_PROTO, client.scheme().unwrap_or(Scheme::Http).as_str().to_owned());
    headers.extend(cookies.map(|cookies| (header::COOKIE, cookies)));
    // `insert`, not `append`: whatever went before, each stands there once.
    for (name, value) in caller.into_iter().flat_map(Caller::headers) {
        headers.insert(name, value);
    }
    Stamped { request, upstream }
}

impl Stamped {
    /// The request, and where it goes.
    pub fn into_parts(self) -> (Request<Body>, Arc<str>) {
        (self.request, self.upstream)
    }
}
