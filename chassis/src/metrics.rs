//! The metrics of every service, and those of a service with a database.

use crate::telemetry::catalog::Metric;

/// What every service counts.
pub const EVERY_SERVICE: &[Metric] = &[
    REQUESTS,
    REQUEST_DURATION,
    REQUESTS_IN_FLIGHT,
    REQUESTS_CUT,
    BODIES_CUT,
    CONNECTIONS,
    CONNECTIONS_REFUSED,
    CONNECTIONS_CLOSED,
    CONNECTIONS_LINGERED,
    REQUESTS_MALFORMED,
    STREAMS_RESET,
    DNS_LOOKUPS,
    DOCUMENT_FETCHES,
    DOCUMENT_FETCHED,
    LOG_LINES_DROPPED,
    TRACE_SPANS,
    TRACE_SPANS_QUEUED,
    SETTINGS_RELOADS,
];

/// What a service with a PostgreSQL counts besides.
pub const DATABASE: &[Metric] = &[
    DATABASE_ACQUIRE,
    DATABASE_SHARED_WAIT,
    DATABASE_AWAY,
    DATABASE_CONNECTIONS,
    DATABASE_CONNECTS,
    DATABASE_CONNECTIONS_LOST,
    DATABASE_PROBES,
    DATABASE_ERRORS,
    DATABASE_RETRIES,
    DATABASE_ABANDONED,
    DATABASE_STATEMENTS_ABANDONED,
    DATABASE_NAMED_STATEMENTS,
    DATABASE_FUNCTIONS,
    DATABASE_FOREIGN_ANSWERS,
];

pub(crate) const REQUESTS: Metric = Metric::counter(
    "http_requests_total",
    "Requests that ended, answered or not. 499 stands for a client that left first.",
)
.by(&[("method", "the method, or `OTHER`"), ("status", "the class of the status: `1xx` to `5xx`")]);

pub(crate) const REQUEST_DURATION: Metric = Metric::histogram(
    "http_request_duration_seconds",
    "Time from a request's head to the end of its answer's body.",
)
.by(&[("method", "as above"), ("status", "as above")]);

pub(crate) const REQUESTS_IN_FLIGHT: Metric =
    Metric::gauge("http_requests_in_flight", "Requests that have begun and not ended.");

pub(crate) const REQUESTS_CUT: Metric =
    Metric::counter("http_requests_cut_total", "Requests that were cut short because the drain was over.");

pub(crate) const BODIES_CUT: Metric = Metric::counter(
    "http_bodies_cut_total",
    "Request bodies that were given up because their client sent too little of them.",
);

pub(crate) const CONNECTIONS: Metric = Metric::gauge("http_connections", "Open connections from clients.")
    .by(&[("state", "`idle`: without a request; `busy`: with one")]);

pub(crate) const CONNECTIONS_REFUSED: Metric = Metric::counter(
    "http_connections_refused_total",
    "Connections that were closed as soon as they were accepted.",
)
.by(&[("reason", "`share`: their address has as many as it may")]);

pub(crate) const CONNECTIONS_CLOSED: Metric = Metric::counter(
    "http_connections_closed_total",
    "Connections that the service closed before their client did.",
)
.by(&[(
    "reason",
    "`idle`, `head` (a head took too long), `slow` (its reader is), `evicted` (to make room), `drained`, `cut` (at the end of the drain), `handshake` (no TLS was agreed upon), `flood` (of PING or SETTINGS)",
)]);

pub(crate) const CONNECTIONS_LINGERED: Metric = Metric::counter(
    "http_connections_lingered_total",
    "Connections that were read on for a moment after their last answer, since their client was still sending.",
);

pub(crate) const REQUESTS_MALFORMED: Metric = Metric::counter(
    "http_requests_malformed_total",
    "HTTP/1 requests that were refused because their bytes break the grammar, can be read in two ways, or are beyond a bound.",
)
.by(&[(
    "reason",
    "`start_line`, `target`, `target_too_long`, `line_end`, `control_character`, `field_name`, `folded`, `length`, `length_and_coding`, `coding`, `connect_body`, `unknown_coding`, `too_large`, `too_many_fields`; `chunk` of a body",
)]);

pub(crate) const STREAMS_RESET: Metric = Metric::counter(
    "http_streams_reset_total",
    "HTTP/2 streams that were reset while their connection went on.",
)
.by(&[("reason", "`slow`: the client took too little of the answer")]);

pub(crate) const DNS_LOOKUPS: Metric =
    Metric::histogram("dns_lookup_seconds", "Time that a look-up of a host name took.")
        .by(&[("result", "`found`, `error`")]);

pub(crate) const DOCUMENT_FETCHES: Metric =
    Metric::counter("document_fetches_total", "Fetches of documents that are kept fresh, such as key sets.")
        .by(&[
            ("document", "`jwks`, `identity-jwks`"),
            ("source", "where it was fetched"),
            ("result", "`ok`, `error`"),
        ]);

pub(crate) const DOCUMENT_FETCHED: Metric = Metric::gauge(
    "document_fetched_timestamp_seconds",
    "When the document in use was fetched, in seconds since 1970.",
)
.by(&[("document", "as above"), ("source", "as above")]);

pub(crate) const LOG_LINES_DROPPED: Metric =
    Metric::counter("log_lines_dropped_total", "Log lines that found no room in the buffer.");

pub(crate) const TRACE_SPANS: Metric = Metric::counter(
    "trace_spans_total",
    "Spans that ended, where traces are exported (OTLP).",
)
.by(&[(
    "outcome",
    "`exported`; `failed`: whoever receives them was out of reach, or refused them; `dropped`: the queue was full",
)]);

pub(crate) const TRACE_SPANS_QUEUED: Metric =
    Metric::gauge("trace_spans_queued", "Spans that wait to be exported, as the last batch left.");

pub(crate) const SETTINGS_RELOADS: Metric = Metric::counter(
    "settings_reloads_total",
    "Times that the settings were read again while the service ran.",
)
.by(&[("outcome", "`applied`; `refused`: something was wrong, and those before stay in force")]);

pub(crate) const DATABASE_ACQUIRE: Metric = Metric::histogram(
    "database_acquire_seconds",
    "Time that a statement waited for a connection of the pool.",
);

pub(crate) const DATABASE_SHARED_WAIT: Metric = Metric::histogram(
    "database_shared_wait_seconds",
    "Time that a read waited for a place on a connection that several reads use at one time, where all places were taken; also where it gave \
     up. It is part of `database_acquire_seconds`.",
);

pub(crate) const DATABASE_AWAY: Metric = Metric::gauge(
    "database_away",
    "1 from an attempt to connect that nobody answered until the database answers again; 0 otherwise, also where all connections \
     are in use.",
)
.by(&[("application", "the name by which the database knows the service")]);

pub(crate) const DATABASE_CONNECTIONS: Metric =
    Metric::gauge("database_connections", "Open connections to the database.");

pub(crate) const DATABASE_CONNECTS: Metric =
    Metric::counter("database_connects_total", "Attempts to open a connection to the database.")
        .by(&[("result", "`ok`, `error`")]);

pub(crate) const DATABASE_CONNECTIONS_LOST: Metric =
    Metric::counter("database_connections_lost_total", "Connections that died in use.")
        .by(&[("how", "`broken`: it was closed; `silent`: nothing came back in time")]);

pub(crate) const DATABASE_PROBES: Metric = Metric::counter(
    "database_probes_total",
    "Idle connections that were asked whether they are still there.",
)
.by(&[("result", "`ok`, `lost`")]);

pub(crate) const DATABASE_ERRORS: Metric =
    Metric::counter("database_errors_total", "Statements that failed.")
        .by(&[("kind", "`busy`, `unreachable`, `lost`, `transient`, `timed_out`, `fault` (a bug of ours)")]);

pub(crate) const DATABASE_RETRIES: Metric =
    Metric::counter("database_retries_total", "Statements that were sent once more, where that is safe.");

pub(crate) const DATABASE_ABANDONED: Metric =
    Metric::gauge("database_abandoned_statements", "Statements in flight whose client has left.");

pub(crate) const DATABASE_STATEMENTS_ABANDONED: Metric = Metric::counter(
    "database_statements_abandoned_total",
    "Statements that ended after their client had left.",
)
.by(&[
    ("idempotency", "`read_only`, `idempotent`, `not_idempotent`"),
    ("outcome", "`done`, `not_applied`, `cancelled` (so not applied), `unknown`"),
]);

pub(crate) const DATABASE_NAMED_STATEMENTS: Metric = Metric::gauge(
    "database_named_statements",
    "1 where prepared statements have names; 0 where they have none, or names turned out to be unsafe.",
)
.by(&[("application", "the name by which the database knows the service")]);

pub(crate) const DATABASE_FUNCTIONS: Metric = Metric::gauge(
    "database_functions",
    "1 where statements are sent as calls of the database's functions; 0 where those can't be used and transactions stand in for them, \
     which cost the database more. Absent until the first call is answered.",
)
.by(&[("application", "the name by which the database knows the service")]);

pub(crate) const DATABASE_FOREIGN_ANSWERS: Metric = Metric::counter(
    "database_foreign_answers_total",
    "Answers that belonged to another statement, which a pooler mixed up. None was used.",
);
