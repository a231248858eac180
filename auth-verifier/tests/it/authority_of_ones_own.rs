//! A Better Auth whose certificate is of an authority that the public doesn't know.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use chassis::settings;
use http::HeaderMap;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;

use auth_verifier::{settings::Settings, verdict::Verdict};

use crate::{
    doctor::run,
    issuer::Signing,
    world::{SECRET, claims_with},
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../chassis/tests/certificates").join(name)
}

/// Answers every question with these keys; says where.
fn server(keys: String) -> String {
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
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            // Who doesn't trust it breaks off here.
            if stream.read(&mut [0; 4096]).is_ok() {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", keys.len());
                let _ = stream.write_all((head + &keys).as_bytes());
            }
        }
    });
    url
}

#[tokio::test]
async fn keys_come_from_whom_the_file_vouches_for_and_doctor_names_the_setting() {
    let key = Signing::new("k1", "EdDSA");
    let url = server(json!({"keys": [key.jwk()], "ok": true}).to_string());
    let authority = file("authority.pem").display().to_string();
    let ours = ("AUTH_VERIFIER_BETTER_AUTH__CA_FILE", &*authority);
    let base = [("BETTER_AUTH_URL", &*url), ("BETTER_AUTH_SECRET", SECRET)];
    let patient = ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "20000");

    let token = key.token(&claims_with(json!({"iss": url, "aud": url})));
    let headers: HeaderMap =
        [(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())].into_iter().collect();
    for (further, known) in [(&[patient][..], false), (&[patient, ours], true)] {
        let variables = base.iter().chain(further).copied().collect();
        let verifier = settings::load::<Settings>(&variables).unwrap().verifier();
        let verdict = verifier.verify(&headers).await;
        assert_eq!(matches!(verdict, Verdict::Known(_)), known, "{verdict:?}");
    }

    let told = run("doctor", &base, "").await;
    told.bad(&["better-auth", "invalid peer certificate", "Set AUTH_VERIFIER_BETTER_AUTH__CA_FILE"]);
    told.bad(&["keys", "Set AUTH_VERIFIER_BETTER_AUTH__CA_FILE"]);
    let told = run("doctor", &[&base[..], &[ours]].concat(), "").await;
    told.says(&["ok", "is Better Auth"]);
    told.says(&["ok", "1 key, for EdDSA"]);
}
