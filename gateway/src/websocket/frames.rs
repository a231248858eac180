//! Where the frames of a WebSocket begin and end (RFC 6455 §5.2), and the one frame that we send.

/// Masking keys and lengths make a frame's head longer.
const HEAD_BYTES_MAX: usize = 14;

/// The opcode of a close frame.
const CLOSE: u8 = 0x8;

/// A close frame with the status 1001, going away, as a server sends it (RFC 6455 §5.5.1, §7.4.1).
pub(super) const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// Follows the frames of one direction by their lengths. It reads nothing else, and judges nothing.
#[derive(Default)]
pub(super) struct Frames {
    /// What has come of a frame's head.
    head: [u8; HEAD_BYTES_MAX],
    have: usize,
    /// What is missing of its payload.
    payload: u64,
    closed: bool,
}

impl Frames {
    /// Whether the last frame is whole, so that another one may stand here.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// Whether a close frame has come, after which there are no others.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Follows all of `bytes`.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.step(rest);
        }
    }

    /// Follows `bytes` up to the end of a frame; how many those are.
    pub(super) fn follow_to_end(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_between() {
            rest = self.step(rest);
        }
        bytes.len() - rest.len()
    }

    /// Follows some of `bytes`, at most to the end of a frame; what is left.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.payload > 0 {
            let taken = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= taken as u64;
            return &bytes[taken..];
        }
        let Some((first, rest)) = bytes.split_first() else { return bytes };
        self.head[self.have] = *first;
        self.have += 1;
        if self.have >= 2 && self.have == self.head_bytes() {
            self.closed |= self.head[0] & 0x0f == CLOSE;
            self.payload = self.payload_bytes();
            self.have = 0;
        }
        rest
    }

    /// How long this frame's head is, once it has two bytes.
    fn head_bytes(&self) -> usize {
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn payload_bytes(&self) -> u64 {
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
        match self.head[1] & 0x7f {
            126 => big_endian(&self.head[2..4]),
            127 => big_endian(&self.head[2..10]),
            short => short.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, masked: bool, payload: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match payload {
            0..=125 => frame.push(mask | u8::try_from(payload).unwrap()),
            126..=65_535 => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0x88, payload + if masked { 4 } else { 0 }));
        frame
    }

    #[test]
    fn a_frame_ends_where_its_length_says_however_it_comes() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let one = frame(2, masked, payload);
                for piece in [1, 2, 3, 7, one.len()] {
                    let mut frames = Frames::default();
                    let mut came = 0;
                    for bytes in one.chunks(piece) {
                        assert!(came == 0 || !frames.is_between(), "{payload} {came}");
                        frames.follow(bytes);
                        came += bytes.len();
                    }
                    assert!(frames.is_between() && !frames.is_closed(), "{payload} by {piece}");
                }
                // What follows it stays.
                let mut frames = Frames::default();
                frames.follow(&one[..1]);
                let rest = [&one[1..], &frame(1, false, 5)].concat();
                assert_eq!(frames.follow_to_end(&rest), one.len() - 1);
                assert_eq!(frames.follow_to_end(&rest), 0, "it is between two");
            }
        }
    }

    #[test]
    fn a_close_frame_is_known_by_its_opcode_alone() {
        let mut frames = Frames::default();
        frames.follow(&[frame(2, false, 8), frame(9, false, 0)].concat());
        assert!(!frames.is_closed());
        frames.follow(&GOING_AWAY);
        assert!(frames.is_closed() && frames.is_between());
    }
}
