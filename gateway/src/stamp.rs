//! Sets the headers that only we may set: who is calling, and where the request came from.

use std::sync::Arc;

use http::{Request, header};

use crate::{
    admit::InFlightPermit,
    authenticate::Caller,
    body::bounded::BoundedBody,
    cookies::{self, CookiePrefixes},
    quota::Counted,
    record::Record,
};

/// A request that may go to its service. Only this file makes one.
pub struct Stamped {
    request: Request<BoundedBody>,
    record: Arc<Record>,
    permit: InFlightPermit,
}

/// Stamps a request. `sanitize` has stripped its client's own copies of these headers.
pub fn stamp(counted: Counted, prefixes: &CookiePrefixes) -> Stamped {
    let (sanitized, caller) = counted.into_inner().into_inner().into_parts();
    let (admitted, credentials) = sanitized.into_parts();
    let (routed, permit) = admitted.into_parts();
    let (mut request, record, client) = routed.into_parts();
    let headers = request.headers_mut();
    client.forward(headers);
    if !credentials.cookies.is_empty() {
        let named = caller.as_deref().and_then(Caller::credential_cookies);
        let cookies = cookies::forwarded(&credentials.cookies, prefixes, named);
        headers.extend(cookies.map(|cookies| (header::COOKIE, cookies)));
    }
    // `insert`, not `append`: whatever went before, each stands there once.
    for (name, value) in caller.iter().flat_map(|caller| caller.headers()) {
        headers.insert(name, value);
    }
    Stamped { request, record, permit }
}

impl Stamped {
    /// The request, its record, and its permit.
    pub(crate) fn into_parts(self) -> (Request<BoundedBody>, Arc<Record>, InFlightPermit) {
        (self.request, self.record, self.permit)
    }
}
