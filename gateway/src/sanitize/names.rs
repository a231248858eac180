//! The headers that a client may not set: one list, stripped by the gateway and by each file of `deploy/proxies`.
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

/// What proxies report of a client, which from the client itself is worth nothing; three that override the method; and
/// `proxy`, which CGI hands to the application as the proxy for its own requests (httpoxy, CVE-2016-5385).
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

/// Prefixes of further such headers.
pub const FORWARDING_PREFIXES: [&str; 4] = ["x-forwarded", "x-original-", "x-rewrite-", "x-envoy-"];

/// Prefixes of headers by which one service or another learns who is calling; only services inside may set them. They cover
/// [`identity::ALL`], [`identity::VERDICT_WAIT`], and what only a verdict has.
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

/// Whether a header reports where a request came from. Names are lower case.
pub fn is_forwarding(name: &str) -> bool {
    FORWARDING.contains(&name) || FORWARDING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a header may report who is calling.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a name has anything but letters, digits and dashes. Some servers read `x_user_id`, `x.user.id` and `x-user-id` as one
/// name (oauth2-proxy CVE-2025-64484, Traefik CVE-2026-39858).
pub fn is_odd(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
