//! Which pages may call, and what they may read (Fetch §3.2).
//!
//! The headers are tower-http's. Two things are not as it does them: it takes every `OPTIONS` for a preflight,
//! which would let such a request by the authentication, and it tells an unknown origin what would be allowed.

use std::{convert::Infallible, sync::Arc};

use chassis::{Body, layer::request_id, serve::HttpService};
use http::{HeaderName, Method, Request, Response, header};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, CorsLayer};

use crate::settings::Cors;

/// What a page may read of an answer, besides what it always may.
const EXPOSED: [HeaderName; 7] = [
    request_id::HEADER,
    header::LOCATION,
    header::LINK,
    header::ETAG,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    header::ALLOW,
];

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Answers preflights, and puts CORS headers on every answer, refusals too.
pub fn cors<S: HttpService>(inner: S, settings: &Cors) -> impl HttpService {
    let origins = settings.allowed_origins.iter().map(|origin| origin.0.clone());
    let layer = CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_credentials(true)
        .allow_methods(METHODS)
        // With credentials no wildcard is allowed, so what is asked for is what is allowed.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(settings.max_age);
    let inner = Arc::new(inner);
    let layered = layer.layer(service_fn(move |request| unhide_options(inner.clone(), request)));
    move |request: Request<Body>| {
        let layered = layered.clone();
        async move {
            let Ok(mut response) = layered.oneshot(hide_options(request)).await;
            if response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
                expose(&mut response);
            } else {
                take_off(&mut response);
            }
            response
        }
    }
}

/// The most names that a service's own list may add to ours.
const EXPOSED_OF_SERVICE_MAX: usize = 32;

/// What a service says may be read of its answer, besides what always may.
#[derive(Clone)]
struct ExposedOfService(Vec<HeaderName>);

/// Takes over what a service says of CORS: which headers of its answer pages may read is its own to say; who may call is
/// ours, and would stand beside what we say.
pub fn take_over<B>(response: &mut Response<B>) {
    let lists = response.headers().get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS).iter();
    let names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    // A wildcard is none where credentials are allowed (Fetch §3.2.5), but only looks like one.
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let names = names.map(str::trim).filter(|name| plain(name));
    let exposed: Vec<_> = names.filter_map(|name| name.parse().ok()).take(EXPOSED_OF_SERVICE_MAX).collect();
    take_off(response);
    if !exposed.is_empty() {
        response.extensions_mut().insert(ExposedOfService(exposed));
    }
}

/// Says of both what may be read, in one list.
fn expose(response: &mut Response<Body>) {
    let Some(ExposedOfService(further)) = response.extensions_mut().remove() else { return };
    let further = further.into_iter().filter(|name| !EXPOSED.contains(name));
    let all: Vec<_> = EXPOSED.into_iter().chain(further).map(|name| name.to_string()).collect();
    if let Ok(all) = all.join(",").parse() {
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, all);
    }
}

/// Takes every CORS header off an answer.
fn take_off<B>(response: &mut Response<B>) {
    let names: Vec<_> = response
        .headers()
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in names {
        response.headers_mut().remove(name);
    }
}

/// Marks a request whose method is `OPTIONS` although it is no preflight.
#[derive(Clone)]
struct RealOptions;

/// A preflight has an origin and says for which method it asks (Fetch §4.8); any other `OPTIONS` is a request
/// like all others, and is shown to the layer as a `GET`.
fn hide_options(mut request: Request<Body>) -> Request<Body> {
    let headers = request.headers();
    let preflight =
        headers.contains_key(header::ORIGIN) && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !preflight {
        *request.method_mut() = Method::GET;
        request.extensions_mut().insert(RealOptions);
    }
    request
}

async fn unhide_options<S: HttpService>(
    inner: Arc<S>,
    mut request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    if request.extensions_mut().remove::<RealOptions>().is_some() {
        *request.method_mut() = Method::OPTIONS;
    }
    Ok(inner.call(request).await)
}
