//! The framing of a chunked body (RFC 9112 §7.1), followed byte by byte; its data are passed over.

use super::{TOKEN, Violation, is};

/// Digits of a chunk's size: what fits into 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of all extensions and trailers of one body; nobody needs either.
const EXTRA_BYTES_MAX: usize = 8 * 1024;

/// What a trailer counts besides its bytes, so that there are 64 at most: hyper has a bound for their number.
const TRAILER_BYTES: usize = 128;

/// Follows the chunks of one body.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// Bytes of extensions and trailers so far.
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A chunk's size, and how many digits of it have come.
    #[default]
    Start,
    Size(u64, u8),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// A line of the trailers begins, or the last one.
    Line,
    Name,
    Value,
    ValueEnd,
    LastEnd,
}

impl Chunks {
    /// How many of these bytes belong to the body, and whether it ends there. `Err` when the first of them can't.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), Violation> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let State::Data(left) = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                continue;
            }
            match self.step(*byte) {
                Ok(_) if matches!((self.state, byte), (State::LastEnd, b'\n')) => return Ok((at + 1, true)),
                Ok(state) => self.state = state,
                Err(violation) if at == 0 => return Err(violation),
                // Found again when it is the first.
                Err(_) => break,
            }
            at += 1;
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<State, Violation> {
        Ok(match (self.state, byte) {
            (State::Start, _) if byte.is_ascii_hexdigit() => State::Size(digit(byte), 1),
            (State::Size(size, digits), _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                State::Size(size << 4 | digit(byte), digits + 1)
            }
            (State::Size(size, _), b';') => State::Extension(size),
            (State::Size(size, _) | State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => {
                self.extra(1, State::Extension(size))?
            }
            (State::SizeEnd(0) | State::ValueEnd, b'\n') => State::Line,
            (State::SizeEnd(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            // After the last end the body is over.
            (State::DataLf | State::LastEnd, b'\n') => State::Start,
            (State::Line, b'\r') => State::LastEnd,
            (State::Line, _) if is(byte, TOKEN) => self.extra(TRAILER_BYTES, State::Name)?,
            (State::Name, _) if is(byte, TOKEN) => self.extra(1, State::Name)?,
            (State::Name, b':') => State::Value,
            (State::Value, b'\r') => State::ValueEnd,
            (State::Value, b'\t' | b' '..=b'~' | 0x80..) => self.extra(1, State::Value)?,
            _ => return Err(Violation::Chunk),
        })
    }

    fn extra(&mut self, bytes: usize, next: State) -> Result<State, Violation> {
        self.extra += bytes;
        if self.extra > EXTRA_BYTES_MAX { Err(Violation::Chunk) } else { Ok(next) }
    }
}

fn digit(byte: u8) -> u64 {
    u64::from(char::from(byte).to_digit(16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a body ends; `None` if it does not, and how many bytes of a broken one pass.
    fn whole(body: &str) -> Result<Option<usize>, usize> {
        let (mut chunks, mut at) = (Chunks::default(), 0);
        while at < body.len() {
            match chunks.read(&body.as_bytes()[at..]) {
                Ok((bytes, true)) => return Ok(Some(at + bytes)),
                Ok((bytes, false)) => at += bytes,
                Err(_) => return Err(at),
            }
        }
        Ok(None)
    }

    fn trickling(body: &str) -> Result<Option<usize>, usize> {
        let mut chunks = Chunks::default();
        for (at, byte) in body.bytes().enumerate() {
            match chunks.read(&[byte]) {
                Ok((1, true)) => return Ok(Some(at + 1)),
                Ok((1, false)) => {}
                _ => return Err(at),
            }
        }
        Ok(None)
    }

    fn check(body: &str, want: Result<Option<usize>, usize>) {
        assert_eq!(whole(body), want, "{body:?}");
        assert_eq!(trickling(body), want, "{body:?}, byte by byte");
    }

    #[test]
    fn a_body_ends_with_its_last_chunk() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "A;x=\"y\";\tz \u{e9}\r\n0123456789\r\n000\r\n\r\n",
            "3\r\n\r\n\0\r\n1;\r\na\r\n0\r\nX-User-Id: u2\r\na:\r\n\r\n",
            "0000000000000001\r\na\r\n0\r\n\r\n",
        ] {
            check(body, Ok(Some(body.len())));
            check(&format!("{body}GET / HTTP/1.1"), Ok(Some(body.len())));
            check(&body[..body.len() - 1], Ok(None));
        }
        check("ffffffffffffffff\r\nabc", Ok(None));
    }

    #[test]
    fn f7_f8_f9_broken_framing_stops_where_it_breaks() {
        for (sound, rest) in [
            ("", "\r\n"),
            ("", "x"),
            ("0", "x3\r\nabc\r\n"),
            ("", "+3\r\n"),
            ("", "-3\r\n"),
            ("", " 3\r\n"),
            ("", "_3\r\n"),
            ("3", " \r\nabc"),
            ("3", "\t;x\r\nabc"),
            ("3", "\nabc"),
            ("3\r", "\rabc"),
            ("3\r", "abc"),
            ("0000000000000000", "3\r\nabc"),
            ("3;a=b", "\n\r\nabc"),
            ("3;a", "\0\r\nabc"),
            ("3;a", "\x01\r\nabc"),
            ("3;a", "\x7f\r\nabc"),
            ("3;a\r", "b\r\nabc"),
            ("3\r\nabc", "d\r\n"),
            ("3\r\nabc", "\n0\r\n"),
            ("3\r\nabc\r", "0\r\n"),
            ("0\r\n", "\n"),
            ("0\r\n\r", "x"),
            ("0\r\n", " x: y\r\n\r\n"),
            ("0\r\nx", "\r\n\r\n"),
            ("0\r\nx", " : y\r\n\r\n"),
            ("0\r\nx: y", "\n\r\n"),
            ("0\r\nx: ", "\0\r\n\r\n"),
        ] {
            let body = format!("{sound}{rest}");
            check(&body, Err(sound.len()));
        }
    }

    #[test]
    fn extensions_and_trailers_share_a_bound() {
        let body = |extension: usize, trailer: usize| {
            format!("1;{}\r\na\r\n0\r\nx:{}\r\n\r\n", "e".repeat(extension), "t".repeat(trailer))
        };
        let sound = body(EXTRA_BYTES_MAX - TRAILER_BYTES - 3, 3);
        check(&sound, Ok(Some(sound.len())));
        assert!(whole(&body(EXTRA_BYTES_MAX - TRAILER_BYTES - 3, 4)).is_err());
        let trailers = |count: usize| format!("0\r\n{}\r\n", "x:\r\n".repeat(count));
        assert_eq!(whole(&trailers(64)), Ok(Some(trailers(64).len())));
        assert!(whole(&trailers(65)).is_err());
        assert!(whole(&body(65_536, 0)).is_err());
    }
}
