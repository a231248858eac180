//! What a request may be: how many at once, and of whom; how long its target, how large and how slow its body.

pub(crate) mod share;

use std::{net::IpAddr, sync::Arc};

use chassis::Body;
use http::{HeaderMap, Request, header};
use identity::UserId;
use tokio::sync::Semaphore;

use self::share::Shares;
use crate::{
    body::{
        bounded::{BodyBounds, Bounded, Fate, Slack},
        held::Place,
        idle::Rate,
    },
    client::Client,
    refusal::Refusal,
    route::Routed,
    settings::Settings,
};

/// The bounds, and the room that is left.
#[derive(Clone)]
pub struct Limits {
    room: Arc<Semaphore>,
    clients: Shares<IpAddr>,
    users: Shares<UserId>,
    head_fields: usize,
    head_bytes: usize,
    target_bytes: usize,
    /// Until its route is known.
    body: BodyBounds,
    slack: Slack,
    answer: Rate,
}

impl Limits {
    /// Builds them from settings that were checked.
    pub fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let idle = limits.body_idle;
        Self {
            room: Arc::new(Semaphore::new(limits.requests_max)),
            clients: Shares::new(limits.requests_per_client_max),
            users: Shares::new(limits.requests_per_user_max),
            head_fields: settings.server.head_fields,
            head_bytes: settings.server.head_bytes,
            target_bytes: limits.target_bytes,
            body: limits.body(),
            slack: Slack { idle, grace: limits.body_grace },
            answer: Rate { bytes: limits.answer_rate, grace: idle },
        }
    }

    /// Takes a place, without waiting: a queue here would only hide that there are too many.
    pub fn enter(&self, client: &Client) -> Result<Place, Refusal> {
        let share =
            self.clients.take(client.counted()).ok_or_else(|| Refusal::ClientShare(client.counted()))?;
        let permit = self.room.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
        Ok(Place::new(permit, share, self.users.clone(), self.answer))
    }

    /// Checks what is known by the head, and bounds the body that is still to come.
    pub fn bound(&self, request: Request<Body>) -> Result<(Request<Body>, Fate), Refusal> {
        let fate = Fate::new(self.body);
        let expects = request.headers().contains_key(header::EXPECT);
        let bounded = request.map(|inner| {
            if http_body::Body::is_end_stream(&inner) {
                return inner;
            }
            Body::new(Bounded::new(inner, self.slack, fate.clone(), expects))
        });
        let target = bounded.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        // hyper leaves us some room for that: its own refusal says nothing that a page could read.
        if bounded.headers().len() > self.head_fields || target + bytes(bounded.headers()) > self.head_bytes {
            return Err(Refusal::HeadTooLarge);
        }
        Ok((bounded, fate))
    }

    /// Bounds the body by what its route says, and refuses one that says itself that it is larger.
    pub fn bound_body(routed: &Routed, fate: &Fate) -> Result<(), Refusal> {
        let bounds = routed.body();
        fate.bound(bounds);
        // hyper has seen to it that there is one number.
        let length = routed.request().headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > bounds.bytes) { Err(Refusal::BodyTooLarge) } else { Ok(()) }
    }
}

/// How much header fields are in HTTP/1.1, each with its colon, a space and its line's end.
fn bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
