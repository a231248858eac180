//! A body that must keep a pace.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use chassis::BoxError;
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until};

/// How slow a body may be. What counts is the time that its sender is waited for; while nobody wants to read, the clock
/// stands.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it may pause.
    pub idle: Duration,
    /// The least of it that must come, on the average.
    pub least: Option<Rate>,
    /// When it must have come as a whole.
    pub end: Option<Instant>,
}

/// A least rate, and how far behind it somebody may fall.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Bytes a second.
    pub bytes: u32,
    /// How long somebody may send, or take, nothing at all. A byte earns its share of it back, and never more: who was fast once
    /// may not be slow for ever.
    pub grace: Duration,
}

impl Rate {
    /// How long `bytes` may take.
    pub fn time_for(self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Duration::from_millis(bytes.saturating_mul(1000) / u64::from(self.bytes.max(1)))
    }
}

/// A body on its way, in either direction, that must keep its pace. Its trailers stop here: nobody asks for them, and
/// they could carry what was taken off the head.
pub struct Paced<B> {
    inner: B,
    pace: Pace,
    /// How much longer its sender may be waited for.
    patience: Duration,
    /// Since when it is.
    waiting: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

/// Why a body on its way ended before its end.
#[derive(Debug, Error)]
pub enum PacedError {
    /// It paused for too long, or came too slowly.
    #[error("the body came too slowly")]
    Slow,
    /// It broke.
    #[error("the body broke: {0}")]
    Broken(#[source] BoxError),
}

impl<B> Paced<B> {
    /// A body that may pause for `idle`.
    pub fn new(inner: B, idle: Duration) -> Self {
        Self::at(inner, Pace { idle, least: None, end: None })
    }

    /// A body that must keep `pace`.
    pub fn at(inner: B, pace: Pace) -> Self {
        let patience = pace.least.map_or(Duration::MAX, |least| least.grace);
        Self { inner, pace, patience, waiting: None, alarm: Box::pin(sleep_until(Instant::now())) }
    }

    /// Until when its sender is waited for, since `waiting`.
    fn deadline(&self, waiting: Instant) -> Instant {
        let deadline = waiting + self.pace.idle.min(self.patience);
        self.pace.end.map_or(deadline, |end| deadline.min(end))
    }

    fn came(&mut self, bytes: usize) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
        if let Some(least) = self.pace.least {
            let left = self.patience.saturating_sub(waited);
            self.patience = left.saturating_add(least.time_for(bytes)).min(least.grace);
        }
    }
}

impl<B> http_body::Body for Paced<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = PacedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PacedError>>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                let waiting = *this.waiting.get_or_insert_with(Instant::now);
                let deadline = this.deadline(waiting);
                if this.alarm.deadline() != deadline {
                    this.alarm.as_mut().reset(deadline);
                }
                ready!(this.alarm.as_mut().poll(cx));
                return Poll::Ready(Some(Err(PacedError::Slow)));
            };
            let Some(frame) = frame.transpose().map_err(|error| PacedError::Broken(error.into()))? else {
                return Poll::Ready(None);
            };
            // One that never pauses meets its end here.
            if this.pace.end.is_some_and(|end| end <= Instant::now()) {
                return Poll::Ready(Some(Err(PacedError::Slow)));
            }
            let data = frame.into_data().ok();
            this.came(data.as_ref().map_or(0, Bytes::len));
            if let Some(data) = data {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    type Pieces = mpsc::UnboundedSender<Bytes>;

    fn by_hand(pace: Pace) -> (Pieces, Paced<chassis::Body>) {
        let (sender, mut pieces) = mpsc::unbounded_channel::<Bytes>();
        let stream = futures_util::stream::poll_fn(move |cx| {
            pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))))
        });
        (sender, Paced::at(chassis::Body::new(StreamBody::new(stream)), pace))
    }

    /// Sends `bytes` every `every` for as long as somebody reads, and says how long that was and whether it was the end.
    async fn send(pace: Pace, bytes: usize, every: Duration, times: usize) -> (Duration, bool) {
        let (sender, body) = by_hand(pace);
        let started = Instant::now();
        tokio::spawn(async move {
            for _ in 0..times {
                if sender.send(vec![b'x'; bytes].into()).is_err() {
                    return;
                }
                tokio::time::sleep(every).await;
            }
        });
        let whole = body.collect().await.is_ok();
        (started.elapsed(), whole)
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace { idle: 30 * SECOND, least: Some(Rate { bytes: 100, grace: 10 * SECOND }), end: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_least_rate_from_both_sides() {
        assert!(send(pace(), 100, SECOND, 100).await.1, "as fast as it must be");
        let (after, whole) = send(pace(), 50, SECOND, 100).await;
        assert!(!whole && after >= 18 * SECOND && after <= 22 * SECOND, "half as fast: {after:?}");
        let (after, whole) = send(pace(), 1, 9 * SECOND, 100).await;
        assert!(!whole && after <= 11 * SECOND, "a byte now and then: {after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_fast_once_may_not_be_slow_for_ever() {
        let (sender, mut body) = by_hand(pace());
        sender.send(vec![b'x'; 1_000_000].into()).unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let started = Instant::now();
        assert!(body.frame().await.unwrap().is_err());
        assert_eq!(started.elapsed(), 10 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_an_end_though_it_never_pauses() {
        let pace = |secs| Pace { end: Some(Instant::now() + secs * SECOND), ..pace() };
        assert!(send(pace(60), 1000, SECOND, 58).await.1);
        let (after, whole) = send(pace(60), 1000, SECOND, 100).await;
        assert!(!whole && after >= 60 * SECOND && after <= 61 * SECOND, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_while_nobody_reads() {
        let (sender, mut body) = by_hand(pace());
        for _ in 0..5 {
            sender.send(Bytes::from_static(b"x")).unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            tokio::time::sleep(20 * SECOND).await;
        }
    }
}
