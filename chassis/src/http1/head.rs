//! What the heads of requests and of answers have in common: lines, fields, and what they say of the body.

use super::{HeadBounds, TOKEN, Violation, run};

/// A `Content-Length` of more digits is no length of anything; fewer fit into 64 bits.
const DIGITS_MAX: usize = 19;

/// Empty lines before a head that are passed over (RFC 9112 §2.2): some clients send one behind a body.
const EMPTY_LINES_MAX: u8 = 1;

/// The version that a start line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// Reads a head, however many times it takes until all of it is there. No byte is looked at twice but the start of a line that
/// was not whole.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Where the line begins that is read.
    line: usize,
    /// How many bytes of a start line that is not whole are known to be the beginning of one.
    begun: usize,
    /// Up to where it has no control character, but tabs.
    seen: usize,
    empty_lines: u8,
    version: Option<Version>,
    pub fields: Fields,
}

/// What the fields of a head say that matters to where the message ends.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: usize,
    /// Its length, and the digits that said it.
    pub length: Option<(u64, usize)>,
    pub lengths: u8,
    pub chunked: bool,
    pub upgrade: bool,
}

impl Reader {
    /// Reads on, in the bytes from the head's first one, of which there are as many as before or more. The head's size when it
    /// is whole. Its start line is read by `start_line`, and by `may_start` what may be the beginning of one: from the bytes on that
    /// it has counted the last time, for a line may come byte by byte.
    pub fn read(
        &mut self,
        bytes: &[u8],
        bounds: HeadBounds,
        start_line: impl Fn(&[u8]) -> Result<Version, Violation>,
        may_start: impl Fn(&[u8], &mut usize) -> bool,
    ) -> Result<Option<usize>, Violation> {
        loop {
            let Some(offset) = next_control(&bytes[self.seen..]) else {
                self.seen = bytes.len();
                break;
            };
            let control = self.seen + offset;
            match (bytes[control], bytes.get(control + 1)) {
                (b'\t', _) => {
                    self.seen = control + 1;
                    continue;
                }
                (b'\r', None) => {
                    self.seen = control;
                    break;
                }
                (b'\r', Some(b'\n')) => {}
                (b'\r' | b'\n', _) => return Err(Violation::LineEnd),
                _ => return Err(Violation::ControlCharacter),
            }
            let line = &bytes[self.line..control];
            (self.line, self.seen) = (control + 2, control + 2);
            if self.line > bounds.bytes {
                return Err(self.too_large());
            }
            match (self.version, line.is_empty()) {
                (Some(_), true) => return Ok(Some(self.line)),
                (Some(_), false) => self.fields.read(line, bounds.fields)?,
                (None, true) if self.empty_lines < EMPTY_LINES_MAX => {
                    (self.empty_lines, self.begun) = (self.empty_lines + 1, 0);
                }
                (None, _) => self.version = Some(start_line(line)?),
            }
        }
        if bytes.len() > bounds.bytes {
            return Err(self.too_large());
        }
        // What is no HTTP at all hears so at once, and not when it has sent as much as a head may be.
        if self.version.is_none() && !may_start(&bytes[self.line..], &mut self.begun) {
            return Err(Violation::RequestLine);
        }
        Ok(None)
    }

    fn too_large(&self) -> Violation {
        if self.version.is_none() { Violation::TargetTooLong } else { Violation::TooLarge }
    }

    /// Whether the body is chunked, if what is said of that has one meaning.
    pub fn is_chunked(&self) -> Result<bool, Violation> {
        if self.fields.chunked && self.fields.length.is_some() {
            return Err(Violation::LengthAndCoding);
        }
        if self.fields.chunked && self.version == Some(Version::Http10) {
            return Err(Violation::Coding);
        }
        Ok(self.fields.chunked)
    }

    /// Whether the connection may speak something else afterwards.
    pub fn asks_for_upgrade(&self) -> bool {
        self.fields.upgrade && self.version == Some(Version::Http11)
    }
}

impl Fields {
    fn read(&mut self, line: &[u8], most: usize) -> Result<(), Violation> {
        self.count += 1;
        if self.count > most {
            return Err(Violation::TooManyFields);
        }
        let colon = run(line, TOKEN);
        match (colon, line.get(colon)) {
            (0, Some(b' ' | b'\t')) => return Err(Violation::Folded),
            (1.., Some(b':')) => {}
            _ => return Err(Violation::FieldName),
        }
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        match colon {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(trimmed(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(trimmed(value)),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A length may be said again, in the same digits (RFC 9110 §8.6).
    fn length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let digits = value.len();
        if digits == 0 || digits > DIGITS_MAX || !value.iter().all(u8::is_ascii_digit) {
            return Err(Violation::Length);
        }
        let length = value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0'));
        self.lengths = self.lengths.saturating_add(1);
        if *self.length.get_or_insert((length, digits)) == (length, digits) {
            Ok(())
        } else {
            Err(Violation::Length)
        }
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.chunked {
            return Err(Violation::Coding);
        }
        let mut codings = value.split(|byte| *byte == b',').map(trimmed);
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        if !codings.next_back().is_some_and(is_chunked) {
            return Err(Violation::Coding);
        }
        let mut others = false;
        for coding in codings {
            if coding.is_empty() || is_chunked(coding) {
                return Err(Violation::Coding);
            }
            others = true;
        }
        if others {
            return Err(Violation::UnknownCoding);
        }
        self.chunked = true;
        Ok(())
    }
}

/// A value without the spaces and tabs around it (RFC 9110 §5.5).
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// How many bytes are looked at together, in registers that any processor of 64 bits has.
const BLOCK_BYTES: usize = 32;

/// Where the first control character is: below a space, or DEL. Long values, as tokens are, have blocks without any.
fn next_control(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    // Without a way out in the middle, which would keep it out of those registers.
    let has_one =
        |block: &[u8; BLOCK_BYTES]| block.iter().fold(false, |found, byte| found | is_control(*byte));
    let sound = BLOCK_BYTES * blocks.iter().position(has_one).unwrap_or(blocks.len());
    next_control_by_words(&bytes[sound..]).map(|at| sound + at)
}

/// The same, eight bytes at a time.
fn next_control_by_words(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, bytes) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        // The high bit of each byte that is below a space, or DEL. What is carried may set further ones, but only behind one of
        // those, or behind 0xff.
        let mut found = (word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)) & !word & (ONES * 0x80);
        while found != 0 {
            let byte = found.trailing_zeros() as usize / 8;
            if is_control(bytes[byte]) {
                return Some(at * 8 + byte);
            }
            found &= found - 1;
        }
    }
    let at = rest.iter().position(|byte| is_control(*byte))?;
    Some(words.len() * 8 + at)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_control_character_is_found_wherever_it_stands() {
        for control in 0..=u8::MAX {
            let is_control = control < b' ' || control == 0x7f;
            for at in 0..72 {
                for behind in [b'a', b' ', 0x80, 0xff, 0, 0x7f] {
                    let mut bytes = vec![b'~'; at];
                    bytes.extend([control, 0x21, 0x80]);
                    bytes.extend([b'x'; 9]);
                    let end = bytes.len();
                    bytes.push(behind);
                    let last = (behind < b' ' || behind == 0x7f).then_some(end);
                    assert_eq!(next_control(&bytes), if is_control { Some(at) } else { last }, "{bytes:?}");
                }
            }
        }
        assert_eq!(next_control(b""), None);
    }
}
