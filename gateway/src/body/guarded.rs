//! An answer's body that holds a guard until it has left, or until its reader takes too little of it for too long.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chassis::BoxError;
use http_body::{Frame, SizeHint};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::idle::Rate;

/// How many times its grace a client may save up.
///
/// What hyper has been handed is not what the client has taken: the kernel's buffers take megabytes, and ask for more only when
/// a good part of that has left. A client that reads slowly but steadily seems to take nothing meanwhile.
const SAVED_GRACES_MAX: u32 = 4;

/// A body that holds `G` (a permit, a connection) until it has left.
///
/// A client that doesn't read leaves the body unpolled, so that nothing in the body itself would notice. A task of its own
/// watches, and drops body and guard when the client is too slow. While the service is the slow one, the clock stands.
pub(crate) struct GuardedBody<B, G> {
    shared: Arc<Mutex<Shared<B, G>>>,
    watch: AbortHandle,
}

struct Shared<B, G> {
    /// `None` once the client was given up.
    inner: Option<(B, G)>,
    least: Rate,
    /// How much longer the client may be waited for.
    credit: Duration,
    /// Since when the client is waited for; `None` while the service is.
    waiting: Option<Instant>,
}

impl<B, G> Shared<B, G> {
    /// When the client's credit ends, if it is the client that is waited for.
    fn deadline(&self) -> Option<Instant> {
        self.waiting.map(|since| since + self.credit)
    }

    /// The client asks for more.
    fn requested(&mut self) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.credit = self.credit.saturating_sub(waited);
    }

    /// The client has something to take.
    fn delivered(&mut self, bytes: usize) {
        let saved = self.credit.saturating_add(self.least.time_for(bytes));
        self.credit = saved.min(self.least.grace * SAVED_GRACES_MAX);
        self.waiting = Some(Instant::now());
    }
}

impl<B: Send + 'static, G: Send + 'static> GuardedBody<B, G> {
    /// Holds `guard` for as long as its client takes `inner` at `least` as fast.
    pub(crate) fn new(inner: B, guard: G, least: Rate) -> Self {
        let credit = least.grace;
        let shared = Shared { inner: Some((inner, guard)), least, credit, waiting: Some(Instant::now()) };
        let shared = Arc::new(Mutex::new(shared));
        let watched = shared.clone();
        let watch = tokio::spawn(async move {
            loop {
                let due = {
                    let shared = lock(&watched);
                    // While the service is waited for, nothing is due before the credit that is left.
                    let sooner = || Instant::now() + shared.credit.max(least.grace / 10);
                    shared.deadline().unwrap_or_else(sooner)
                };
                sleep_until(due).await;
                let mut shared = lock(&watched);
                if shared.deadline().is_some_and(|due| due <= Instant::now()) {
                    shared.inner = None;
                    metrics::counter!(crate::metrics::RESPONSES_ABANDONED.name).increment(1);
                    return;
                }
            }
        });
        Self { shared, watch: watch.abort_handle() }
    }
}

impl<B, G> Drop for GuardedBody<B, G> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn lock<B, G>(shared: &Mutex<Shared<B, G>>) -> MutexGuard<'_, Shared<B, G>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B, G> http_body::Body for GuardedBody<B, G>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut shared = lock(&self.shared);
        shared.requested();
        let polled = match &mut shared.inner {
            Some((inner, _)) => Pin::new(inner).poll_frame(cx).map_err(Into::into),
            None => Poll::Ready(Some(Err("the client took the answer too slowly".into()))),
        };
        if let Poll::Ready(frame) = &polled {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            shared.delivered(data.map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared).inner.as_ref().is_some_and(|(inner, _)| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.shared).inner.as_ref().map_or_else(SizeHint::default, |(inner, _)| inner.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use chassis::Body;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An answer whose pieces are sent by hand, with the only permit that there is.
    fn guarded() -> (mpsc::UnboundedSender<Bytes>, Body, Arc<Semaphore>) {
        let (sender, mut pieces) = mpsc::unbounded_channel::<Bytes>();
        let stream = futures_util::stream::poll_fn(move |cx| {
            pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))))
        });
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.clone().try_acquire_owned().unwrap();
        let least = Rate { bytes: 100, grace: 10 * SECOND };
        (sender, Body::new(GuardedBody::new(Body::new(StreamBody::new(stream)), permit, least)), permits)
    }

    /// Takes `bytes` every `every`; for how long that went well, of `times`.
    async fn take(bytes: usize, every: Duration, times: u32) -> u32 {
        let (sender, mut body, permits) = guarded();
        for time in 0..times {
            let _ = sender.send(vec![b'x'; bytes].into());
            if body.frame().await.unwrap().is_err() {
                assert_eq!(permits.available_permits(), 1, "the permit is given back");
                return time;
            }
            tokio::time::sleep(every).await;
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_a_least_rate_from_both_sides() {
        assert_eq!(take(100, SECOND, 200).await, 200, "as fast as it must be");
        assert!(take(50, SECOND, 200).await <= 22, "half as fast");
        assert!(take(1, 9 * SECOND, 200).await <= 2, "a byte now and then");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_save_up_time_by_what_it_took_but_not_without_end() {
        assert_eq!(take(1_000_000, 39 * SECOND, 20).await, 20);
        assert_eq!(take(1_000_000, 41 * SECOND, 20).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_while_the_service_is_slow() {
        let (sender, mut body, permits) = guarded();
        for _ in 0..20 {
            let sender = sender.clone();
            tokio::spawn(async move {
                tokio::time::sleep(60 * SECOND).await;
                let _ = sender.send(Bytes::from_static(b"x"));
            });
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert_eq!(permits.available_permits(), 0);
    }
}
