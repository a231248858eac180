//! The places that keys are read from: an endpoint, Better Auth's table, or a file.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use chassis::outbound::{
    client::{self, Trust},
    refreshed::{BYTES_MAX, Source},
};
use http::HeaderMap;
use tokio::{fs::File, io::AsyncReadExt};

use crate::better_auth::database::Database;

/// How long a connection to an endpoint may take to stand.
const CONNECT: Duration = Duration::from_secs(1);

/// Where an issuer's keys are read.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    /// An endpoint, asked with headers of its own.
    Endpoint {
        /// Its URL.
        url: String,
        /// What else it is asked with.
        headers: HeaderMap,
        /// Who vouches for it.
        trust: Trust,
    },
    /// Better Auth's table.
    Table,
    /// A file with a JWK set, read again at each fetch.
    File(PathBuf),
}

impl KeySource {
    /// Opens it. `database` is Better Auth's, where anything is read of it; without one the table can't be fetched.
    pub(crate) fn open(&self, database: Option<&Arc<Database>>) -> Source {
        match self {
            Self::Endpoint { url, headers, trust } => {
                Source::http_with(url.clone(), headers.clone(), client::trusting(trust, CONNECT), BYTES_MAX)
            }
            Self::Table => {
                let database = database.cloned();
                Source::new("Better Auth's table of keys", move || {
                    let database = database.clone();
                    async move { database.ok_or("AUTH_VERIFIER_DATABASE__URL is not set")?.keys().await }
                })
            }
            Self::File(path) => {
                let path = path.clone();
                Source::new(path.display().to_string(), move || read(path.clone()))
            }
        }
    }
}

/// Reads a file of keys, as far as [`BYTES_MAX`].
pub(crate) async fn read(path: PathBuf) -> Result<Bytes, String> {
    let file = File::open(path).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let bound = u64::try_from(BYTES_MAX).expect("a length fits") + 1;
    file.take(bound).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    if bytes.len() > BYTES_MAX {
        return Err(format!("is over {BYTES_MAX} bytes"));
    }
    Ok(bytes.into())
}
