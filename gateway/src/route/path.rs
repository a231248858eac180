//! One spelling for one path.
//!
//! Proxies and servers disagree on dots, double slashes, encoded slashes and path parameters, and each such
//! disagreement has let somebody by an authentication (Envoy CVE-2021-29492, Traefik CVE-2025-66490, Istio
//! 2021-005, Heimdall CVE-2026-42274). We refuse what they disagree on, and write the rest in one way: a route that
//! fits `/@me` fits `/%40me`, too, as the service will read both alike.

use std::borrow::Cow;

/// The canonical spelling of a path: plain what may stand plain in a segment (RFC 3986 §3.3), all else escaped, in
/// capitals (§6.2.2). An error says what is wrong.
pub(crate) fn canonical(path: &str) -> Result<Cow<'_, str>, &'static str> {
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

/// Whether a byte stands for itself: a slash, or a `pchar` but for the semicolon.
fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b':' | b'@')
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=');
        byte += 1;
    }
    table
};

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
            0..0x20 | 0x7f => return Err("the path has a control character"),
            b' ' if !escaped => return Err("the path has a space"),
            b'\\' => return Err("the path has a backslash"),
            b';' => return Err("the path has a semicolon"),
            b'/' if escaped => return Err("the path has an encoded slash"),
            0x80.. if !escaped => return Err("the path has a character that must be percent-encoded"),
            byte if is_plain(byte) => out.push(char::from(byte)),
            byte => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
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
            ("/a%20b", "/a%20b"),
            ("/auth0|1:x@y", "/auth0%7C1:x@y"),
            ("/auth0%7c1%3ax%40y", "/auth0%7C1:x@y"),
            ("/%40me/%21%24%26%27%28%29%2a%2b%2c%3d", "/@me/!$&'()*+,="),
            ("/@me/!$&'()*+,=", "/@me/!$&'()*+,="),
            ("/%22%3c%3e%5e%60%7b%7d%5b%5d%23%3f%25", "/%22%3C%3E%5E%60%7B%7D%5B%5D%23%3F%25"),
            ("/\"<>^`{}[]", "/%22%3C%3E%5E%60%7B%7D%5B%5D"),
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
            "/a b",
            "/a%1f",
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
