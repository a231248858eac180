//! The tasks API, as a frontend sees it through the gateway: which path, which method, what comes back.

mod body;
mod conditional;
mod dialect;
mod openapi;
mod path;
mod refusal;
pub(crate) mod shape;

use bytes::Bytes;
use chassis::{Body, layer::problem::Problem, telemetry::traces};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts,
};
use url::form_urlencoded;
use uuid::Uuid;

use self::{
    body::JsonBody,
    conditional::{ListTag, Preconditions, Reading, task_tag},
    path::{Path, Target},
    refusal::Refusal,
    shape::{Extent, Shape},
};
pub(crate) use self::{openapi::Described, refusal::nothing_done};
use crate::{
    settings::BodyLimits,
    store::{Found, Page, Store, Tasks, Written},
    task::{
        LegacyId, TaskId,
        cursor::Place,
        draft::{self, Changes, NewTask},
        fault::FieldFault,
        json,
        listing::Listing,
        once::Once,
    },
    trust::{Caller, CallersService},
};

/// What the API works with. It can be called by a [`Caller`] alone.
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) body: BodyLimits,
    pub(crate) shape: Shape,
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
        let path = Path::parse(parts.uri.path()).ok_or(Refusal::NoSuchPath)?;
        traces::route(path.route());
        if !path.allows(&parts.method) {
            return Err(Refusal::MethodNotAllowed(path.methods()));
        }
        let Path { user, target, .. } = path;
        let callers = CallersTasks::of(caller, user, self)?;
        let body = JsonBody::new(&parts.headers, body, self.body);
        let asked = || Preconditions::of(&parts.headers);
        match (target, &parts.method) {
            (Target::Tasks, &Method::POST) => callers.create(&parts, body).await,
            (Target::Tasks, _) => callers.list(&parts, &asked()?).await,
            (Target::Task(id), method) => {
                let id = callers.id(id).await?;
                match *method {
                    Method::DELETE => callers.remove(&parts, id, &asked()?).await,
                    Method::PUT | Method::PATCH => callers.change(&parts, id, &asked()?, body).await,
                    _ => callers.get(id, &asked()?).await,
                }
            }
            (Target::Complete(id), _) => {
                let id = callers.id(id).await?;
                callers.complete(&parts, id, &asked()?, body).await
            }
        }
    }
}

/// The tasks of whoever is calling. A path that names another user is refused here, before anything else is read.
struct CallersTasks<'a> {
    tasks: Tasks<'a>,
    user: &'a str,
    shape: Shape,
}

impl<'a> CallersTasks<'a> {
    fn of(caller: &'a Caller, named: Option<path::Segment<'_>>, api: &'a Api) -> Result<Self, Refusal> {
        let user = caller.id().as_str();
        let theirs = match named {
            Some(named) => named.text()? == user,
            None => true,
        };
        if theirs {
            Ok(Self { tasks: api.store.of(caller), user, shape: api.shape })
        } else {
            Err(Refusal::NotYours)
        }
    }

    /// Which task a path names: by its id, or by the number that it had at another backend. What is neither is answered like
    /// an id that nobody has.
    async fn id(&self, named: path::Segment<'_>) -> Result<TaskId, Refusal> {
        let named = named.text()?;
        if let Some(id) = TaskId::parse(&named) {
            return Ok(id);
        }
        let number = LegacyId::parse(&named).ok_or(Refusal::NoSuchTask)?;
        self.tasks.of_legacy(&number).await?.ok_or(Refusal::NoSuchTask)
    }

    async fn list(&self, parts: &Parts, asked: &Preconditions<'_>) -> Result<Response<Body>, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let query = dialect::query(form_urlencoded::parse(query.as_bytes()));
        let listing = Listing::parse(&query, self.user).map_err(Refusal::Invalid)?;
        let mut page = self.tasks.list(&listing).await?;
        let mut list = self.list_of(&listing, &page)?;
        // Who is told of pages by their number counts them, too.
        let counts_pages = self.shape.list.tells_total() && listing.after.is_none();
        if list.is_cut && (listing.by_offset || counts_pages) {
            // Its place is given back first: nobody waits for places while holding one.
            drop((page, list));
            page = self.tasks.list_whole(&listing).await?;
            list = self.list_of(&listing, &page)?;
        }
        let (place, List { mut body, tag, last, shown, goes_on, .. }) = (page.place, list);
        let mut headers = HeaderMap::with_capacity(8);
        let mut extent = Extent::of(&listing, shown, goes_on);
        if extent.total.is_none() && (listing.total || self.shape.list.tells_total()) {
            extent.total = Some(self.tasks.count(&listing).await?);
        }
        let closing = self.shape.list.closing(&extent);
        body.extend_from_slice(closing.as_bytes());
        if let Some(last) = last.filter(|_| goes_on) {
            // In the form of path that the client uses.
            let link = format!("<{}?{}>; rel=\"next\"", parts.uri.path(), listing.next(&last, self.user));
            headers.insert(header::LINK, HeaderValue::try_from(link).map_err(|_| Refusal::NoSuchPath)?);
        }
        if let Some(total) = extent.total.filter(|_| listing.total) {
            headers.insert(TOTAL_COUNT, total.into());
            // The gateway has the other names that a page may read; this one is the tasks' alone.
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_name(TOTAL_COUNT));
        }
        read(tag.finish(goes_on, &closing), asked, headers, place.keep(body))
    }

    /// Writes as much of a page as it holds.
    fn list_of(&self, listing: &Listing, page: &Page) -> Result<List, Refusal> {
        let Page { found, goes_on, bytes_max, .. } = page;
        let mut list = List {
            body: Vec::with_capacity(2 + found.len() * json::TASK_BYTES),
            tag: ListTag::with_capacity(found.len()),
            last: None,
            shown: 0,
            goes_on: *goes_on,
            is_cut: *goes_on && found.len() < listing.limit.tasks(),
        };
        let mut last = None;
        list.body.extend_from_slice(self.shape.list.opening());
        for task in found.tasks() {
            let task = task?;
            let before = list.body.len();
            if last.is_some() {
                list.body.push(b',');
            }
            task.write(&mut list.body);
            if list.body.len() >= *bytes_max && last.is_some() {
                // The next page begins with it.
                list.body.truncate(before);
                (list.goes_on, list.is_cut) = (true, true);
                break;
            }
            list.tag.task(task.id, task.version);
            last = Some(task);
            list.shown += 1;
        }
        list.last = last.map(|last| Place::of(&last, listing.sort));
        Ok(list)
    }

    async fn get(&self, id: TaskId, asked: &Preconditions<'_>) -> Result<Response<Body>, Refusal> {
        let found = self.tasks.get(id).await?;
        let (tag, body) = one(&found)?;
        read(tag, asked, HeaderMap::with_capacity(4), body.into())
    }

    async fn create(&self, parts: &Parts, body: JsonBody<'_>) -> Result<Response<Body>, Refusal> {
        let body = body.read().await?;
        let new = NewTask::parse(&body.required()?).map_err(Refusal::Invalid)?;
        let once = self.once(parts, body.bytes())?;
        // In the form of path that the client uses.
        let location = |id: Uuid| {
            let location = format!("{}/{id}", parts.uri.path().trim_end_matches('/'));
            HeaderValue::try_from(location).map_err(|_| Refusal::NoSuchPath)
        };
        let id = TaskId::make();
        // Before the task is made: an address that can't be written must not hide that it was.
        location(id.uuid())?;
        let found = done(self.tasks.create(id, &new, once.as_ref()).await?)?;
        let mut response = changed(&found)?;
        *response.status_mut() = StatusCode::CREATED;
        // It may be that of the first time.
        let id = found.tasks().next().ok_or(Refusal::NoSuchTask)??.id;
        response.headers_mut().insert(header::LOCATION, location(id)?);
        Ok(response)
    }

    async fn change(
        &self,
        parts: &Parts,
        id: TaskId,
        asked: &Preconditions<'_>,
        body: JsonBody<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let body = body.read().await?;
        let changes = Changes::parse(&body.required()?).map_err(Refusal::Invalid)?;
        let once = self.once(parts, body.bytes())?;
        changed(&done(self.tasks.change(id, &changes, &asked.condition(), once.as_ref()).await?)?)
    }

    async fn complete(
        &self,
        parts: &Parts,
        id: TaskId,
        asked: &Preconditions<'_>,
        body: JsonBody<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let body = body.read().await?;
        let told = match body.optional()? {
            Some(body) => draft::completion(&body).map_err(Refusal::Invalid)?,
            None => None,
        };
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let asked_for = dialect::completion(query).map_err(|error| Refusal::Invalid(vec![error]))?;
        let completed = match (told, asked_for) {
            (Some(told), Some(asked_for)) if told != asked_for => {
                return Err(Refusal::Invalid(vec![FieldFault::Contradicts("the query").of("completed")]));
            }
            _ => told.or(asked_for),
        };
        // Under a key, the other state is another request, wherever it is said.
        let once = match asked_for {
            Some(is) => {
                self.once(parts, &[body.bytes(), if is { &b"?true"[..] } else { b"?false" }].concat())?
            }
            None => self.once(parts, body.bytes())?,
        };
        changed(&done(self.tasks.complete(id, completed, &asked.condition(), once.as_ref()).await?)?)
    }

    async fn remove(
        &self,
        parts: &Parts,
        id: TaskId,
        asked: &Preconditions<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let once = self.once(parts, b"")?;
        let found = done(self.tasks.delete(id, &asked.condition(), once.as_ref()).await?)?;
        self.shape.deleted.answer(&found)
    }

    /// Whether the request is to be done once, by its `Idempotency-Key`, and what it is.
    fn once(&self, parts: &Parts, body: &[u8]) -> Result<Option<Once>, Refusal> {
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = keys.next() else { return Ok(None) };
        let request = [parts.method.as_str().as_bytes(), parts.uri.path().as_bytes(), body];
        let once = Once::new(self.user, key.as_bytes(), &request).filter(|_| keys.next().is_none());
        once.map(Some).ok_or(Refusal::BadKey)
    }
}

/// A page, written.
struct List {
    body: Vec<u8>,
    tag: ListTag,
    /// Where the next page goes on.
    last: Option<Place>,
    shown: usize,
    goes_on: bool,
    /// Whether it ends before its limit.
    is_cut: bool,
}

/// By it a write that is sent again is recognised (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How many tasks a list has on all pages, where that was asked for.
const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// The answer to a read of what has this tag.
fn read(
    tag: HeaderValue,
    asked: &Preconditions<'_>,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, Refusal> {
    let reading = asked.reading(&tag);
    headers.insert(header::ETAG, tag);
    match reading {
        Reading::Answer => Ok(written(StatusCode::OK, headers, body)),
        Reading::NotModified => Ok(answer(StatusCode::NOT_MODIFIED, headers, Body::empty())),
        Reading::Refuse => Err(Refusal::Stale),
    }
}

/// The task that a write was about, as it is now.
fn changed(found: &Found) -> Result<Response<Body>, Refusal> {
    let (tag, body) = one(found)?;
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::ETAG, tag);
    Ok(written(StatusCode::OK, headers, body.into()))
}

fn done(outcome: Written) -> Result<Found, Refusal> {
    match outcome {
        Written::Done(found) => Ok(found),
        Written::Missing => Err(Refusal::NoSuchTask),
        Written::Stale => Err(Refusal::Stale),
        Written::Other => Err(Refusal::KeyReused),
        Written::Running => Err(Refusal::StillRunning),
        Written::Full => Err(Refusal::TooManyKeys),
    }
}

fn one(found: &Found) -> Result<(HeaderValue, Vec<u8>), Refusal> {
    let task = found.tasks().next().ok_or(Refusal::NoSuchTask)??;
    let mut body = Vec::with_capacity(json::TASK_BYTES);
    task.write(&mut body);
    Ok((task_tag(task.version), body))
}

fn written(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Response<Body> {
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
