//! A body that ends with an error when its sender is too slow.

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

/// How slow a body may be. The clock runs only between a `poll_frame` that returned `Pending` and the next frame, so that it
/// measures the sender; while nobody polls, it stands.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it may pause.
    pub idle: Duration,
    /// The least rate, on average.
    pub least: Option<Rate>,
    /// When all of it must have come.
    pub end: Option<Instant>,
}

/// A least rate, and how far somebody may fall behind it.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Bytes a second.
    pub bytes: u32,
    /// How long somebody may send, or take, nothing at all. Each byte earns its share of that back, up to this and never more:
    /// a fast start does not excuse being slow for ever.
    pub grace: Duration,
}

impl Rate {
    /// How long `bytes` may take at this rate.
    pub fn time_for(self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Duration::from_millis(bytes.saturating_mul(1000) / u64::from(self.bytes.max(1)))
    }
}

/// A body, in either direction, that must keep its [`Pace`]. Trailers are dropped: nobody asks for them, and they could carry
/// headers that were stripped from the head.
pub struct IdleTimeoutBody<B> {
    inner: B,
    pace: Pace,
    /// How much longer its sender may be waited for.
    credit: Duration,
    /// Since when its sender is waited for.
    waiting: Option<Instant>,
    /// Made with the first wait; most bodies need none.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Why a body ended early.
#[derive(Debug, Error)]
pub enum IdleTimeoutError {
    /// It paused for too long, or came too slowly.
    #[error("the body came too slowly")]
    Slow,
    /// It broke.
    #[error("the body broke: {0}")]
    Broken(#[source] BoxError),
}

impl<B> IdleTimeoutBody<B> {
    /// A body whose sender may pause for `idle`.
    pub fn new(inner: B, idle: Duration) -> Self {
        Self::at(inner, Pace { idle, least: None, end: None })
    }

    /// A body that must keep `pace`.
    pub fn at(inner: B, pace: Pace) -> Self {
        let credit = pace.least.map_or(Duration::MAX, |least| least.grace);
        Self { inner, pace, credit, waiting: None, alarm: None }
    }

    /// Until when the sender is waited for, if that began at `waiting`.
    fn deadline(&self, waiting: Instant) -> Instant {
        let deadline = waiting + self.pace.idle.min(self.credit);
        self.pace.end.map_or(deadline, |end| deadline.min(end))
    }

    fn received(&mut self, bytes: usize) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
        if let Some(least) = self.pace.least {
            let left = self.credit.saturating_sub(waited);
            self.credit = left.saturating_add(least.time_for(bytes)).min(least.grace);
        }
    }
}

impl<B> http_body::Body for IdleTimeoutBody<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = IdleTimeoutError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IdleTimeoutError>>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                let waiting = *this.waiting.get_or_insert_with(Instant::now);
                let deadline = this.deadline(waiting);
                let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                if alarm.deadline() != deadline {
                    alarm.as_mut().reset(deadline);
                }
                ready!(alarm.as_mut().poll(cx));
                return Poll::Ready(Some(Err(IdleTimeoutError::Slow)));
            };
            let Some(frame) = frame.transpose().map_err(|error| IdleTimeoutError::Broken(error.into()))?
            else {
                return Poll::Ready(None);
            };
            // A sender that never pauses never meets the alarm.
            if this.pace.end.is_some_and(|end| end <= Instant::now()) {
                return Poll::Ready(Some(Err(IdleTimeoutError::Slow)));
            }
            let data = frame.into_data().ok();
            this.received(data.as_ref().map_or(0, Bytes::len));
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

    fn by_hand(pace: Pace) -> (Pieces, IdleTimeoutBody<chassis::Body>) {
        let (sender, mut pieces) = mpsc::unbounded_channel::<Bytes>();
        let stream = futures_util::stream::poll_fn(move |cx| {
            pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))))
        });
        (sender, IdleTimeoutBody::at(chassis::Body::new(StreamBody::new(stream)), pace))
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
