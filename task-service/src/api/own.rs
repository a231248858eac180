//! Whose tasks a path is about, and which one: the caller's own, or nobody's.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use chassis::layer::problem::Problem;
use http::request::Parts;

use super::{Api, refusal::Refusal};
use crate::{store::Tasks, task::TaskId, trust::Caller};

/// The caller's own tasks. A path that names another user is refused here, before anything is read.
pub(super) struct Own {
    api: Arc<Api>,
    caller: Caller,
}

impl Own {
    pub(super) fn tasks(&self) -> Tasks<'_> {
        self.api.store.of(&self.caller)
    }
}

impl FromRequestParts<Arc<Api>> for Own {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        match parameter(parts, "user_id").await? {
            Some(named) if named != caller.id().as_str() => Err(Refusal::NotYours.into()),
            _ => Ok(Self { api: api.clone(), caller }),
        }
    }
}

/// The task that a path names. What can't be an id is answered like an id that nobody has.
pub(super) struct Id(pub(super) TaskId);

impl FromRequestParts<Arc<Api>> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Refusal> {
        let id = parameter(parts, "id").await?;
        id.and_then(|id| TaskId::parse(&id)).map(Self).ok_or(Refusal::NoSuchTask)
    }
}

/// A parameter of the path, percent-decoded.
async fn parameter(parts: &mut Parts, name: &str) -> Result<Option<String>, Refusal> {
    // Neither a user nor a task is called by something that isn't text.
    let parameters = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| Refusal::NoSuchTask)?;
    Ok(parameters.iter().find(|(found, _)| *found == name).map(|(_, value)| value.to_owned()))
}
