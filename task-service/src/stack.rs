//! The walk of a request on one page.

use std::sync::Arc;

use chassis::{
    layer::{access_log::AccessLogged, problem::Rim, request_id::Assign},
    serve::HttpService,
};
use identity::Verifier;

use crate::{
    api::{Api, Described},
    settings::{Answers, BodyLimits},
    store::Store,
    trust::Trusted,
};

/// The whole stack.
pub fn stack(verifier: Arc<Verifier>, store: Store, body: BodyLimits, answers: Answers) -> impl HttpService {
    let Answers { shape, errors_as } = answers;
    // Before any routing: a request without proof must not learn which paths there are.
    let trusted = Trusted { verifier, inner: Api { store, body, shape } };
    // Before the proof, as the one exception: what the API is, anybody may read. What it holds, nobody.
    let described = Described::new(&body, trusted);
    // Outside of all, so that a refusal has an id, an access line and a problem body too.
    Assign(AccessLogged::new(Rim(described, errors_as)))
}
