//! The tasks API, as a frontend sees it through the gateway: which path, which method, what comes back.

mod body;
mod path;
mod refusal;

use chassis::{Body, layer::problem::Problem};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use url::form_urlencoded;

pub(crate) use self::refusal::nothing_done;
use self::{
    body::JsonBody,
    path::{Path, Target},
    refusal::Refusal,
};
use crate::{
    settings::BodyLimits,
    store::{Found, Store, Tasks},
    task::{
        TaskId,
        draft::{self, Changes, NewTask},
        json,
        listing::Listing,
    },
    trust::{Caller, CallersService},
};

/// What the API works with. It can be called by a [`Caller`] alone.
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) body: BodyLimits,
}

impl CallersService for Api {
    async fn call(&self, caller: Caller, request: Request<Body>) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        match self.answer(&caller, request).await {
            // It says how long the body would have been (RFC 9110 §9.3.2).
            Ok(response) if head => response.map(|_| Body::empty()),
            Ok(response) => response,
            Err(refusal) => Problem::from(refusal).response(),
        }
    }
}

impl Api {
    async fn answer(&self, caller: &Caller, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        let Path { user, target } = Path::parse(parts.uri.path()).ok_or(Refusal::NoSuchPath)?;
        if !target.allows(&parts.method) {
            return Err(Refusal::MethodNotAllowed(target.methods()));
        }
        let callers = CallersTasks::of(caller, user, self)?;
        let body = JsonBody::new(&parts.headers, body, self.body);
        match (target, &parts.method) {
            (Target::Tasks, &Method::POST) => callers.create(&parts, body).await,
            (Target::Tasks, _) => callers.list(&parts).await,
            (Target::Task(id), method) => {
                let id = id.task()?;
                match *method {
                    Method::DELETE => callers.remove(id).await,
                    Method::PUT | Method::PATCH => callers.change(id, body).await,
                    _ => one(&callers.0.get(id).await?),
                }
            }
            (Target::Complete(id), _) => callers.complete(id.task()?, body).await,
        }
    }
}

/// The tasks of whoever is calling. A path that names another user is refused here, before anything else is read.
struct CallersTasks<'a>(Tasks<'a>);

impl<'a> CallersTasks<'a> {
    fn of(caller: &'a Caller, named: Option<path::Segment<'_>>, api: &'a Api) -> Result<Self, Refusal> {
        let theirs = match named {
            Some(named) => named.text()? == caller.id().as_str(),
            None => true,
        };
        if theirs { Ok(Self(api.store.of(caller))) } else { Err(Refusal::NotYours) }
    }

    async fn list(&self, parts: &Parts) -> Result<Response<Body>, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let listing = Listing::parse(&query).map_err(Refusal::Invalid)?;
        let found = self.0.list(&listing).await?;
        let mut body = Vec::with_capacity(2 + found.len() * json::TASK_BYTES);
        body.push(b'[');
        for task in found.tasks() {
            if body.len() > 1 {
                body.push(b',');
            }
            task?.write(&mut body);
        }
        body.push(b']');
        Ok(written(StatusCode::OK, body))
    }

    async fn create(&self, parts: &Parts, body: JsonBody<'_>) -> Result<Response<Body>, Refusal> {
        let body = body.read().await?;
        let new = NewTask::parse(&body.required()?).map_err(Refusal::Invalid)?;
        let id = TaskId::make();
        // In the form of path that the client uses. Before the task is made: an address that can't be written must not hide that it was.
        let location = format!("{}/{}", parts.uri.path().trim_end_matches('/'), id.uuid());
        let location = HeaderValue::try_from(location).map_err(|_| Refusal::NoSuchPath)?;
        let mut response = one(&self.0.create(id, &new).await?)?;
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert(header::LOCATION, location);
        Ok(response)
    }

    async fn change(&self, id: TaskId, body: JsonBody<'_>) -> Result<Response<Body>, Refusal> {
        let body = body.read().await?;
        let changes = Changes::parse(&body.required()?).map_err(Refusal::Invalid)?;
        one(&self.0.change(id, &changes).await?)
    }

    async fn complete(&self, id: TaskId, body: JsonBody<'_>) -> Result<Response<Body>, Refusal> {
        let body = body.read().await?;
        let completed = match body.optional()? {
            Some(body) => draft::completion(&body).map_err(Refusal::Invalid)?,
            None => None,
        };
        one(&self.0.complete(id, completed).await?)
    }

    async fn remove(&self, id: TaskId) -> Result<Response<Body>, Refusal> {
        if self.0.delete(id).await?.is_empty() {
            return Err(Refusal::NoSuchTask);
        }
        Ok(answer(StatusCode::NO_CONTENT, HeaderMap::new(), Body::empty()))
    }
}

fn one(found: &Found) -> Result<Response<Body>, Refusal> {
    let task = found.tasks().next().ok_or(Refusal::NoSuchTask)??;
    let mut body = Vec::with_capacity(json::TASK_BYTES);
    task.write(&mut body);
    Ok(written(StatusCode::OK, body))
}

fn written(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    answer(status, headers, body.into())
}

fn answer(status: StatusCode, mut headers: HeaderMap, body: Body) -> Response<Body> {
    // One user's data: no shared cache may keep it, and a browser asks again.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
