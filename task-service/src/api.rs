//! The tasks API, as a frontend sees it through the gateway: which path, which method, what comes back.
//!
//! Every route stands under `/api/tasks` and again under `/api/{user_id}/tasks`, with and without a slash at its end,
//! because frontends call all four. Where a path could mean either form, the short one wins: `/api/tasks/tasks` is
//! the task `tasks`, which does not exist, rather than the list of a user of that name, who has `/api/tasks` too.

mod input;
mod own;
mod refusal;

use std::sync::Arc;

use axum::{
    Router,
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, patch},
};
use chassis::json::Answer;
use http::{HeaderValue, StatusCode, Uri, header};
use url::form_urlencoded;

use self::{
    input::Input,
    own::{Id, Own},
    refusal::Refusal,
};
use crate::{
    settings::Limits,
    store::Store,
    task::{
        Task,
        draft::{self, Changes, NewTask},
        listing::Listing,
    },
};

/// What the handlers work with.
pub(crate) struct Api {
    store: Store,
    limits: Limits,
}

/// The routes. Each demands a [`Caller`](crate::trust::Caller), so they stand behind
/// [`Trusted`](crate::trust::Trusted) or answer nobody.
pub fn router(store: Store, limits: Limits) -> Router {
    let mut router = Router::new();
    for tasks in ["/api/tasks", "/api/{user_id}/tasks"] {
        for slash in ["", "/"] {
            router = router
                .route(&format!("{tasks}{slash}"), get(list).post(create))
                .route(&format!("{tasks}/{{id}}{slash}"), get(read).put(change).patch(change).delete(remove))
                .route(&format!("{tasks}/{{id}}/complete{slash}"), patch(complete));
        }
    }
    router
        .fallback(async || Refusal::NoSuchPath)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .layer(map_response(private))
        .with_state(Arc::new(Api { store, limits }))
}

async fn list(own: Own, uri: Uri) -> Result<Answer<Vec<Task>>, Refusal> {
    let query: Vec<_> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let listing = Listing::parse(&query).map_err(Refusal::Invalid)?;
    Ok(Answer(own.tasks().list(&listing).await?))
}

async fn create(own: Own, uri: Uri, input: Input) -> Result<Response, Refusal> {
    let new = NewTask::parse(&input.required()?).map_err(Refusal::Invalid)?;
    let task = own.tasks().create(&new).await?;
    // In the form that the client uses.
    let location = format!("{}/{}", uri.path().trim_end_matches('/'), task.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Answer(task)).into_response())
}

async fn read(own: Own, Id(id): Id) -> Result<Answer<Task>, Refusal> {
    own.tasks().get(id).await?.map(Answer).ok_or(Refusal::NoSuchTask)
}

async fn change(own: Own, Id(id): Id, input: Input) -> Result<Answer<Task>, Refusal> {
    let changes = Changes::parse(&input.required()?).map_err(Refusal::Invalid)?;
    own.tasks().change(id, &changes).await?.map(Answer).ok_or(Refusal::NoSuchTask)
}

async fn complete(own: Own, Id(id): Id, input: Input) -> Result<Answer<Task>, Refusal> {
    let completed = match input.optional()? {
        Some(body) => draft::completion(&body).map_err(Refusal::Invalid)?,
        None => None,
    };
    own.tasks().complete(id, completed).await?.map(Answer).ok_or(Refusal::NoSuchTask)
}

async fn remove(own: Own, Id(id): Id) -> Result<StatusCode, Refusal> {
    if own.tasks().delete(id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::NoSuchTask) }
}

/// What is one user's is kept by nobody in between, and asked for again by the browser.
async fn private(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}
