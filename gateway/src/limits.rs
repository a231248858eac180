//! What a request may be: how many at once, how long its target, how large and how slow its body.

mod paced;
mod place;
mod request;

use std::{sync::Arc, time::Duration};

use chassis::Body;
use http::{Request, header};
use tokio::sync::Semaphore;

use self::request::{Bounded, drain};
pub use self::{
    paced::{Paced, PacedError},
    place::Place,
    request::Fate,
};
use crate::{answer::Refusal, settings::Settings};

/// The bounds, and the room that is left.
#[derive(Clone)]
pub struct Limits {
    room: Arc<Semaphore>,
    head_fields: usize,
    target_bytes: usize,
    body_bytes: u64,
    idle: Duration,
}

impl Limits {
    /// Builds them from settings that were checked.
    pub fn new(settings: &Settings) -> Self {
        Self {
            room: Arc::new(Semaphore::new(settings.limits.requests_max)),
            head_fields: settings.server.head_fields,
            target_bytes: settings.limits.target_bytes,
            body_bytes: settings.limits.body_bytes,
            idle: settings.upstream.idle,
        }
    }

    /// Takes a place, without waiting: a queue here would only hide that there are too many.
    pub fn enter(&self) -> Result<Place, Refusal> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Place::new(permit, self.idle))
    }

    /// Checks what is known by the head, and bounds the body that is still to come.
    pub fn bound(&self, request: Request<Body>) -> Result<(Request<Body>, Fate), Refusal> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        // hyper counts them for HTTP/1.1 alone.
        if request.headers().len() > self.head_fields {
            return Err(Refusal::HeadTooLarge);
        }
        // hyper has seen to it that there is one number.
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let fate = Fate::default();
        // Whoever waits for `100 Continue` has sent nothing yet, and reading on would ask for it.
        let expects = request.headers().contains_key(header::EXPECT);
        if length.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > self.body_bytes) {
            if !expects {
                drain(Paced::new(request.into_body(), self.idle));
            }
            return Err(Refusal::BodyTooLarge);
        }
        let bounded = request.map(|inner| {
            if http_body::Body::is_end_stream(&inner) {
                return inner;
            }
            let inner = Paced::new(inner, self.idle);
            Body::new(Bounded::new(inner, self.body_bytes, fate.clone(), expects))
        });
        Ok((bounded, fate))
    }
}
