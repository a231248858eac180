//! A place inside, held for as long as its answer is on the way.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chassis::{Body, BoxError};
use http::Response;
use http_body::{Frame, SizeHint};
use identity::UserId;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::idle::Rate;
use crate::admit::share::{Share, Shares};
use crate::refusal::Refusal;

/// How many times its grace a client may have saved up by what was handed out for it.
///
/// What was handed out is not what it has taken: the kernel's buffers take megabytes, and ask for more only when a good part of
/// that has left. A client that reads slowly but steadily seems to take nothing meanwhile.
const SAVED_GRACES_MAX: u32 = 4;

/// A place inside; given back when the answer's body has left.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _of_client: Share<IpAddr>,
    of_user: Option<Share<UserId>>,
    users: Shares<UserId>,
    least: Rate,
}

impl Place {
    /// `least` is how fast the client must take its answer.
    pub(crate) fn new(
        permit: OwnedSemaphorePermit,
        client: Share<IpAddr>,
        users: Shares<UserId>,
        least: Rate,
    ) -> Self {
        Self { _permit: permit, _of_client: client, of_user: None, users, least }
    }

    /// Counts the place to the user's share, too: one who is signed in may come by many addresses.
    pub fn count_to(&mut self, user: &UserId) -> Result<(), Refusal> {
        self.of_user = Some(self.users.take(user.clone()).ok_or(Refusal::UserShare)?);
        Ok(())
    }

    /// Keeps the place until the answer has left, or until its client has taken too little of it for too long.
    pub fn hold(self, response: Response<Body>) -> Response<Body> {
        response.map(|inner| {
            if http_body::Body::is_end_stream(&inner) { inner } else { Body::new(Held::new(inner, self)) }
        })
    }
}

/// An answer's body that holds a place.
///
/// A client that doesn't read is not asked to: its body is just not polled. So it is watched from outside, and what it
/// holds (the place, the connection inside) is taken from it when it is too slow. While the service is the slow one, the
/// clock stands.
struct Held {
    kept: Arc<Mutex<Kept>>,
    watch: AbortHandle,
}

struct Kept {
    /// `None` once it was taken away.
    inner: Option<(Body, Place)>,
    least: Rate,
    /// How much longer the client may be waited for.
    patience: Duration,
    /// Since when it is; `None` while it waits for the service.
    waiting: Option<Instant>,
}

impl Kept {
    /// When the client's patience is at its end, if it is the client who is waited for.
    fn deadline(&self) -> Option<Instant> {
        self.waiting.map(|since| since + self.patience)
    }

    /// The client asks for more.
    fn asked(&mut self) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.patience = self.patience.saturating_sub(waited);
    }

    /// The client has something to take.
    fn handed(&mut self, bytes: usize) {
        let Rate { grace, .. } = self.least;
        let saved = self.patience.saturating_add(self.least.time_for(bytes));
        self.patience = saved.min(grace * SAVED_GRACES_MAX);
        self.waiting = Some(Instant::now());
    }
}

impl Held {
    fn new(inner: Body, place: Place) -> Self {
        let least = place.least;
        let kept =
            Kept { inner: Some((inner, place)), least, patience: least.grace, waiting: Some(Instant::now()) };
        let kept = Arc::new(Mutex::new(kept));
        let watched = kept.clone();
        let watch = tokio::spawn(async move {
            loop {
                let due = {
                    let kept = lock(&watched);
                    // While the service is waited for, nothing is due before what is left of the patience.
                    let sooner = || Instant::now() + kept.patience.max(least.grace / 10);
                    kept.deadline().unwrap_or_else(sooner)
                };
                sleep_until(due).await;
                let mut kept = lock(&watched);
                if kept.deadline().is_some_and(|due| due <= Instant::now()) {
                    kept.inner = None;
                    metrics::counter!("answers_abandoned_total").increment(1);
                    return;
                }
            }
        });
        Self { kept, watch: watch.abort_handle() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut kept = lock(&self.kept);
        kept.asked();
        let polled = match &mut kept.inner {
            Some((inner, _)) => Pin::new(inner).poll_frame(cx).map_err(Into::into),
            None => Poll::Ready(Some(Err("the client took the answer too slowly".into()))),
        };
        if let Poll::Ready(frame) = &polled {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            kept.handed(data.map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.kept).inner.as_ref().is_some_and(|(inner, _)| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.kept).inner.as_ref().map_or_else(SizeHint::default, |(inner, _)| inner.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An answer whose pieces are sent by hand, held by the only place there is.
    fn held() -> (mpsc::UnboundedSender<Bytes>, Body, Arc<Semaphore>) {
        let (sender, mut pieces) = mpsc::unbounded_channel::<Bytes>();
        let stream = futures_util::stream::poll_fn(move |cx| {
            pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))))
        });
        let room = Arc::new(Semaphore::new(1));
        let permit = room.clone().try_acquire_owned().unwrap();
        let client = Shares::new(1).take(IpAddr::from([192, 0, 2, 1])).unwrap();
        let least = Rate { bytes: 100, grace: 10 * SECOND };
        let place = Place::new(permit, client, Shares::new(1), least);
        (sender, place.hold(Response::new(Body::new(StreamBody::new(stream)))).into_body(), room)
    }

    /// Takes `bytes` every `every`; for how long that went well, of `times`.
    async fn take(bytes: usize, every: Duration, times: u32) -> u32 {
        let (sender, mut body, room) = held();
        for time in 0..times {
            let _ = sender.send(vec![b'x'; bytes].into());
            if body.frame().await.unwrap().is_err() {
                assert_eq!(room.available_permits(), 1, "the place is given back");
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
    async fn who_takes_much_at_once_may_take_long_for_it_and_not_for_ever() {
        assert_eq!(take(1_000_000, 39 * SECOND, 20).await, 20);
        assert_eq!(take(1_000_000, 41 * SECOND, 20).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_while_the_service_is_slow() {
        let (sender, mut body, room) = held();
        for _ in 0..20 {
            let sender = sender.clone();
            tokio::spawn(async move {
                tokio::time::sleep(60 * SECOND).await;
                let _ = sender.send(Bytes::from_static(b"x"));
            });
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert_eq!(room.available_permits(), 0);
    }
}
