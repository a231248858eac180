//! The gateway's own metrics, beside those of every service.

use chassis::telemetry::catalog::Metric;

/// What the gateway counts.
pub const METRICS: &[Metric] = &[
    ROUTE_REQUESTS,
    ROUTE_REQUEST_DURATION,
    ROUTE_UPSTREAM_WAIT,
    VERIFIER_CALL,
    VERIFIER_CALLS_SHARED,
    VERDICT_REFRESHES_SKIPPED,
    CACHE_HITS,
    CACHE_INSERTS,
    CACHE_EVICTIONS,
    CACHE_ENTRIES,
    REQUESTS_REFUSED,
    RATE_LIMIT_ENTRIES,
    RATE_LIMIT_DISPLACED,
    NEON_AUTH_IN_FLIGHT,
    RESPONSES_ABANDONED,
    UPSTREAM_WAITING_LIMIT,
    UPSTREAM_ENDPOINTS,
    UPSTREAM_ENDPOINTS_UNREADY,
    UPSTREAM_READINESS,
    UPSTREAM_EJECTIONS,
    UPSTREAM_RETRIES,
    UPSTREAM_RETRIES_DENIED,
    REQUEST_BODIES_KEPT,
    PERMIT_REJECTIONS,
    CORS_REFUSALS,
    CSRF_REJECTIONS,
    WEBSOCKETS,
    WEBSOCKETS_CLOSED,
    UPSTREAM_CONNECTIONS_OPENED,
    UPSTREAM_CONNECTIONS_IDLE,
];

pub(crate) const ROUTE_REQUESTS: Metric = Metric::counter(
    "route_requests_total",
    "Requests on a route to a service that ended, answered or not. 499 stands for a client that left first.",
)
.by(&[("route", "its path, as it is set"), ("status", "the class of the status: `1xx` to `5xx`")]);

pub(crate) const ROUTE_REQUEST_DURATION: Metric = Metric::histogram(
    "route_request_duration_seconds",
    "Time from a request's head to the end of its answer's body.",
)
.by(&[("route", "as above")]);

pub(crate) const ROUTE_UPSTREAM_WAIT: Metric = Metric::histogram(
    "route_upstream_wait_seconds",
    "Time from when a request could be sent to its service until the head of the answer, further tries included.",
)
.by(&[("route", "as above")]);

pub(crate) const VERIFIER_CALL: Metric = Metric::histogram(
    "verifier_call_seconds",
    "Time that auth-verifier took to say who is calling, connecting included.",
)
.by(&[("result", "`known`, `denied` (401 or 403), `error`")]);

pub(crate) const VERIFIER_CALLS_SHARED: Metric = Metric::counter(
    "verifier_calls_shared_total",
    "Requests that waited for a verdict on their credentials that another one had asked for.",
);

pub(crate) const VERDICT_REFRESHES_SKIPPED: Metric = Metric::counter(
    "verdict_refreshes_skipped_total",
    "Verdicts that were not asked for again before they ended, because as many as may be were being asked for: the next request waits for one.",
);

pub(crate) const CACHE_HITS: Metric = Metric::counter(
    "cache_hits_total",
    "Requests whose credentials had a verdict that still held, so that auth-verifier was not asked.",
)
.by(&[("cache", "`verdicts`")]);

pub(crate) const CACHE_INSERTS: Metric =
    Metric::counter("cache_inserts_total", "Verdicts that were put into the cache.")
        .by(&[("cache", "as above")]);

pub(crate) const CACHE_EVICTIONS: Metric = Metric::counter(
    "cache_evictions_total",
    "Verdicts that a full cache pushed out before their time: its bound is too low.",
)
.by(&[("cache", "as above")]);

pub(crate) const CACHE_ENTRIES: Metric =
    Metric::gauge("cache_entries", "Verdicts in the cache, about, when the last one was put in.")
        .by(&[("cache", "as above")]);

pub(crate) const REQUESTS_REFUSED: Metric = Metric::counter(
    "requests_refused_total",
    "Requests that were refused to shed load, by a rate limit, or because they came too slowly.",
)
.by(&[(
    "reason",
    "`full`, `websockets`, `overloaded`, `neon_auth` (503), `client_share`, `client_rate`, `user_share`, `user_rate`, `websocket_share`, `neon_auth_share` (429), `body_too_slow` (408)",
)]);

pub(crate) const RATE_LIMIT_ENTRIES: Metric = Metric::gauge(
    "rate_limit_entries",
    "Places that rate limits have used to remember somebody; they are kept for whoever comes next.",
)
.by(&[("of", "whose requests are counted: `client`, `user`")]);

pub(crate) const RATE_LIMIT_DISPLACED: Metric = Metric::counter(
    "rate_limit_displaced_total",
    "Newcomers that found no free place in a rate limit, and took that of somebody who is forgotten: its bound is too low.",
)
.by(&[("of", "as above")]);

pub(crate) const NEON_AUTH_IN_FLIGHT: Metric = Metric::gauge(
    "neon_auth_in_flight",
    "Requests on routes to Neon's own Better Auth that have begun and not ended; more than `GATEWAY_NEON_AUTH__REQUESTS_MAX` there never are.",
);

pub(crate) const RESPONSES_ABANDONED: Metric = Metric::counter(
    "responses_abandoned_total",
    "Answers that were given up because their client took too little of them.",
);

pub(crate) const UPSTREAM_WAITING_LIMIT: Metric = Metric::gauge(
    "upstream_waiting_limit",
    "Requests that may wait for a service's answer to begin, where load is shed by how late answers are.",
)
.by(&[("service", "which")]);

pub(crate) const UPSTREAM_ENDPOINTS: Metric =
    Metric::gauge("upstream_endpoints", "Addresses that a service was last found at.")
        .by(&[("service", "which")]);

pub(crate) const UPSTREAM_ENDPOINTS_UNREADY: Metric = Metric::gauge(
    "upstream_endpoints_unready",
    "Addresses of a service that say that they are not ready, or nothing; where they are asked.",
)
.by(&[("service", "which")]);

pub(crate) const UPSTREAM_READINESS: Metric = Metric::counter(
    "upstream_readiness_total",
    "Questions to the addresses of a service whether they are ready.",
)
.by(&[("service", "which"), ("result", "`ready`, `unready`, `nothing` (no answer in time)")]);

pub(crate) const UPSTREAM_EJECTIONS: Metric =
    Metric::counter("upstream_ejections_total", "Times that an address was ejected for a while.").by(&[
        ("service", "which"),
        ("reason", "`unreachable` (no connection), `broken` (connections closed without an answer), `not_applied` (503 or a refused stream, again and again), `silent`"),
    ]);

pub(crate) const UPSTREAM_RETRIES: Metric =
    Metric::counter("upstream_retries_total", "Requests that were sent once more.").by(&[
        ("service", "which"),
        (
            "reason",
            "`unsent`, `not_applied` (nothing was done); `lost`, `silent` (its connection broke or its address hangs, and it only reads, has an `Idempotency-Key` that the service honours, or asks auth-verifier)",
        ),
    ]);

pub(crate) const UPSTREAM_RETRIES_DENIED: Metric = Metric::counter(
    "upstream_retries_denied_total",
    "Requests that were not sent once more, because too many had been (a fifth of all).",
)
.by(&[("service", "which")]);

pub(crate) const REQUEST_BODIES_KEPT: Metric = Metric::gauge(
    "request_bodies_kept_bytes",
    "Small request bodies of which a copy is kept until they are answered, in bytes as announced.",
);

pub(crate) const PERMIT_REJECTIONS: Metric = Metric::counter(
    "permit_rejections_total",
    "Requests of known callers whose credential their route does not take.",
)
.by(&[("reason", "`credential` (of another kind), `scopes` (not granted all that the route demands)")]);

pub(crate) const CORS_REFUSALS: Metric = Metric::counter(
    "cors_refusals_total",
    "Requests of pages that their browsers keep the answer from; a refused preflight keeps back the request itself. The access line has the \
     origin: `refused_origin`.",
)
.by(&[(
    "reason",
    "`unknown_origin` (neither in `CORS_ALLOWED_ORIGINS` nor the gateway's own), `route` (set with `cors = false`)",
)]);

pub(crate) const CSRF_REJECTIONS: Metric = Metric::counter(
    "csrf_rejections_total",
    "Requests by cookie that would change something and came from no page of a trusted origin.",
)
.by(&[("reason", "`foreign_origin`, `many_origins`, `no_origin`")]);

pub(crate) const WEBSOCKETS: Metric =
    Metric::gauge("websockets", "WebSockets that are open, or that a service is being asked for.");

pub(crate) const WEBSOCKETS_CLOSED: Metric =
    Metric::counter("websockets_closed_total", "WebSockets that were open and are not any more.").by(&[(
        "reason",
        "`ended` (both sides closed), `leaving` (a drain), `idle`, `old`, `half_closed` (only one side did), `stalled` (a side took nothing), `broken`",
    )]);

pub(crate) const UPSTREAM_CONNECTIONS_OPENED: Metric =
    Metric::counter("upstream_connections_opened_total", "Connections that were opened to a service.")
        .by(&[("service", "which")]);

pub(crate) const UPSTREAM_CONNECTIONS_IDLE: Metric = Metric::gauge(
    "upstream_connections_idle",
    "Connections to a service that are kept for the next request.",
)
.by(&[("service", "which")]);
