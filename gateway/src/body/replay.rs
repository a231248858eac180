//! A copy of a small request body, so that the request may go again.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use metrics::Gauge;

/// The longest body that is kept. A longer one, or one of unknown length, streams as it comes, and its request never goes again.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// The most that all bodies together may keep.
const ALL_BYTES_MAX: usize = 32 * 1024 * 1024;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// What has come of a body, up to the length that was announced. Its room is taken until this, or what became of it, is gone.
pub(super) struct Replay {
    bytes: Vec<u8>,
    announced: usize,
}

impl Replay {
    /// Keeps a body of that length, if there is room.
    pub(super) fn of(announced: u64) -> Option<Self> {
        if announced > BODY_BYTES_MAX {
            return None;
        }
        let announced = usize::try_from(announced).ok()?;
        let fits = |kept: usize| kept.checked_add(announced).filter(|kept| *kept <= ALL_BYTES_MAX);
        KEPT.fetch_update(Relaxed, Relaxed, fits).ok()?;
        kept().increment(bytes(announced));
        Some(Self { bytes: Vec::with_capacity(announced), announced })
    }

    /// Takes a copy of what came; of what is more than was announced, none.
    pub(super) fn keep(&mut self, data: &[u8]) {
        let room = self.announced - self.bytes.len();
        self.bytes.extend_from_slice(&data[..data.len().min(room)]);
    }

    /// The body, if all of it has come.
    pub(super) fn whole(self) -> Option<Bytes> {
        (self.bytes.len() == self.announced).then(|| Bytes::from_owner(self))
    }
}

impl AsRef<[u8]> for Replay {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.announced, Relaxed);
        kept().decrement(bytes(self.announced));
    }
}

fn kept() -> &'static Gauge {
    static GAUGE: OnceLock<Gauge> = OnceLock::new();
    GAUGE.get_or_init(|| metrics::gauge!(crate::metrics::REQUEST_BODIES_KEPT.name))
}

fn bytes(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_up_to_a_bound_and_given_only_whole() {
        assert!(Replay::of(BODY_BYTES_MAX + 1).is_none());
        let mut replay = Replay::of(BODY_BYTES_MAX).unwrap();
        replay.keep(&vec![b'x'; 64 * 1024 - 1]);
        replay.keep(b"y");
        assert!(replay.whole().unwrap().ends_with(b"xy"));
        let mut half = Replay::of(4).unwrap();
        half.keep(b"abc");
        assert_eq!(half.whole(), None);
        // What is sent again takes its room until it is gone.
        let mut sent = Replay::of(3).unwrap();
        sent.keep(b"abc");
        let sent = sent.whole().unwrap();
        let others: Vec<_> = (0..10_000).map_while(|_| Replay::of(BODY_BYTES_MAX)).collect();
        assert_eq!(others.len() * 64 * 1024, ALL_BYTES_MAX - 64 * 1024);
        drop((sent, others));
        // Each announces as much as may be: all of them together are bounded, and what was let go is free again.
        for _ in 0..2 {
            let all: Vec<_> = (0..10_000).map_while(|_| Replay::of(BODY_BYTES_MAX)).collect();
            assert_eq!(all.len() * 64 * 1024, ALL_BYTES_MAX);
        }
    }
}
