//! TLS towards clients (RFC 8446; 1.2 too), where a service ends it itself: HTTP/2 or HTTP/1.1 by ALPN (RFC 7301).
//!
//! No early data is taken (RFC 8446 §8): somebody who recorded it could send it again. Sessions are resumed by tickets, whose keys
//! change by themselves and stay in the process.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{Ticketer, default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::settings;

/// The first byte of a TLS connection: a record with a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Said to who speaks plain HTTP where TLS is spoken.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain\r\n\
    content-length: 40\r\n\
    connection: close\r\n\
    \r\n\
    Plain HTTP was sent to a port for HTTPS\n";

/// How much of it is read on, within the time that a handshake may take.
const PLAIN_HTTP_BYTES_MAX: u64 = 64 * 1024;

/// Where the certificate and its key are. Both, or neither.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate and those that lead to its authority, in this order, in PEM.
    #[serde(deserialize_with = "settings::optional")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM (PKCS #8, PKCS #1 or SEC 1).
    #[serde(deserialize_with = "settings::optional")]
    pub key_file: Option<PathBuf>,
}

/// A certificate and its key, ready to be served by.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// One of them can't be read or is not what it should be, or the key is another certificate's. The key is never quoted.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let of_certificate =
            |reason: String| TlsError::Certificate(format!("{}: {reason}", certificate.display()));
        let of_key = |reason: String| TlsError::Key(format!("{}: {reason}", key.display()));
        let chain =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| of_certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(of_certificate("holds no certificate in PEM".into()));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(error.to_string()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config =
            config.map_err(|error| of_key(format!("does not go with the certificate: {error}")))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(|error| of_key(error.to_string()))?;
        Ok(Self(Arc::new(config)))
    }
}

/// Which of the two files is wrong, and why.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate's.
    #[error("{0}")]
    Certificate(String),
    /// The key's.
    #[error("{0}")]
    Key(String),
}

/// By what a listener speaks TLS, if it does. It can change at any time; connections keep what they began with.
#[derive(Clone, Default)]
pub struct TlsSlot(Arc<ArcSwapOption<ServerConfig>>);

impl TlsSlot {
    /// From now on new connections are served by that.
    pub fn set(&self, tls: Option<Tls>) {
        self.0.store(tls.map(|tls| tls.0));
    }

    /// What HTTP is spoken over. Runs in the connection's own task, for as long as a head may take at most.
    pub(super) async fn accept(&self, mut stream: TcpStream) -> io::Result<Stream> {
        let Some(config) = self.0.load_full() else { return Ok(Stream::Plain(stream)) };
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            if first[0].is_ascii_alphabetic() {
                refuse_plain_http(&mut stream).await?;
            }
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no TLS"));
        }
        Ok(Stream::Tls(Box::new(TlsAcceptor::from(config).accept(stream).await?)))
    }
}

/// Says what is wrong, and reads on for a moment, so that it is heard (RFC 9112 §9.6).
async fn refuse_plain_http(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_HTTP).await?;
    stream.shutdown().await?;
    let _ = copy(&mut stream.take(PLAIN_HTTP_BYTES_MAX), &mut sink()).await?;
    Ok(())
}

/// A connection of a client, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Sees to it that what the peer has not taken goes with the connection.
    pub fn abort(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let _ = stream.set_zero_linger();
    }
}

/// The same call to whichever it is.
macro_rules! either {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this.get_mut() {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, data))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
