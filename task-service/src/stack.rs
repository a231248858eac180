//! The walk of a request on one page.

use std::sync::Arc;

use chassis::{
    layer::{access_log::AccessLogged, problem::Rim, request_id::Assign},
    serve::HttpService,
};

use crate::{
    api,
    settings::Limits,
    store::Store,
    trust::{Trust, Trusted},
};

/// The whole stack.
pub fn stack(trust: Arc<Trust>, store: Store, limits: Limits) -> impl HttpService {
    // Before any routing: whoever is not let in learns nothing about what there is.
    let trusted = Trusted { trust, inner: api::router(store, limits) };
    // Outside of all, so that a refusal has an id, an access line and a body too.
    Assign(AccessLogged(Rim(trusted)))
}
