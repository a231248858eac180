//! The names that a client has no say in: one list, which the gateway takes off, and each file of `deploy/proxies` too.
//!
//! The whole path's tests send every one of them through the gateway and through each proxy.

/// Headers that speak for the connection, not for the request (RFC 9110 §7.6.1).
pub const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// What proxies say of a client; from a client itself it is worth nothing. `proxy` is none of these, but to CGI it is the
/// proxy by which the application calls others (httpoxy, CVE-2016-5385).
pub const FORWARDING: [&str; 12] = [
    "forwarded",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
    "proxy",
];

/// The same, by how their names begin.
pub const FORWARDING_PREFIXES: [&str; 4] = ["x-forwarded", "x-original-", "x-rewrite-", "x-envoy-"];

/// Names under which one service or another believes who is calling, by how they begin: only those inside may use
/// them. They cover [`identity::ALL`], and how long an asker waits for a verdict
/// ([`identity::VERDICT_WAIT`]).
pub const INTERNAL_PREFIXES: [&str; 10] = [
    "x-user",
    "x-identity",
    "x-credential",
    "x-auth",
    "x-remote-",
    "remote-",
    "x-webauth-",
    "x-gateway-",
    "x-internal-",
    "x-verdict-",
];

/// Whether a name speaks of where a request came from. Names are lower case.
pub fn is_forwarding(name: &str) -> bool {
    FORWARDING.contains(&name) || FORWARDING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a name speaks of who is calling.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a name has anything but letters, digits and dashes. To some readers further in `x_user_id`, `x.user.id` and
/// `x-user-id` are one name (oauth2-proxy CVE-2025-64484, Traefik CVE-2026-39858).
pub fn is_odd(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
