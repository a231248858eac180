//! The walk of a request on one page.

use std::sync::Arc;

use chassis::{
    Body,
    layer::{access_log, problem, request_id},
    serve::HttpService,
};
use http::Request;
use tower::{ServiceExt, service_fn};

use crate::{
    api,
    settings::Limits,
    store::Store,
    trust::{self, Trust},
};

/// The whole stack.
pub fn stack(trust: Arc<Trust>, store: Store, limits: Limits) -> impl HttpService {
    let router = api::router(store, limits);
    let api = service_fn(move |request: Request<Body>| router.clone().oneshot(request));
    // Before any routing: whoever is not let in learns nothing about what there is.
    let trusted = trust::trust(trust, api);
    // Outside of all, so that a refusal has an id, an access line and a body too.
    request_id::name(access_log::trace(problem::answer(trusted)))
}
