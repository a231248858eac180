//! A balancer in front of several of one service: one address, whoever stands behind it at the moment.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Request};
use chassis::{
    Body,
    outbound::client::{self, Client},
};
use http::{HeaderValue, Response, StatusCode, header};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::world::PATIENCE;

/// What takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Each request, as behind an HTTP proxy.
    Requests,
    /// Each connection, as behind a Service of Kubernetes.
    Connections,
}

/// The balancer. It lives as long as the test's runtime.
pub struct Balancer {
    pub address: SocketAddr,
    places: Places,
}

impl Balancer {
    pub async fn start(turns: Turns) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let balancer = Self { address: listener.local_addr().unwrap(), places: Places::default() };
        let places = balancer.places.clone();
        match turns {
            Turns::Requests => {
                let client = client::client(PATIENCE);
                let router = Router::new()
                    .fallback(async move |request: Request| pass(&client, places.next(), request).await);
                tokio::spawn(axum::serve(listener, router).into_future());
            }
            Turns::Connections => {
                tokio::spawn(async move {
                    while let Ok((mut near, _)) = listener.accept().await {
                        let place = places.next();
                        tokio::spawn(async move {
                            let Ok(mut far) = TcpStream::connect(place.unwrap()).await else { return };
                            let _ = copy_bidirectional(&mut near, &mut far).await;
                        });
                    }
                });
            }
        }
        balancer
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it is given its turns.
    pub fn add(&self, place: SocketAddr) {
        self.places.known.lock().unwrap().push(place);
    }

    /// From now on it is given none; what it is at goes on.
    pub fn remove(&self, place: SocketAddr) {
        self.places.known.lock().unwrap().retain(|known| *known != place);
    }
}

#[derive(Clone, Default)]
struct Places {
    known: Arc<Mutex<Vec<SocketAddr>>>,
    turn: Arc<AtomicUsize>,
}

impl Places {
    fn next(&self) -> Option<SocketAddr> {
        let known = self.known.lock().unwrap();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (!known.is_empty()).then(|| known[turn % known.len()])
    }
}

/// Each over a connection of its own, so that none is stale.
async fn pass(client: &Client, place: Option<SocketAddr>, request: Request) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    head.uri = format!("http://{}{target}", place.unwrap()).parse().unwrap();
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    match client.request(Request::from_parts(head, body.into())).await {
        Ok(answer) => {
            let mut answer = answer.map(Body::new);
            answer.headers_mut().remove(header::CONNECTION);
            answer
        }
        Err(error) => Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(Body::from(client::chain(&error)))
            .unwrap(),
    }
}
