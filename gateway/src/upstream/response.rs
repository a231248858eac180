//! Strips an answer of what a service may not say to clients, and takes over what it says of CORS.

use http::{HeaderMap, HeaderName, Response, StatusCode, header};

use super::forward::ForwardError;
use crate::sanitize::{ESSENTIAL, is_coding_known, is_stripped, remove_where};

/// The most names that a service's own list may add to ours.
const EXPOSED_MAX: usize = 32;

/// Which headers of its answer a service lets pages read, besides those that always may be; among the extensions of an
/// answer, for `cors`.
#[derive(Clone)]
pub(crate) struct ExposedHeaders(pub(crate) Vec<HeaderName>);

/// Strips an answer's hop-by-hop headers, and those that only we or services inside may set or hear.
///
/// A service that refuses the identity that we gave has trouble with us, not with the client: an outage inside must not sign
/// anybody out.
pub(super) fn strip<B>(response: &mut Response<B>) -> Result<(), ForwardError> {
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
    response.extensions_mut().clear();
    let exposed = exposed(response.headers());
    if !exposed.is_empty() {
        response.extensions_mut().insert(ExposedHeaders(exposed));
    }
    let headers = response.headers_mut();
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let nominated: Vec<String> =
        lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    remove_where(headers, |name| {
        let is_nominated = || nominated.iter().any(|one| one == name.as_str()) && !ESSENTIAL.contains(name);
        let name = name.as_str();
        is_stripped(name) || matches!(name, "server" | "via") || is_cors(name) || is_nominated()
    });
    Ok(())
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
