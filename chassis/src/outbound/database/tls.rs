//! TLS to the database. Its certificate is verified like that of any other server, by name and authority, also for
//! `sslmode=require`, for which libpq would accept any certificate.

use std::path::Path;

use rustls::RootCertStore;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Names;
use crate::{outbound::client, settings::SettingsError};

/// The setting to name if the file holds no certificates.
const CA_FILE: &str = "CA_FILE";

/// The ALPN protocol of a connection that begins with TLS (`sslnegotiation=direct`, PostgreSQL 17).
const ALPN: &[u8] = b"postgresql";

/// TLS by the public certificate authorities, or by those of `ca_file` alone.
pub(super) fn connector(
    ca_file: Option<&Path>,
    names: &Names,
    negotiation: SslNegotiation,
) -> Result<MakeRustlsConnect, SettingsError> {
    let mut config = match ca_file {
        None => client::tls(),
        Some(file) => client::tls_by(roots(file, names)?),
    };
    if negotiation == SslNegotiation::Direct {
        config.alpn_protocols = vec![ALPN.to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

fn roots(file: &Path, names: &Names) -> Result<RootCertStore, SettingsError> {
    client::roots(file).map_err(|reason| names.wrong(CA_FILE, reason))
}

/// Whether a connection failed because the server's certificate is not valid for us.
pub fn is_distrust(error: &tokio_postgres::Error) -> bool {
    client::is_distrust(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::database::dsn::tests::NAMES;

    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBeTCCAR+gAwIBAgIUSaWbS31KD2vU9QkVshKddjdir9IwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHVGVzdCBDQTAeFw0yNjExMjMxOTQzNTJaFw0zNjExMjAxOTQz
NTJaMBIxEDAOBgNVBAMMB1Rlc3QgQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARs5fG1LSW9dQ4TUCAX0heZOS2oxn90daTRXS///AU8xyXzg2w2S43dVgPO8HCT
o/hFMX2ItCCJ3f58s2LsJs19o1MwUTAdBgNVHQ4EFgQUPn9SU8YfaO+ZcioxJTda
bweM4J0wHwYDVR0jBBgwFoAUPn9SU8YfaO+ZcioxJTdabweM4J0wDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA49a13mBOLXufMUvWQQ7HFxPEMuM9
ig+hPcvKQmCtF4QCIBv7YZcuvbeZ2hX69Ew6xR0fBOCpFwKIVGGKAvZFB6em
-----END CERTIFICATE-----
";

    fn read(text: &str) -> Result<RootCertStore, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, text).unwrap();
        roots(&file, &NAMES).map_err(|error| error.to_string())
    }

    #[test]
    fn every_certificate_of_a_file_may_vouch() {
        assert_eq!(read(CERTIFICATE).unwrap().len(), 1);
        assert_eq!(read(&format!("# two\n{CERTIFICATE}\n{CERTIFICATE}")).unwrap().len(), 2);
    }

    #[test]
    fn a_file_without_a_certificate_is_a_mistake() {
        let broken = CERTIFICATE.replace("MII", "MIJ");
        for text in ["", "not PEM", &broken, "-----BEGIN CERTIFICATE-----\n"] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("SHELF_DATABASE__CA_FILE: "), "{error}");
        }
        assert!(roots(Path::new("/nowhere/ca.pem"), &NAMES).is_err());
    }
}
