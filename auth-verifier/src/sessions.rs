//! Is this session alive? Asked where sessions are kept, and remembered for a few seconds.

pub mod database;
mod http;

use std::time::Duration;

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand,
};
use chassis::{
    identity::{Email, UserId},
    settings::SettingsError,
};
use moka::future::Cache;
use tokio::{sync::Semaphore, time::timeout};

use self::{database::Database, http::Http};
use crate::{
    Unavailable,
    secrets::Secrets,
    session::SessionToken,
    settings::{Lookup, Settings},
};

/// The most look-ups under way at one time; whoever finds no room waits for one of them, but no longer than this.
const LOOKUPS_MAX: usize = 64;
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// A session that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Whose it is.
    pub user: UserId,
    /// The e-mail address of the account.
    pub email: Option<Email>,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// Whether the account is banned (admin plugin).
    pub banned: bool,
}

/// Where sessions are looked up.
pub struct Sessions {
    source: Source,
    remembered: Cache<Hash, Option<Live>>,
    hash: hmac::Key,
    room: Semaphore,
}

enum Source {
    Database(Database),
    Http(Box<Http>),
}

/// What is remembered is found by a keyed hash: whoever reads our memory doesn't read live credentials.
type Hash = [u8; 32];

impl Sessions {
    /// `None` where sessions are not accepted.
    pub fn new(settings: &Settings, secrets: &Secrets) -> Result<Option<Self>, SettingsError> {
        let source = match settings.lookup() {
            Lookup::Auto | Lookup::Off => return Ok(None),
            Lookup::Database => Source::Database(Database::new(&settings.session)?),
            Lookup::Http => Source::Http(Box::new(Http::new(settings, secrets))),
        };
        let mut key = [0; 32];
        rand::fill(&mut key).expect("the system has random numbers");
        let reuse = settings.session.reuse;
        Ok(Some(Self {
            source,
            remembered: Cache::builder()
                .max_capacity(if reuse.is_zero() { 0 } else { settings.session.remembered_max })
                .time_to_live(reuse.max(Duration::from_millis(1)))
                .build(),
            hash: hmac::Key::new(HMAC_SHA256, &key),
            room: Semaphore::new(LOOKUPS_MAX),
        }))
    }

    /// The session of `token`, if it is alive at the time `now`, in seconds since 1970. Many who ask for one session
    /// at one time cause one look-up.
    pub async fn find(&self, token: &SessionToken, now: u64) -> Result<Option<Live>, Unavailable> {
        let tag = hmac::sign(&self.hash, token.expose().as_bytes());
        let hash: Hash = tag.as_ref().try_into().expect("SHA-256 makes 32 bytes");
        let found = self
            .remembered
            .try_get_with(hash, self.look_up(token))
            .await
            .map_err(|error| (*error).clone())?;
        Ok(found.filter(|session| session.expires > now))
    }

    async fn look_up(&self, token: &SessionToken) -> Result<Option<Live>, Unavailable> {
        let Ok(Ok(_place)) = timeout(ROOM_WAIT, self.room.acquire()).await else {
            metrics::counter!("session_lookups_total", "result" => "busy").increment(1);
            return Err(Unavailable::Sessions);
        };
        let found = match &self.source {
            Source::Database(database) => database.find(token).await,
            Source::Http(http) => http.find(token).await,
        };
        let result = match &found {
            Ok(Some(_)) => "alive",
            Ok(None) => "none",
            Err(_) => "error",
        };
        metrics::counter!("session_lookups_total", "result" => result).increment(1);
        found
    }
}
