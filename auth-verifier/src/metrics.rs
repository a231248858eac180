//! auth-verifier's own metrics, beside those of every service.

use chassis::telemetry::catalog::Metric;

/// What auth-verifier counts.
pub const METRICS: &[Metric] = &[
    VERDICTS,
    CACHE_HITS,
    CACHE_INSERTS,
    CACHE_EVICTIONS,
    LOOKUPS,
    LOOKUP_DURATION,
    LOOKUP_WAIT,
    LOOKUP_PAUSES,
    SESSIONS_COMPARED,
    UNKNOWN_KEYS,
];

pub(crate) const VERDICTS: Metric = Metric::counter("verdicts_total", "Verdicts, by what they say.").by(&[
    ("result", "`known`, `rejected`, `banned`, `unavailable`"),
    ("reason", "of a known caller the credential; otherwise the code of what was wrong, as in the log"),
]);

pub(crate) const CACHE_HITS: Metric = Metric::counter(
    "cache_hits_total",
    "Tokens that were found in a cache, so that no signature was checked.",
)
.by(&[("cache", "`tokens`, `cookie_caches`")]);

pub(crate) const CACHE_INSERTS: Metric =
    Metric::counter("cache_inserts_total", "Verified tokens that were put into a cache.")
        .by(&[("cache", "as above")]);

pub(crate) const CACHE_EVICTIONS: Metric = Metric::counter(
    "cache_evictions_total",
    "Entries that a full cache pushed out before their time: its bound is too low.",
)
.by(&[("cache", "as above, and `assertions`, `lookups`, `refused_lookups`, `missing_keys`, `proven` (sessions that were found before), `client_budgets`, `pauses`")]);

pub(crate) const LOOKUPS: Metric =
    Metric::counter("lookups_total", "Questions to Better Auth or its tables, and those that were not put.")
        .by(&[
            ("kind", "`session`, `bare_session`, `neon_session`, `session_id`, `user`, `access_token`"),
            ("result", "`alive`, `none`, `limited` (Better Auth's 429), `error`, `busy` (no room to ask), `over_budget` (its client has asked about too many that were none), `crowded` (all clients together have), `late` (no answer in time; it goes on)"),
        ]);

pub(crate) const LOOKUP_DURATION: Metric =
    Metric::histogram("lookup_seconds", "Time that a look-up took, without its wait in the lane.")
        .by(&[("kind", "as above")]);

pub(crate) const LOOKUP_WAIT: Metric =
    Metric::histogram("lookup_wait_seconds", "Time that a look-up waited in its lane.")
        .by(&[("lane", "`signed`, or `unsigned` for what anybody may make up")]);

pub(crate) const LOOKUP_PAUSES: Metric =
    Metric::counter("lookup_pauses_total", "Pauses that began because Better Auth said 429.").by(&[(
        "of",
        "`unproven`: the look-ups that nobody is known by yet, which pause first where all cookies are such; or `all`",
    )]);

pub(crate) const SESSIONS_COMPARED: Metric = Metric::counter(
    "sessions_compared_total",
    "Sessions of the table that were compared with what Better Auth says.",
)
.by(&[("result", "`same`, `forgotten` or `missing` (the table is no longer in use), `unknown`")]);

pub(crate) const UNKNOWN_KEYS: Metric =
    Metric::counter("unknown_keys_total", "Tokens that name a key that is not known.").by(&[(
        "result",
        "`cached` (known to be missing), `fetched`, `held_back` (too soon for a fetch), `unreachable`",
    )]);
