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

/// Whether a header's name is, or begins as, one of these lists. Names are lower case.
pub fn is_listed(name: &str) -> bool {
    MAY_BE_LISTED[start(name.as_bytes())]
        && (HOP_BY_HOP.contains(&name) || is_internal(name) || is_forwarding(name))
}

/// How many bytes tell most names from all of those: as many as the shortest prefix has.
const START_BYTES: usize = 6;

/// What the first bytes of a listed name come to. Comparing each name with 36 others was 400 instructions of it, by this it is 30.
const MAY_BE_LISTED: [bool; 256] = {
    const PREFIXES: [&[&str]; 2] = [&FORWARDING_PREFIXES, &INTERNAL_PREFIXES];
    const LISTS: [&[&str]; 4] = [&HOP_BY_HOP, &FORWARDING, PREFIXES[0], PREFIXES[1]];
    let mut table = [false; 256];
    let mut list = 0;
    while list < LISTS.len() {
        let mut at = 0;
        while at < LISTS[list].len() {
            let name = LISTS[list][at].as_bytes();
            assert!(list < LISTS.len() - PREFIXES.len() || name.len() >= START_BYTES);
            table[start(name)] = true;
            at += 1;
        }
        list += 1;
    }
    table
};

/// The first bytes of a name, mixed into a place of a table. Names that begin alike have the same.
const fn start(name: &[u8]) -> usize {
    const MIXER: u64 = 0x9e37_79b9_7f4a_7c15;
    let (mut start, mut at) = (0_u64, 0);
    while at < START_BYTES && at < name.len() {
        start |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    (start.wrapping_mul(MIXER) >> (u64::BITS - 8)) as usize
}

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
    name.bytes().any(|byte| ODD[byte as usize])
}

const ODD: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        table[byte as usize] = !byte.is_ascii_alphanumeric() && byte != b'-';
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_lists_is_found_and_whatever_begins_as_their_prefixes() {
        for name in HOP_BY_HOP.iter().chain(&FORWARDING) {
            assert!(is_listed(name), "{name}");
            assert!(!is_listed(&format!("{name}-of-another")), "{name}");
        }
        for prefix in FORWARDING_PREFIXES.iter().chain(&INTERNAL_PREFIXES) {
            for name in [(*prefix).to_owned(), format!("{prefix}x"), format!("{prefix}-of-another")] {
                assert!(is_listed(&name), "{name}");
            }
            assert!(!is_listed(&prefix[..prefix.len() - 1]), "{prefix}");
        }
        for name in
            ["a", "x", "host", "accept", "x-request-id", "traceparent", "content-type", "x-own", "x-use"]
        {
            assert!(!is_listed(name), "{name}");
        }
    }
}
