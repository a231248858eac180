//! TLS that ends in the gateway, as a client meets it; and TLS to auth-verifier.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rustix::process::Signal;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    life::{Gateway, PATIENCE, answer, sent},
    world::{Peer, World, knows_u1},
};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// One of the certificates that tests share: `localhost` of an authority of its own, `renewed` of its own.
pub fn shared(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../chassis/tests/certificates").join(name)
}

/// A certificate and its key, where the gateway reads them.
struct Files(tempfile::TempDir);

impl Files {
    fn new(name: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.hold(name);
        files
    }

    fn hold(&self, name: &str) {
        fs::copy(shared(&format!("{name}.key")), self.0.path().join("key")).unwrap();
        fs::copy(shared(&format!("{name}.pem")), self.0.path().join("certificate")).unwrap();
    }

    fn start(&self, variables: &[(&str, &str)]) -> Gateway {
        let (certificate, key) = (self.0.path().join("certificate"), self.0.path().join("key"));
        let files = [
            ("GATEWAY_TLS__CERTIFICATE_FILE", certificate.to_str().unwrap()),
            ("GATEWAY_TLS__KEY_FILE", key.to_str().unwrap()),
        ];
        Gateway::start(&[&files, variables].concat())
    }
}

/// A connection by TLS to whoever shows a certificate that `authority` vouches for.
fn tls(gateway: &Gateway, authority: &str, alpn: &[&str]) -> Result<Tls, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(shared(authority)).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut tls = StreamOwned::new(connection, sent(gateway.traffic, ""));
    tls.conn.complete_io(&mut tls.sock)?;
    Ok(tls)
}

fn get(tls: &mut Tls, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).expect("it ends with a close_notify");
    answer
}

#[test]
fn who_asks_by_tls_is_answered_and_services_know_it() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", service.local_addr().unwrap());
    let seen = thread::spawn(move || {
        let (mut stream, _) = service.accept().unwrap();
        let mut head = vec![0; 4096];
        let bytes = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
        String::from_utf8_lossy(&head[..bytes]).to_lowercase()
    });
    let routes = Files::new("localhost");
    let file = routes.0.path().join("gateway.toml");
    fs::write(&file, "[[routes]]\npath = '/**'\nupstream = 'task-service'\naccess = 'public'\n").unwrap();
    let gateway =
        routes.start(&[("GATEWAY_CONFIG", file.to_str().unwrap()), ("GATEWAY_TASK_SERVICE_URL", &url)]);
    let mut connection = tls(&gateway, "authority.pem", &[]).unwrap();
    let answer = get(&mut connection, "/x");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
    assert!(seen.join().unwrap().contains("x-forwarded-proto: https\r\n"));
}

#[test]
fn the_client_chooses_the_protocol() {
    let gateway = Files::new("localhost").start(&[]);
    for (offered, want) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let connection = tls(&gateway, "authority.pem", offered).unwrap();
        assert_eq!(connection.conn.alpn_protocol(), want.map(str::as_bytes), "{offered:?}");
    }
    let mut h2 = tls(&gateway, "authority.pem", &["h2"]).unwrap();
    h2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").unwrap();
    let mut frame = [0; 9];
    h2.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
}

#[test]
fn plain_http_hears_that_it_is_wrong_here_and_what_is_neither_is_closed() {
    let gateway = Files::new("localhost").start(&[]);
    let said = answer(sent(gateway.traffic, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n"));
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400"), "{said}");
    assert_eq!(body, "Plain HTTP was sent to a port for HTTPS\n");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{said}");
    assert_eq!(sent(gateway.traffic, "\0\0\0").read(&mut [0]).unwrap_or(0), 0);
    let mut connection = tls(&gateway, "authority.pem", &[]).unwrap();
    assert!(get(&mut connection, "/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_renewed_certificate_is_taken_without_a_new_start_and_a_wrong_one_is_not() {
    let files = Files::new("localhost");
    let mut gateway = files.start(&[]);
    // It stays with the certificate that it began with.
    let mut before = tls(&gateway, "authority.pem", &[]).unwrap();
    fs::copy(shared("renewed.pem"), files.0.path().join("certificate")).unwrap();
    gateway.tell(Signal::HUP);
    let said = gateway.says("those before stay in force");
    let error = said["error"].as_str().unwrap();
    assert!(error.starts_with("GATEWAY_TLS__KEY_FILE") && error.contains("does not go with"), "{error}");
    assert!(tls(&gateway, "authority.pem", &[]).is_ok());
    files.hold("renewed");
    gateway.says("the settings are those of the files");
    assert!(tls(&gateway, "renewed.pem", &[]).is_ok());
    assert!(tls(&gateway, "authority.pem", &[]).is_err());
    assert!(get(&mut before, "/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn what_was_tls_stays_tls() {
    let files = Files::new("localhost");
    let at = |name: &str| files.0.path().join(name).display().to_string();
    let (settings, tls_of) = (
        files.0.path().join("gateway.toml"),
        format!("[tls]\ncertificate_file = '{}'\nkey_file = '{}'\n", at("certificate"), at("key")),
    );
    let routes = "[[routes]]\npath = '/health'\nanswer = 'health'\n";
    fs::write(&settings, format!("{tls_of}{routes}")).unwrap();
    let mut gateway = Gateway::start(&[("GATEWAY_CONFIG", settings.to_str().unwrap())]);
    for (text, why) in [(routes, "[tls]: can't change"), ("", "a file is empty")] {
        fs::write(&settings, text).unwrap();
        gateway.tell(Signal::HUP);
        while !gateway.says("those before stay in force")["error"].as_str().unwrap().contains(why) {}
        let mut connection = tls(&gateway, "authority.pem", &[]).unwrap();
        assert!(get(&mut connection, "/health").starts_with("HTTP/1.1 200"), "{why}");
    }
}

#[test]
fn who_never_finishes_a_handshake_is_closed() {
    let gateway = Files::new("localhost").start(&[("GATEWAY_SERVER__HEAD_SECS", "1")]);
    for begun in ["", "\x16", "\x16\x03\x01\x02\x00\x01\x00\x01\u{7f}"] {
        let mut silent = sent(gateway.traffic, begun);
        silent.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0, "{begun:?}");
    }
}

#[test]
fn a_drain_ends_connections_in_order() {
    let mut gateway = Files::new("localhost").start(&[]);
    let mut kept = tls(&gateway, "authority.pem", &[]).unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut head = [0; 12];
    kept.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    gateway.tell(Signal::TERM);
    gateway.says("not ready any more");
    kept.read_to_end(&mut Vec::new()).expect("a close_notify, not a reset");
    assert_eq!(gateway.end().0.code(), Some(0));
}

/// Ends TLS before `inside`, by the shared certificate; its URL.
pub async fn tls_before(inside: &Peer) -> String {
    let certificates = CertificateDer::pem_file_iter(shared("localhost.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            certificates.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(shared("localhost.key")).unwrap(),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, inside) = (listener.local_addr().unwrap().port(), inside.address);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who doesn't trust it breaks off here.
                if let Ok(mut outside) = acceptor.accept(stream).await {
                    let mut inside = tokio::net::TcpStream::connect(inside).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn auth_verifier_is_asked_over_tls_if_its_certificate_is_vouched_for() {
    let verifier = Peer::new(knows_u1).await;
    let url = tls_before(&verifier).await;
    let authority = shared("authority.pem");
    for (authority, want) in [(authority.to_str().unwrap(), 200), ("", 503)] {
        let world =
            World::with(&[("GATEWAY_AUTH_VERIFIER_URL", &url), ("GATEWAY_VERIFIER__CA_FILE", authority)])
                .await;
        assert_eq!(world.send(crate::world::get("/api/tasks")).await.status, want);
        assert_eq!(world.service.seen().len(), usize::from(want == 200));
        assert_eq!(verifier.last().one("host"), url.strip_prefix("https://"));
    }
}
