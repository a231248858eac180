//! A peer for the gateway: how little hyper costs that knows who is calling. It keeps verdicts by their token and passes
//! their user on; it has one thread, and bounds, logs, checks and retries nothing.

use std::{
    cell::RefCell,
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Empty};
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    client::conn::http1::{self as client, SendRequest},
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// How long a verdict is kept: as long as auth-verifier allows for one by a shared secret.
const KEPT: Duration = Duration::from_secs(5);

const USER: HeaderName = HeaderName::from_static("x-user-id");

type Sent = Either<Incoming, Empty<Bytes>>;
type Sender = SendRequest<Sent>;
type Idle = Rc<RefCell<Vec<Sender>>>;

/// Forwards every request of a known caller to `upstream`, until the process ends.
pub async fn forward(listen: SocketAddr, upstream: SocketAddr, verifier: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let floor = Rc::new(Floor {
        upstream: Endpoint { address: upstream, idle: Idle::default() },
        verifier: Endpoint { address: verifier, idle: Idle::default() },
        verdicts: RefCell::default(),
    });
    tokio::task::LocalSet::new()
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let floor = floor.clone();
                tokio::task::spawn_local(async move {
                    let service = service_fn(move |request| {
                        let floor = floor.clone();
                        async move { Ok::<_, Infallible>(floor.pass(request).await.unwrap_or_else(refusal)) }
                    });
                    // A connection that breaks is its client's affair.
                    let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        })
        .await
}

struct Floor {
    upstream: Endpoint,
    verifier: Endpoint,
    verdicts: RefCell<HashMap<HeaderValue, (HeaderValue, Instant)>>,
}

impl Floor {
    async fn pass(&self, mut request: Request<Incoming>) -> Result<Response<Answer>, StatusCode> {
        let headers = request.headers_mut();
        let token = headers.remove(header::AUTHORIZATION).ok_or(StatusCode::UNAUTHORIZED)?;
        headers.remove(header::CONNECTION);
        let known = self.verdicts.borrow().get(&token).filter(|(_, until)| *until > Instant::now()).cloned();
        let user = match known {
            Some((user, _)) => user,
            None => self.ask(token).await?,
        };
        request.headers_mut().insert(USER, user);
        let mut answer = self.upstream.send(request.map(Either::Left)).await?;
        let origin = HeaderValue::from_static("http://localhost:3000");
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        Ok(answer)
    }

    async fn ask(&self, token: HeaderValue) -> Result<HeaderValue, StatusCode> {
        let question = Request::get("/verify")
            .header(header::HOST, "verifier")
            .header(header::AUTHORIZATION, &token)
            .body(Either::Right(Empty::new()))
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        let verdict = self.verifier.send(question).await?;
        let user = verdict.headers().get(USER).cloned().ok_or(StatusCode::UNAUTHORIZED)?;
        self.verdicts.borrow_mut().insert(token, (user.clone(), Instant::now() + KEPT));
        Ok(user)
    }
}

struct Endpoint {
    address: SocketAddr,
    idle: Idle,
}

impl Endpoint {
    async fn send(&self, request: Request<Sent>) -> Result<Response<Answer>, StatusCode> {
        let mut sender = self.sender().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        let answer = sender.send_request(request).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        let kept = Some((sender, self.idle.clone()));
        Ok(answer.map(|body| Answer { body: Some(body), kept }))
    }

    async fn sender(&self) -> io::Result<Sender> {
        while let Some(mut sender) = self.pop() {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    fn pop(&self) -> Option<Sender> {
        self.idle.borrow_mut().pop()
    }
}

/// An answer's body, which gives its connection back at its end.
struct Answer {
    body: Option<Incoming>,
    kept: Option<(Sender, Idle)>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some((sender, idle)) = self.kept.take() {
            idle.borrow_mut().push(sender);
        }
    }
}

fn refusal(status: StatusCode) -> Response<Answer> {
    let mut answer = Response::new(Answer { body: None, kept: None });
    *answer.status_mut() = status;
    answer
}
