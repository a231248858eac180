//! `Location` and `Content-Location`, as a client can follow them.
//!
//! A service makes them of the name that it was asked by, or of its own address: an inner one. What is left of such a URL is its path,
//! which the client resolves against the URL that it has asked (RFC 9110 §10.2.2): public host and scheme, whatever stands in
//! front of us.

use http::{HeaderValue, uri::Authority};

/// The same place without the service's inner address; `None` where it has none. `is_inner` knows hosts and ports.
pub(super) fn public(value: &HeaderValue, is_inner: impl Fn(&str, u16) -> bool) -> Option<HeaderValue> {
    // Browsers drop tabs of a URL (WHATWG URL §4.4): behind one, `//` would name another host.
    let text = value.to_str().ok().filter(|text| !text.contains('\t'))?;
    let (scheme, rest) = match text.strip_prefix("//") {
        Some(rest) => ("http", rest),
        None => text.split_once("://")?,
    };
    let port = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => 80,
        _ if scheme.eq_ignore_ascii_case("https") => 443,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let authority: Authority = authority.parse().ok().filter(|_| !authority.contains('@'))?;
    let host = authority.host().trim_matches(['[', ']']);
    if !is_inner(host, authority.port_u16().unwrap_or(port)) {
        return None;
    }
    let mut bytes = path.bytes();
    let path = match (bytes.next(), bytes.next()) {
        // `//evil.example` and `/\evil.example` would name another host.
        (Some(b'/'), Some(b'/' | b'\\')) => format!("/.{path}"),
        (Some(b'/'), _) => path.to_owned(),
        (Some(b'\\'), _) => return None,
        _ => format!("/{path}"),
    };
    HeaderValue::try_from(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_address_becomes_a_path_and_nothing_becomes_another_host() {
        let is_inner =
            |host: &str, port| matches!((host, port), ("tasks" | "10.0.0.5" | "::1", 8002) | ("web", 80));
        for (said, want) in [
            ("http://tasks:8002/items/?a=1#f", Some("/items/?a=1#f")),
            ("https://10.0.0.5:8002/x", Some("/x")),
            ("HTTP://tasks:8002", Some("/")),
            ("http://tasks:8002?q", Some("/?q")),
            ("http://[::1]:8002/x", Some("/x")),
            ("//tasks:8002/x", Some("/x")),
            ("http://web/x", Some("/x")),
            ("http://tasks:8002//evil.example/x", Some("/.//evil.example/x")),
            ("http://tasks:8002/\\evil.example/x", Some("/./\\evil.example/x")),
            // Somewhere else, or not understood: left as it is.
            ("http://tasks:8002\\evil.example", None),
            ("http://tasks:8003/x", None),
            ("http://tasks/x", None),
            ("https://web/x", None),
            ("http://u@tasks:8002/x", None),
            ("ftp://tasks:8002/x", None),
            ("http://tasks.evil.example:8002/x", None),
            ("http://tasks:8002/\t/evil.example/x", None),
            ("/x", None),
            ("x?y=http://tasks:8002/", None),
            ("", None),
        ] {
            let public = public(&HeaderValue::from_str(said).unwrap(), is_inner);
            assert_eq!(public.as_ref().map(|value| value.to_str().unwrap()), want, "{said}");
        }
    }
}
