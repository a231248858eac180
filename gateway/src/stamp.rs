//! Sets the headers that only we may set: who is calling, and where the request came from.

use std::sync::Arc;

use http::{Request, header};

use crate::{
    admit::InFlightPermit,
    authenticate::Caller,
    body::bounded::BoundedBody,
    cookies::{self, CookiePrefixes},
    neon_auth::NeonAuthError,
    quota::Counted,
    record::Record,
    websocket::Handshake,
};

/// A request that may go to its service. Only this file makes one.
pub struct Stamped(StampedParts);

/// What that is made of.
pub(crate) struct StampedParts {
    pub(crate) request: Request<BoundedBody>,
    pub(crate) record: Arc<Record>,
    pub(crate) permit: InFlightPermit,
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) handshake: Option<Box<Handshake>>,
}

/// Stamps a request. `sanitize` has stripped its client's own copies of these headers.
pub fn stamp(counted: Counted, prefixes: &CookiePrefixes) -> Result<Stamped, NeonAuthError> {
    let (sanitized, caller) = counted.into_inner().into_inner().into_parts();
    let (admitted, credentials) = sanitized.into_parts();
    let (routed, permit) = admitted.into_parts();
    let (mut request, record, client, handshake) = routed.into_parts();
    if let Some(neon) = &record.route().neon_auth {
        // It hears nothing of what services inside hear.
        neon.ask(&mut request, credentials, &client)?;
        return Ok(Stamped(StampedParts { request, record, permit, caller: None, handshake: None }));
    }
    let headers = request.headers_mut();
    client.forward(headers);
    if record.route().forward_credentials {
        headers.extend(credentials.authorization.map(|value| (header::AUTHORIZATION, value)));
        headers.extend(cookies::joined(&credentials.cookies).map(|cookies| (header::COOKIE, cookies)));
    } else if !credentials.cookies.is_empty() {
        let named = caller.as_deref().and_then(Caller::credential_cookies);
        let cookies = cookies::forwarded(&credentials.cookies, prefixes, named);
        headers.extend(cookies.map(|cookies| (header::COOKIE, cookies)));
    }
    // `insert`, not `append`: whatever went before, each stands there once.
    for (name, value) in caller.iter().flat_map(|caller| caller.headers()) {
        headers.insert(name, value);
    }
    if handshake.is_some() {
        Handshake::ask(headers);
    }
    Ok(Stamped(StampedParts { request, record, permit, caller, handshake }))
}

impl Stamped {
    /// All of it.
    pub(crate) fn into_parts(self) -> StampedParts {
        self.0
    }
}
