//! Strips an answer of what a service may not say to clients, and takes over what it says of CORS.

use std::{cell::Cell, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tracing::debug;

use super::{forward::ForwardError, location};
use crate::{
    authenticate::Caller,
    cookies::{self, CookiePrefixes},
    record::Record,
    route::Route,
    sanitize::{ESSENTIAL, is_coding_known, is_stripped, remove_where},
};

/// The most names that a service's own list may add to ours.
const EXPOSED_MAX: usize = 32;

/// Which headers of its answer a service lets pages read, besides those that always may be; among the extensions of an
/// answer, for `cors`.
#[derive(Clone)]
pub(crate) struct ExposedHeaders(pub(crate) Vec<HeaderName>);

/// The way that an answer comes back on.
pub(super) struct Way<'a> {
    pub(super) record: Arc<Record>,
    /// Prefixes of the names of cookies that only Better Auth may set.
    pub(super) prefixes: &'a CookiePrefixes,
    /// Whose verdict, if there is one, names further ones.
    pub(super) caller: Option<Arc<Caller>>,
}

/// Strips an answer's hop-by-hop headers, and those that only we or services inside may set or hear.
///
/// A service that refuses the identity that we gave has trouble with us, not with the client: an outage inside must not sign
/// anybody out.
pub(super) fn strip<B>(response: &mut Response<B>, way: &Way<'_>) -> Result<(), ForwardError> {
    let status = response.status();
    if status.is_informational() {
        return Err(ForwardError::Informational(status));
    }
    if status == StatusCode::UNAUTHORIZED && refuses_identity(response.headers()) {
        return Err(ForwardError::IdentityRefused);
    }
    if !is_coding_known(response.headers()) {
        return Err(ForwardError::Coding);
    }
    strip_headers(response, way);
    Ok(())
}

/// The same whatever the status.
pub(super) fn strip_headers<B>(response: &mut Response<B>, way: &Way<'_>) {
    response.extensions_mut().clear();
    let mut exposed = exposed(response.headers());
    exposed.extend_from_slice(&way.record.route().expose);
    if !exposed.is_empty() {
        response.extensions_mut().insert(ExposedHeaders(exposed));
    }
    let headers = response.headers_mut();
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let nominated: Vec<String> =
        lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let (names_place, sets_cookie) = (Cell::new(false), Cell::new(false));
    remove_where(headers, |name| {
        let is_nominated = || nominated.iter().any(|one| one == name.as_str()) && !ESSENTIAL.contains(name);
        let name = name.as_str();
        match name {
            "location" | "content-location" => names_place.set(true),
            "set-cookie" => sets_cookie.set(true),
            _ => {}
        }
        is_stripped(name) || matches!(name, "server" | "via") || is_cors(name) || is_nominated()
    });
    if names_place.get() {
        hide_inner_addresses(headers, way.record.route());
    }
    if let Some(neon) = &way.record.route().neon_auth {
        neon.answer(headers);
    } else if sets_cookie.get() && !way.record.route().forward_credentials {
        keep_credentials(headers, way);
    }
}

fn hide_inner_addresses(headers: &mut HeaderMap, route: &Route) {
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        if let Some(value) = headers.get_mut(name)
            && let Some(public) = location::public(value, |host, port| route.upstream.is_at(host, port))
        {
            *value = public;
        }
    }
}

/// Drops the cookies in Better Auth's name: a service that never sees them has none to set.
fn keep_credentials(headers: &mut HeaderMap, way: &Way<'_>) {
    let named = way.caller.as_deref().and_then(Caller::credential_cookies);
    let is_credential = |cookie: &HeaderValue| cookies::sets_credential(cookie, way.prefixes, named);
    if !headers.get_all(header::SET_COOKIE).iter().any(is_credential) {
        return;
    }
    debug!("dropped a Set-Cookie in Better Auth's name; `forward_credentials` of the route lets it pass");
    let header::Entry::Occupied(all) = headers.entry(header::SET_COOKIE) else { return };
    let (_, all) = all.remove_entry_mult();
    let kept: Vec<_> = all.filter(|cookie| !is_credential(cookie)).collect();
    for cookie in kept {
        headers.append(header::SET_COOKIE, cookie);
    }
}

fn refuses_identity(headers: &HeaderMap) -> bool {
    let challenge = identity::CHALLENGE.as_bytes();
    headers.get_all(header::WWW_AUTHENTICATE).iter().any(|value| {
        value.as_bytes().get(..challenge.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(challenge))
    })
}

/// Who may call is ours to say. A service's own word would stand beside it.
fn is_cors(name: &str) -> bool {
    name.starts_with("access-control-")
}

fn exposed(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS).iter();
    let names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    // A wildcard is none where credentials are allowed (Fetch §3.2.5), but looks like one.
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let names = names.map(str::trim).filter(|name| is_plain(name));
    names.filter_map(|name| name.parse().ok()).take(EXPOSED_MAX).collect()
}
