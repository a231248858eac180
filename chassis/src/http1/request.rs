//! The head of a request.

use http::Uri;

use super::{
    Framing, HeadBounds, PATH, QUERY, TOKEN, Violation,
    head::{Reader, Version},
    run,
};

/// The longest target that `http::Uri` reads.
const TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;

/// With what no method begins: a request that hyper is given in the place of one that was refused has it for its method.
pub const RESERVED: u8 = b'!';

/// Reads the head of a request.
#[derive(Debug, Default)]
pub struct RequestHead(Reader);

/// What a head says of the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the head ends.
    pub bytes: usize,
    /// What ends the body.
    pub framing: Framing,
    /// Whether the connection may be something else behind that: the client asks for an upgrade or a tunnel.
    pub upgrade: bool,
}

impl RequestHead {
    /// Reads on, in the bytes from the head's first one, of which there are as many as the last time or more; `None` while it is
    /// not whole.
    pub fn read(&mut self, bytes: &[u8], bounds: HeadBounds) -> Result<Option<End>, Violation> {
        let Some(end) = self.0.read(bytes, bounds, request_line, may_start)? else { return Ok(None) };
        let framing = if self.0.is_chunked()? {
            Framing::Chunked
        } else {
            Framing::Length(self.0.fields.length.map_or(0, |(length, _)| length))
        };
        if framing != Framing::Length(0) && is_connect(&bytes[..end]) {
            return Err(Violation::ConnectBody);
        }
        let upgrade = self.0.asks_for_upgrade() || is_connect(&bytes[..end]);
        Ok(Some(End { bytes: end, framing, upgrade }))
    }
}

fn is_connect(head: &[u8]) -> bool {
    head.strip_prefix(b"\r\n").unwrap_or(head).starts_with(b"CONNECT ")
}

/// Whether bytes may be the beginning of a request line. So many of them are known to be of a method, and are not looked at again.
fn may_start(bytes: &[u8], of_method: &mut usize) -> bool {
    *of_method += run(&bytes[*of_method..], TOKEN);
    bytes.get(*of_method).is_none_or(|byte| *of_method > 0 && *byte == b' ') || bytes == b"\r"
}

fn request_line(line: &[u8]) -> Result<Version, Violation> {
    let (method, rest) = line.split_at(run(line, TOKEN));
    if method.first().is_none_or(|first| *first == RESERVED) || rest.first() != Some(&b' ') {
        return Err(Violation::RequestLine);
    }
    let (rest, version) = match rest[1..].split_last_chunk::<9>() {
        Some((target, b" HTTP/1.1")) => (target, Version::Http11),
        Some((target, b" HTTP/1.0")) => (target, Version::Http10),
        _ => return Err(Violation::RequestLine),
    };
    target(method, rest)?;
    Ok(version)
}

fn target(method: &[u8], target: &[u8]) -> Result<(), Violation> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(Violation::TargetTooLong);
    }
    if target.is_empty() {
        return Err(Violation::RequestLine);
    }
    if target == b"*" {
        return Ok(());
    }
    let mut end = run(target, PATH);
    if target.get(end) == Some(&b'?') {
        end += 1 + run(&target[end + 1..], QUERY);
    }
    match target.get(end) {
        None => {}
        Some(b' ') => return Err(Violation::RequestLine),
        Some(_) => return Err(Violation::Target),
    }
    if method == b"CONNECT" {
        return authority(target);
    }
    if target[0] == b'/' {
        return Ok(());
    }
    let is_web =
        |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let uri = if is_web(b"http://") || is_web(b"https://") { Uri::try_from(target).ok() } else { None };
    match uri.as_ref().and_then(Uri::authority) {
        Some(authority) if !authority.as_str().contains('@') => Ok(()),
        _ => Err(Violation::TargetForm),
    }
}

fn authority(target: &[u8]) -> Result<(), Violation> {
    let uri =
        Uri::try_from(target).ok().filter(|uri| uri.path_and_query().is_none() && uri.scheme().is_none());
    match uri.as_ref().and_then(Uri::authority) {
        Some(authority) if !authority.as_str().contains('@') => Ok(()),
        _ => Err(Violation::TargetForm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: HeadBounds = HeadBounds { bytes: 1000, fields: 10 };

    fn whole(head: &str) -> Result<Option<End>, Violation> {
        RequestHead::default().read(head.as_bytes(), BOUNDS)
    }

    /// Reads a head that comes byte by byte.
    fn trickling(head: &str) -> Result<Option<End>, Violation> {
        let mut reader = RequestHead::default();
        for end in 0..head.len() {
            match reader.read(&head.as_bytes()[..end], BOUNDS) {
                Ok(None) => {}
                early => return early,
            }
        }
        reader.read(head.as_bytes(), BOUNDS)
    }

    fn check(head: &str, want: Result<(Framing, bool), Violation>) {
        let want = want.map(|(framing, upgrade)| Some(End { bytes: head.len(), framing, upgrade }));
        assert_eq!(whole(head), want, "{head:?}");
        assert_eq!(trickling(head), want, "{head:?}, byte by byte");
        if want.is_ok() {
            let more = format!("{head}GET");
            assert_eq!(whole(&more), want, "{more:?}");
        }
    }

    fn accepted(head: &str, framing: Framing) {
        check(head, Ok((framing, false)));
    }

    fn with(field: &str) -> String {
        format!("POST /a HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")
    }

    #[test]
    fn heads_that_say_one_thing_are_read() {
        let none = Framing::Length(0);
        accepted("GET / HTTP/1.1\r\n\r\n", none);
        accepted("GET / HTTP/1.0\r\n\r\n", none);
        accepted("\r\nGET / HTTP/1.1\r\n\r\n", none);
        accepted("get /?a=/?b&c=%zz{}|^` HTTP/1.1\r\nA:\r\nb-_.~!#$%&'*+^`|:\t x\ty \u{e9} \r\n\r\n", none);
        accepted("OPTIONS * HTTP/1.1\r\n\r\n", none);
        accepted("GET http://a.test HTTP/1.1\r\n\r\n", none);
        accepted("GET HTTPS://a.test:1/x?y HTTP/1.1\r\n\r\n", none);
        accepted(&with("Content-Length: 0"), none);
        accepted(&with("content-LENGTH:\t 12 "), Framing::Length(12));
        accepted(&with("content-length: 012"), Framing::Length(12));
        accepted(&with("content-length: 9999999999999999999"), Framing::Length(9_999_999_999_999_999_999));
        accepted(&with("content-length: 5\r\nContent-Length: 5"), Framing::Length(5));
        accepted(&with("Transfer-Encoding:CHUNKED\t"), Framing::Chunked);
        check(&with("Upgrade: websocket"), Ok((none, true)));
        check("CONNECT a.test:443 HTTP/1.1\r\n\r\n", Ok((none, true)));
        check("GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n", Ok((none, false)));
    }

    #[test]
    fn no_byte_of_a_method_that_trickles_is_looked_at_twice() {
        let mut reader = RequestHead::default();
        for (bytes, want) in [
            ("", Ok(None)),
            ("\r\nM", Ok(None)),
            // What stood there before is known, whatever stands there now.
            ("\r\n(E", Ok(None)),
            ("\r\n((THOD", Ok(None)),
            ("\r\n(((((((", Err(Violation::RequestLine)),
        ] {
            assert_eq!(reader.read(bytes.as_bytes(), BOUNDS), want, "{bytes:?}");
        }
    }

    #[test]
    fn a_request_line_that_is_none_is_refused() {
        use Violation::{RequestLine, Target, TargetForm};

        for (line, want) in [
            ("", RequestLine),
            ("GET", RequestLine),
            ("GET /", RequestLine),
            ("GET  / HTTP/1.1", RequestLine),
            ("GET /  HTTP/1.1", RequestLine),
            ("GET / HTTP/1.1 ", RequestLine),
            (" GET / HTTP/1.1", RequestLine),
            ("GET / x HTTP/1.1", RequestLine),
            ("GET\t/ HTTP/1.1", RequestLine),
            ("! / HTTP/1.1", RequestLine),
            ("!GET / HTTP/1.1", RequestLine),
            ("G(T / HTTP/1.1", RequestLine),
            ("GET / HTTP/1.2", RequestLine),
            ("GET / HTTP/2.0", RequestLine),
            ("GET / http/1.1", RequestLine),
            ("GET / HTTP/1.10", RequestLine),
            ("GET /\t HTTP/1.1", Target),
            ("GET /admin#/pub HTTP/1.1", Target),
            ("GET /?a#b HTTP/1.1", Target),
            ("GET # HTTP/1.1", Target),
            ("GET /\u{e9} HTTP/1.1", Target),
            ("GET /?\u{e9} HTTP/1.1", Target),
            ("GET /<script> HTTP/1.1", Target),
            ("GET /?\" HTTP/1.1", Target),
            ("GET javascript:alert(1) HTTP/1.1", TargetForm),
            ("GET javascript://a/ HTTP/1.1", TargetForm),
            ("GET file:///etc/passwd HTTP/1.1", TargetForm),
            ("GET ftp://a.test/ HTTP/1.1", TargetForm),
            ("GET http:/a.test/ HTTP/1.1", TargetForm),
            ("GET http:///x HTTP/1.1", TargetForm),
            ("GET http://u@a.test/ HTTP/1.1", TargetForm),
            ("GET a.test:80 HTTP/1.1", TargetForm),
            ("GET a.test HTTP/1.1", TargetForm),
            ("GET ** HTTP/1.1", TargetForm),
            ("GET ?x HTTP/1.1", TargetForm),
            ("CONNECT / HTTP/1.1", TargetForm),
            ("CONNECT http://a.test/ HTTP/1.1", TargetForm),
            ("CONNECT u@a.test:1 HTTP/1.1", TargetForm),
            ("CONNECT a:b:c HTTP/1.1", TargetForm),
        ] {
            check(&format!("{line}\r\nHost: a\r\n\r\n"), Err(want));
        }
    }

    #[test]
    fn fields_that_are_none_or_can_be_read_in_two_ways_are_refused() {
        use Violation::{
            Coding, ControlCharacter, FieldName, Folded, Length, LengthAndCoding, LineEnd, UnknownCoding,
        };

        for (field, want) in [
            ("no colon", FieldName),
            (": x", FieldName),
            ("a b: x", FieldName),
            ("a : x", FieldName),
            ("a\t: x", FieldName),
            ("\u{e9}: x", FieldName),
            ("a(b): x", FieldName),
            (" a: x", Folded),
            ("\ta: x", Folded),
            ("a: x\r\n y", Folded),
            ("a: x\ny: z", LineEnd),
            ("a: x\ry: z", LineEnd),
            ("a: x\r\ry: z", LineEnd),
            ("a: \0", ControlCharacter),
            ("a: \x07", ControlCharacter),
            ("a: \x7f", ControlCharacter),
            ("a\x01: x", ControlCharacter),
            ("content-length:", Length),
            ("content-length: +3", Length),
            ("content-length: -3", Length),
            ("content-length: -0", Length),
            ("content-length: 0x3", Length),
            ("content-length: 3 3", Length),
            ("content-length: 3, 3", Length),
            ("content-length: 3.0", Length),
            ("content-length: 1_0", Length),
            ("content-length: 18446744073709551616", Length),
            ("content-length: 00000000000000000003", Length),
            ("content-length: 3\r\ncontent-length: 4", Length),
            ("content-length: 3\r\ncontent-length: 03", Length),
            ("content-length: 3\r\ntransfer-encoding: chunked", LengthAndCoding),
            ("transfer-encoding: chunked\r\ncontent-length: 0", LengthAndCoding),
            ("transfer-encoding: chunked, chunked", Coding),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", Coding),
            ("transfer-encoding: chunked\r\ntransfer-encoding: identity", Coding),
            ("transfer-encoding: ,chunked", Coding),
            ("transfer-encoding: chunked,", Coding),
            ("transfer-encoding:", Coding),
            ("transfer-encoding: xchunked", Coding),
            ("transfer-encoding: chunked;x", Coding),
            ("transfer-encoding: \"chunked\"", Coding),
            ("transfer-encoding: identity", Coding),
            ("transfer-encoding: chunked, gzip", Coding),
            ("transfer-encoding: gzip, chunked, chunked", Coding),
            ("transfer-encoding: gzip, chunked", UnknownCoding),
            ("transfer-encoding: \x0bchunked", ControlCharacter),
            ("transfer-encoding: chunked\x0c", ControlCharacter),
            ("transfer-encoding: chunked\0", ControlCharacter),
            ("transfer-encoding:\r\n chunked", Coding),
        ] {
            check(&with(field), Err(want));
        }
    }

    #[test]
    fn a_tunnel_has_no_body() {
        for (field, want) in [
            ("Content-Length: 5", Err(Violation::ConnectBody)),
            ("Transfer-Encoding: chunked", Err(Violation::ConnectBody)),
            ("Content-Length: 0", Ok((Framing::Length(0), true))),
        ] {
            check(&format!("CONNECT a.test:443 HTTP/1.1\r\n{field}\r\n\r\n"), want);
            check(&format!("\r\nCONNECT a.test:443 HTTP/1.1\r\n{field}\r\n\r\n"), want);
        }
    }

    #[test]
    fn a_head_has_its_lines_ends() {
        use Violation::{Coding, ControlCharacter, LineEnd, RequestLine};

        check("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Coding));
        check("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(RequestLine));
        check("GET / HTTP/1.1\n\n", Err(LineEnd));
        check("\nGET / HTTP/1.1\r\n\r\n", Err(LineEnd));
        check("GET / HTTP/1.1\r\n\n", Err(LineEnd));
        check("GET / HTTP/1.1\r\n\r\r\n", Err(LineEnd));
        check("\x16\x03\x01", Err(ControlCharacter));
        assert_eq!(whole("\u{e9}"), Err(RequestLine), "before its line ends");
    }

    #[test]
    fn a_head_has_bounds_from_both_sides() {
        let head = |bytes: usize| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(bytes - 23));
        accepted(&head(1000), Framing::Length(0));
        check(&head(1001), Err(Violation::TooLarge));
        let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        accepted(&fields(10), Framing::Length(0));
        check(&fields(11), Err(Violation::TooManyFields));
        check(&format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1000)), Err(Violation::TargetTooLong));
        let target = |bytes: usize| {
            let head = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(bytes - 1));
            RequestHead::default().read(head.as_bytes(), HeadBounds { bytes: 100_000, fields: 1 }).map(|_| ())
        };
        assert_eq!((target(65_534), target(65_535)), (Ok(()), Err(Violation::TargetTooLong)));
    }
}
