//! A peer for the gateway: the thinnest forwarder of hyper and hyper-util, as people usually write it. It checks nothing,
//! bounds nothing and logs nothing.

use std::{convert::Infallible, io, net::SocketAddr};

use http::{Request, Response, StatusCode, Uri, uri::PathAndQuery};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;

type Upstream = Client<HttpConnector, Incoming>;
type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// Forwards every request to `upstream`, until the process ends.
pub async fn forward(listen: SocketAddr, upstream: SocketAddr) -> io::Result<()> {
    let client: Upstream = Client::builder(TokioExecutor::new()).build_http();
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let client = client.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(client.clone(), upstream, request));
            let builder = auto::Builder::new(TokioExecutor::new());
            // A connection that breaks is its client's affair.
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(
    client: Upstream,
    upstream: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let answer = match format!("http://{upstream}{path}").parse::<Uri>() {
        Ok(uri) => {
            *request.uri_mut() = uri;
            client.request(request).await.map_err(|_| StatusCode::BAD_GATEWAY)
        }
        Err(_) => Err(StatusCode::BAD_REQUEST),
    };
    Ok(match answer {
        Ok(answer) => answer.map(BodyExt::boxed),
        Err(status) => {
            let body = Empty::new().map_err(|never: Infallible| match never {});
            let mut answer = Response::new(body.boxed());
            *answer.status_mut() = status;
            answer
        }
    })
}
