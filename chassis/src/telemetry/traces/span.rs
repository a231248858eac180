//! Spans: of a request, and of what it asks of others. They say what an access line says, and never a query, a credential or a
//! value of a statement. Names are OpenTelemetry's (semantic conventions for HTTP and databases).

use std::{
    borrow::Cow,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderValue, Method, StatusCode};

use super::{current, tracer};
use crate::{
    layer::{
        access_log::{AccessLog, FactLine, TakesFacts},
        method,
        trace_context::SpanContext,
    },
    telemetry::request,
};

/// Room for what is said of a request.
const REQUEST_ATTRIBUTES: usize = 12;

/// From here on an answer is an error: of a server, and for whoever asks.
const SERVER_ERROR: u16 = 500;
const ERROR: u16 = 400;

/// A span that is over.
pub(crate) struct Ended {
    pub context: SpanContext,
    pub parent: Option<SpanContext>,
    pub kind: Kind,
    pub name: Cow<'static, str>,
    pub began: SystemTime,
    pub took: Duration,
    pub attributes: Vec<(&'static str, Value)>,
    pub is_error: bool,
}

/// Whether somebody asked us, or we asked somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Client,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Cow<'static, str>> for Value {
    fn from(text: Cow<'static, str>) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

/// The span of a request that is being answered.
pub(crate) struct RequestSpan {
    context: SpanContext,
    parent: Option<SpanContext>,
    began: SystemTime,
    /// How it was asked for, where we know.
    scheme: Option<&'static str>,
    /// The route, where its service tells it so.
    route: OnceLock<&'static str>,
}

impl RequestSpan {
    pub fn new(context: SpanContext, parent: Option<SpanContext>, scheme: Option<&'static str>) -> Self {
        Self { context, parent, began: SystemTime::now(), scheme, route: OnceLock::new() }
    }

    /// What further spans are children of.
    pub fn context(&self) -> SpanContext {
        self.context
    }
}

/// Names the route of the request that this runs inside of; the first word counts.
pub fn route(route: &'static str) {
    if tracer().is_some() {
        request::current(|request| request.span().map(|span| span.route.set(route)));
    }
}

/// The attributes that a service's facts are.
#[derive(Default)]
struct Told {
    route: Option<String>,
    attributes: Vec<(&'static str, Value)>,
}

impl TakesFacts for Told {
    fn text(&mut self, name: &'static str, value: &str) {
        match name {
            "route" => self.route = Some(value.to_owned()),
            "verdict" => self.attributes.push(("usher.verdict", value.to_owned().into())),
            _ => {}
        }
    }

    fn number(&mut self, name: &'static str, value: u64) {
        if name == "attempts" {
            self.attributes.push(("usher.attempts", u32::try_from(value).unwrap_or(u32::MAX).into()));
        }
    }

    fn millis(&mut self, _: &'static str, _: u64) {}
}

/// Ends the span of a request, if it has one, as its access line is written.
pub(crate) fn end(log: &AccessLog) {
    let (Some(span), Some(tracer)) = (log.in_flight.span(), tracer()) else { return };
    let mut told = Told { route: None, attributes: Vec::with_capacity(REQUEST_ATTRIBUTES) };
    if let Some(facts) = log.in_flight.facts() {
        facts.tell(&mut FactLine(&mut told));
    }
    let Told { route, mut attributes } = told;
    let route = route.map(Cow::Owned).or_else(|| span.route.get().map(|route| Cow::Borrowed(*route)));
    let (method, shown) = names(&log.method);
    let name = match &route {
        Some(route) => Cow::Owned(format!("{shown} {route}")),
        None => shown.into(),
    };
    attributes.push(("http.request.method", method.into()));
    attributes.push(("url.path", log.path.to_string().into()));
    attributes.extend(span.scheme.map(|scheme| ("url.scheme", scheme.into())));
    attributes.extend(route.map(|route| ("http.route", route.into())));
    attributes.extend(log.in_flight.client().map(|client| ("client.address", client.to_string().into())));
    if !log.in_flight.id().is_empty() {
        attributes.push(("request_id", log.in_flight.id().to_owned().into()));
    }
    attributes.extend(log.status.map(|status| ("http.response.status_code", status.as_u16().into())));
    let error: Option<Value> = match log.status.map(|status| status.as_u16()) {
        // Who left was our client, unless it was us.
        None => Some(if log.cut { "cut" } else { "client_left" }.into()),
        Some(status) if status >= SERVER_ERROR => {
            Some(log.in_flight.problem().map_or_else(|| status.to_string().into(), Value::from))
        }
        Some(_) => None,
    };
    let is_error = error.is_some() && (log.status.is_some() || log.cut);
    attributes.extend(error.map(|error| ("error.type", error)));
    let RequestSpan { context, parent, began, .. } = *span;
    let (kind, took) = (Kind::Server, log.took);
    tracer.take(Ended { context, parent, kind, name, began, took, attributes, is_error });
}

/// A method as an attribute and in a name: none that a client made up.
fn names(method: &Method) -> (&'static str, &'static str) {
    match method::index(method) {
        method::OTHER => ("_OTHER", "HTTP"),
        known => (method::label(known), method::label(known)),
    }
}

/// What a request asks of somebody else: a span from now until its end is told, or until it is dropped, given up.
pub struct ClientSpan(Option<Box<Open>>);

struct Open {
    context: SpanContext,
    parent: SpanContext,
    name: &'static str,
    began: SystemTime,
    since: Instant,
    attributes: Vec<(&'static str, Value)>,
}

impl ClientSpan {
    /// A part of the request that this runs inside of, if that one is recorded.
    pub fn begin(name: &'static str) -> Option<Self> {
        current().map(|asker| Self::of(asker, name))
    }

    /// A part of a span that is recorded ([`current`]).
    pub fn of(asker: SpanContext, name: &'static str) -> Self {
        let (began, since) = (SystemTime::now(), Instant::now());
        let context = asker.child();
        Self(Some(Box::new(Open { context, parent: asker, name, began, since, attributes: Vec::new() })))
    }

    /// The same for a request over HTTP to `address`.
    #[must_use]
    pub fn http(mut self, method: &Method, address: std::net::SocketAddr) -> Self {
        if let Some(open) = &mut self.0 {
            let (method, shown) = names(method);
            if open.name.is_empty() {
                open.name = shown;
            }
            open.attributes.extend([
                ("http.request.method", method.into()),
                ("server.address", address.ip().to_string().into()),
                ("server.port", address.port().into()),
            ]);
        }
        self
    }

    /// What whoever is asked is told of it.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        self.0.as_ref().map(|open| open.context.into())
    }

    /// Says something of it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        if let Some(open) = &mut self.0 {
            open.attributes.push((name, value.into()));
        }
        self
    }

    /// It was answered so.
    pub fn answered(self, status: StatusCode) {
        let status = status.as_u16();
        let error = (status >= ERROR).then(|| status.to_string().into());
        self.with("http.response.status_code", status).end(error);
    }

    /// It came to nothing, for a reason that is one of a few.
    pub fn failed(self, why: &'static str) {
        self.end(Some(why.into()));
    }

    /// It was done.
    pub fn done(self) {
        self.end(None);
    }

    fn end(mut self, error: Option<Value>) {
        self.queue(error);
    }

    fn queue(&mut self, error: Option<Value>) {
        let (Some(open), Some(tracer)) = (self.0.take(), tracer()) else { return };
        let Open { context, parent, name, began, since, mut attributes } = *open;
        let (is_error, kind, took) = (error.is_some(), Kind::Client, since.elapsed());
        attributes.extend(error.map(|error| ("error.type", error)));
        let (parent, name) = (Some(parent), name.into());
        tracer.take(Ended { context, parent, kind, name, began, took, attributes, is_error });
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        self.queue(Some("given_up".into()));
    }
}
