//! One spelling for one path.
//!
//! Proxies and servers disagree on dots, double slashes, encoded slashes and path parameters, and each such
//! disagreement has let somebody by an authentication (Envoy CVE-2021-29492, Traefik CVE-2025-66490, Istio
//! 2021-005, Heimdall CVE-2026-42274). We refuse what they disagree on.

use std::borrow::Cow;

/// The canonical spelling of a path: unreserved characters plain, escapes in capitals (RFC 3986 §6.2.2), nothing
/// else changed. An error says what is wrong.
pub(super) fn canonical(path: &str) -> Result<Cow<'_, str>, &'static str> {
    if !path.starts_with('/') {
        return Err("the path does not begin with a slash");
    }
    let path = if path.bytes().all(is_plain) { Cow::Borrowed(path) } else { Cow::Owned(respelled(path)?) };
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err("the path has a dot segment"),
            "" if segments.peek().is_some() => return Err("the path has two slashes in a row"),
            _ => {}
        }
    }
    Ok(path)
}

/// Whether a byte has one spelling, and that is itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte)
}

fn respelled(path: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        let byte = match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or(u8::MAX),
                    _ => return Err("the path has a % that is not followed by two hexadecimal digits"),
                }
            }
            byte => byte,
        };
        match byte {
            0..=0x20 | 0x7f => return Err("the path has a space or a control character"),
            b'\\' => return Err("the path has a backslash"),
            b';' => return Err("the path has a semicolon"),
            b'/' if escaped => return Err("the path has an encoded slash"),
            byte if is_plain(byte) => out.push(char::from(byte)),
            byte if escaped => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
            0x80.. => return Err("the path has a character that must be percent-encoded"),
            byte => out.push(char::from(byte)),
        }
        decoded.push(byte);
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err("the path is not UTF-8");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_spelling() {
        for (path, want) in [
            ("/", "/"),
            ("/api/tasks", "/api/tasks"),
            ("/api/tasks/", "/api/tasks/"),
            ("/%61pi/%7Euser", "/api/~user"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a%20b".replace("%20", "%7c").as_str(), "/a%7Cb"),
            ("/auth0|1:x@y", "/auth0|1:x@y"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/a..b/...", "/a..b/..."),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "x",
            "*",
            "/public/../admin",
            "/public/./x",
            "/..",
            "/.",
            "/public/%2e%2e/admin",
            "/%2E.",
            "/.%2e/x",
            "/public%2f..%2fadmin",
            "/public%2Fx",
            "/public/..;/admin",
            "/x;y=1",
            "/x%3by",
            "//admin",
            "/a//b",
            "///",
            "/public\\..\\admin",
            "/a%5cb",
            "/a%00",
            "/a%0d%0ab",
            "/a%0a",
            "/a%20b",
            "/a%7f",
            "/%zz",
            "/%1",
            "/%",
            "/%c0%ae%c0%ae/x",
            "/\u{e9}",
            "/%ff",
        ] {
            assert!(canonical(path).is_err(), "{path}");
        }
    }
}
