//! The pooled HTTP client, its TLS, and a bounded fetch with it.
//!
//! No redirect is followed: where keys come from is configuration, not something that a server may choose.

use std::{io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use thiserror::Error;
use tokio::time::timeout;

use crate::{Body, outbound::resolver::Resolver, settings::ServiceUrl};

/// How long an idle connection stays in a pool. Less than the 5 s after which servers of Node and uvicorn close it, and
/// than the least `SERVER__IDLE_SECS` of ours, so that no request is written into a connection that is being closed.
pub const POOL_IDLE: Duration = Duration::from_secs(4);

/// The most idle connections kept to one host.
pub const POOL_IDLE_MAX_PER_HOST: usize = 256;

/// TLS 1.2 and 1.3 by the public certificate authorities, on aws-lc-rs.
///
/// The provider is named, never taken from the process: with two of them in one tree the default is a panic.
pub fn tls() -> ClientConfig {
    tls_by(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() })
}

/// The same, by these certificate authorities alone.
pub fn tls_by(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The certificate authorities of a PEM file. An error names the file.
pub fn roots(file: &Path) -> Result<RootCertStore, String> {
    let wrong = |reason: String| format!("{}: {reason}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate in PEM".into())) } else { Ok(roots) }
}

/// Whether a connection failed because the server's certificate is not valid for us.
pub fn is_distrust(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    // An `io::Error` does not name what it was made of as its source.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match inner {
        Some(inner) => is_distrust(inner),
        None => error.source().is_some_and(is_distrust),
    }
}

/// A pooled client, HTTP/1.1.
pub type Client = legacy::Client<HttpsConnector<HttpConnector<Resolver>>, Body>;

/// A client that trusts the public certificate authorities. A connection may take `connect` to stand.
pub fn client(connect: Duration) -> Client {
    resolving(Resolver::default(), tls(), connect)
}

/// The certificates that vouch for a server: the public ones, or those of a PEM file instead.
#[derive(Clone, Debug, Default)]
pub struct Trust(Option<RootCertStore>);

impl Trust {
    /// Reads `file`, where there is one.
    ///
    /// # Errors
    /// The file can't be read, or holds no certificate. The text names the file.
    pub fn read(file: Option<&Path>) -> Result<Self, String> {
        file.map(roots).transpose().map(Self)
    }
}

/// The same, for a server that `trust` vouches for.
pub fn trusting(trust: &Trust, connect: Duration) -> Client {
    resolving(Resolver::default(), trust.0.clone().map_or_else(tls, tls_by), connect)
}

/// The same as [`client()`], for one service: its name is looked up from now on, before the first request needs it.
pub fn client_of(url: &ServiceUrl, connect: Duration) -> Client {
    let resolver = Resolver::default();
    if let Some(url::Host::Domain(host)) = url.url().host() {
        resolver.keep(host);
    }
    resolving(resolver, tls(), connect)
}

fn resolving(resolver: Resolver, tls: ClientConfig, connect: Duration) -> Client {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.set_connect_timeout(Some(connect));
    http.set_nodelay(true);
    http.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_MAX_PER_HOST)
        .build(connector)
}

/// Why a fetch failed. The text is for the log.
#[derive(Debug, Error)]
pub enum FetchError {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection failed, or broke.
    #[error("{0}")]
    Transport(String),
    /// Anything but 200.
    #[error("answered {0}")]
    Status(StatusCode),
    /// 429; the headers may say how long to wait.
    #[error("answered 429 Too Many Requests")]
    TooMany(Box<HeaderMap>),
    /// A larger body than we read.
    #[error("the answer is over {0} bytes")]
    TooLarge(usize),
}

/// Gets `url`: the body of a 200, of at most `bytes_max`, within `wait`.
pub async fn fetch(
    client: &Client,
    url: &str,
    wait: Duration,
    bytes_max: usize,
) -> Result<Bytes, FetchError> {
    fetch_with(client, Request::get(url), wait, bytes_max).await
}

/// The same, by a request with headers of its own.
pub async fn fetch_with(
    client: &Client,
    request: http::request::Builder,
    wait: Duration,
    bytes_max: usize,
) -> Result<Bytes, FetchError> {
    timeout(wait, read(client, request, bytes_max)).await.map_err(|_| FetchError::Timeout(wait))?
}

/// The same; the caller bounds the time.
pub(crate) async fn read(
    client: &Client,
    request: http::request::Builder,
    bytes_max: usize,
) -> Result<Bytes, FetchError> {
    let request = request
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("usher/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())
        .map_err(|error| FetchError::Transport(error.to_string()))?;
    let response = client.request(request).await.map_err(|error| FetchError::Transport(chain(&error)))?;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        return Err(FetchError::TooMany(Box::new(response.into_parts().0.headers)));
    }
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            FetchError::TooLarge(bytes_max)
        } else {
            FetchError::Transport(chain(&*error))
        }
    })?;
    Ok(body.to_bytes())
}

/// An error with its causes, for the log.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn file(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
    }

    /// The port of a server whose certificate is of an authority that the public doesn't know.
    fn server() -> u16 {
        let certificates = CertificateDer::pem_file_iter(file("localhost.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("localhost.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.map(Result::unwrap).collect(), key)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(config.clone()).unwrap();
                let mut stream = StreamOwned::new(connection, stream.unwrap());
                // A client that doesn't trust it breaks off here.
                if stream.read(&mut [0; 4096]).is_ok() {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                }
            }
        });
        port
    }

    async fn ask(client: &Client, url: &str) -> Result<StatusCode, bool> {
        let request = Request::get(url).body(Body::empty()).unwrap();
        client.request(request).await.map(|answer| answer.status()).map_err(|error| is_distrust(&error))
    }

    #[tokio::test]
    async fn an_authority_of_ones_own_vouches_where_it_is_named_and_nowhere_else() {
        let port = server();
        let (localhost, address) =
            (format!("https://localhost:{port}/"), format!("https://127.0.0.1:{port}/"));
        let ours = trusting(&Trust::read(Some(&file("authority.pem"))).unwrap(), PATIENCE);
        assert_eq!(ask(&ours, &localhost).await, Ok(StatusCode::OK));
        assert_eq!(ask(&ours, &address).await, Err(true), "another name");
        for public in [client(PATIENCE), trusting(&Trust::default(), PATIENCE)] {
            assert_eq!(ask(&public, &localhost).await, Err(true));
        }
        let error = fetch(&client(PATIENCE), &localhost, PATIENCE, 100).await.unwrap_err().to_string();
        assert!(error.contains("invalid peer certificate"), "{error}");
        assert_eq!(ask(&client(PATIENCE), "http://127.0.0.1:1/").await, Err(false), "nobody there");
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        for bad in ["localhost.key", "missing.pem"] {
            let error = Trust::read(Some(&file(bad))).err().unwrap();
            assert!(error.contains(bad), "{error}");
        }
    }
}
