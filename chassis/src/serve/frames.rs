//! Frames of HTTP/2 that cost us work and carry nothing, counted as they come.
//!
//! h2 bounds streams, resets, CONTINUATIONs and empty DATA. It answers every PING and every SETTINGS, without end.

use std::time::Duration;

use tokio::time::Instant;

/// How many such frames a peer may have saved up, and how many more it may send each second and for each frame of a request.
/// Proxies measure the path with a PING now and then, gRPC's clients with one for each answer.
const SAVED_MAX: u32 = 1000;
const PER_SECOND: u32 = 50;
const PER_REQUEST_FRAME: u32 = 2;

/// A frame's header: the length of what follows in three bytes, its type, its flags, its stream (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Follows the frames behind the preface.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    /// How much of the header has come.
    begun: usize,
    /// What is left of the frame.
    payload: usize,
    credit: u32,
    since: Instant,
}

/// Too many frames that carry nothing.
#[derive(Debug)]
pub(super) struct Flood;

impl Frames {
    pub fn new() -> Self {
        Self { header: [0; HEADER_BYTES], begun: 0, payload: 0, credit: SAVED_MAX, since: Instant::now() }
    }

    /// These bytes came next.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let missing = (HEADER_BYTES - self.begun).min(bytes.len());
            self.header[self.begun..self.begun + missing].copy_from_slice(&bytes[..missing]);
            self.begun += missing;
            bytes = &bytes[missing..];
            if self.begun == HEADER_BYTES {
                let [high, middle, low, kind, ..] = self.header;
                (self.begun, self.payload) =
                    (0, usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low));
                self.count(kind)?;
            }
        }
    }

    fn count(&mut self, kind: u8) -> Result<(), Flood> {
        match kind {
            DATA | HEADERS => self.credit = (self.credit + PER_REQUEST_FRAME).min(SAVED_MAX),
            RST_STREAM | GOAWAY | WINDOW_UPDATE | CONTINUATION => {}
            _ => {
                if self.credit == 0 {
                    self.credit = self.saved();
                }
                self.credit = self.credit.checked_sub(1).ok_or(Flood)?;
            }
        }
        Ok(())
    }

    /// What has been saved up since the last time that nothing was left. The clock is asked only then.
    fn saved(&mut self) -> u32 {
        let now = Instant::now();
        let time = now.duration_since(self.since).min(Duration::from_secs(60));
        self.since = now;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at most 3,000, and positive"
        )]
        let saved = (time.as_secs_f64() * f64::from(PER_SECOND)) as u32;
        saved.min(SAVED_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const SETTINGS: u8 = 4;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload).unwrap(), kind, 0, 0, 0, 0, 0];
        frame.resize(HEADER_BYTES + payload, kind);
        frame
    }

    #[tokio::test(start_paused = true)]
    async fn w6_pings_and_settings_have_a_bound_from_both_sides() {
        for kind in [PING, SETTINGS, 2, 0x10, 0xff] {
            let mut frames = Frames::new();
            for _ in 0..SAVED_MAX {
                frames.read(&frame(kind, 8)).unwrap();
            }
            assert!(frames.read(&frame(kind, 8)).is_err(), "{kind}");
            tokio::time::advance(Duration::from_secs(1)).await;
            let mut frames =
                Frames { since: Instant::now() - Duration::from_secs(1), credit: 0, ..Frames::new() };
            for _ in 0..PER_SECOND {
                frames.read(&frame(kind, 8)).unwrap();
            }
            assert!(frames.read(&frame(kind, 8)).is_err(), "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_requests_may_ping_with_each() {
        let mut frames = Frames::new();
        for _ in 0..10 * SAVED_MAX {
            let all = [frame(HEADERS, 40), frame(PING, 8), frame(WINDOW_UPDATE, 4), frame(PING, 8)].concat();
            for byte in all {
                frames.read(&[byte]).unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_frame_carries_is_not_read() {
        let mut frames = Frames::new();
        for _ in 0..10 {
            frames.read(&frame(DATA, 200)).unwrap();
            let pings = [frame(PING, 8).repeat(20)].concat();
            let mut inside = frame(DATA, 180);
            inside.splice(HEADER_BYTES.., pings[..180].iter().copied());
            frames.read(&inside).unwrap();
        }
        assert_eq!(frames.credit, SAVED_MAX);
    }
}
