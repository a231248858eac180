//! Where keys come from: Better Auth's endpoint, its table, or a file.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use chassis::outbound::{
    client::Client,
    refreshed::{BYTES_MAX, Source},
};
use http::HeaderMap;
use tokio::{fs::File, io::AsyncReadExt};

use crate::better_auth::database::Database;

/// The endpoint at `url`, asked with these headers besides.
pub fn endpoint(url: String, headers: HeaderMap, client: Client) -> Source {
    Source::http_with(url, headers, client, BYTES_MAX)
}

/// The `jwks` table.
pub fn table(database: Arc<Database>) -> Source {
    Source::new("Better Auth's table of keys", move || {
        let database = Arc::clone(&database);
        async move { database.keys().await }
    })
}

/// A file with a JWK set, read again each time.
pub fn file(path: PathBuf) -> Source {
    Source::new(path.display().to_string(), move || read(path.clone()))
}

/// The bytes of such a file.
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
