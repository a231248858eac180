//! The head of an answer.

use super::{
    HeadBounds, Violation,
    head::{Reader, Version},
};

/// Reads the head of an answer.
#[derive(Debug, Default)]
pub struct ResponseHead(Reader);

/// A head that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Where it ends.
    pub bytes: usize,
    /// Whether another head follows it: it is an interim answer (RFC 9110 §15.2), but no switch of protocols.
    pub interim: bool,
}

impl ResponseHead {
    /// Reads on, in the bytes from the head's first one, of which there are as many as the last time or more; `None` while it is
    /// not whole.
    pub fn read(&mut self, bytes: &[u8], bounds: HeadBounds) -> Result<Option<End>, Violation> {
        let Some(end) = self.0.read(bytes, bounds, status_line, |_, _| true)? else { return Ok(None) };
        self.0.is_chunked()?;
        // A request may say its length twice; a service of ours that does is broken.
        if self.0.fields.lengths > 1 {
            return Err(Violation::Length);
        }
        let status =
            bytes[..end].iter().position(|byte| *byte == b' ').map(|space| &bytes[space + 1..space + 4]);
        let interim = status.is_some_and(|status| status[0] == b'1' && status != b"101");
        Ok(Some(End { bytes: end, interim }))
    }
}

fn status_line(line: &[u8]) -> Result<Version, Violation> {
    let (version, rest) = match line.split_first_chunk::<9>() {
        Some((b"HTTP/1.1 ", rest)) => (Version::Http11, rest),
        Some((b"HTTP/1.0 ", rest)) => (Version::Http10, rest),
        _ => return Err(Violation::StatusLine),
    };
    match rest {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..] => {
            Ok(version)
        }
        _ => Err(Violation::StatusLine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: HeadBounds = HeadBounds { bytes: 1000, fields: 10 };

    fn check(head: &str, want: Result<bool, Violation>) {
        let want = want.map(|interim| Some(End { bytes: head.len(), interim }));
        let mut trickling = ResponseHead::default();
        let early = (0..head.len())
            .map(|end| trickling.read(&head.as_bytes()[..end], BOUNDS))
            .find(|read| *read != Ok(None));
        let trickled = early.unwrap_or_else(|| trickling.read(head.as_bytes(), BOUNDS));
        assert_eq!(ResponseHead::default().read(head.as_bytes(), BOUNDS), want, "{head:?}");
        assert_eq!(trickled, want, "{head:?}, byte by byte");
    }

    #[test]
    fn f17_an_answer_has_one_length() {
        for head in
            ["HTTP/1.1 200 OK", "HTTP/1.0 404 Not Found", "HTTP/1.1 200", "HTTP/1.1 299 ", "HTTP/1.1 101 x"]
        {
            check(&format!("{head}\r\ncontent-length: 4\r\n\r\n"), Ok(false));
        }
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Ok(false));
        check("HTTP/1.1 100 Continue\r\n\r\n", Ok(true));
        check("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", Ok(true));
        for (fields, want) in [
            ("content-length: 4\r\ntransfer-encoding: chunked", Violation::LengthAndCoding),
            ("transfer-encoding: chunked\r\ncontent-length: 4", Violation::LengthAndCoding),
            ("content-length: 4\r\ncontent-length: 4", Violation::Length),
            ("content-length: 4\r\ncontent-length: 5", Violation::Length),
            ("content-length: 4, 4", Violation::Length),
            ("content-length: x", Violation::Length),
            ("transfer-encoding: gzip, chunked", Violation::UnknownCoding),
            ("transfer-encoding: chunked, chunked", Violation::Coding),
            ("x: y\r\n z", Violation::Folded),
            ("x: y\nz: a", Violation::LineEnd),
            ("x: \0", Violation::ControlCharacter),
            ("x y: z", Violation::FieldName),
        ] {
            check(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), Err(want));
        }
        for line in [
            "",
            "HTTP/1.1",
            "HTTP/1.1 20",
            "HTTP/1.1 2000",
            "HTTP/1.1  200",
            "HTTP/2.0 200",
            "http/1.1 200",
            "HTTP/1.1 020",
        ] {
            check(&format!("{line}\r\nx: y\r\n\r\n"), Err(Violation::StatusLine));
        }
        check("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Err(Violation::Coding));
    }
}
