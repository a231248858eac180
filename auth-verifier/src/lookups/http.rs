//! Sessions looked up by asking Better Auth, where its tables are out of reach.

use std::time::Duration;

use chassis::client::{self, Client};
use http::{Request, header};
use serde::Deserialize;
use time::OffsetDateTime;
use tracing::warn;

use crate::{
    Unavailable,
    person::{Person, User},
    secrets::Secrets,
    session_token::{SessionToken, SigningKey},
    settings::Settings,
};

/// How long a connection to Better Auth may take to stand.
const CONNECT: Duration = Duration::from_secs(1);

/// The largest answer that is read.
const BYTES_MAX: usize = 256 * 1024;

/// Asks `/get-session`.
pub(super) struct Http {
    client: Client,
    url: String,
    cookie: String,
    key: SigningKey,
    wait: Duration,
}

#[derive(Deserialize)]
struct Answer {
    session: Session,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    token: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

impl Http {
    /// Builds it from settings that were checked.
    pub(super) fn new(settings: &Settings, secrets: &Secrets) -> Self {
        // The cache in a cookie is not asked, and the session's life not prolonged: a look-up changes nothing.
        let url = settings.get_session_url().expect("the settings were checked");
        let names = settings.cookie_names().pop().expect("there is always one");
        Self {
            client: client::client(CONNECT),
            url: format!("{url}?disableCookieCache=true&disableRefresh=true"),
            cookie: names.token,
            key: SigningKey::new(secrets.current()),
            wait: settings.session.timeout,
        }
    }

    /// The session of `token`, if Better Auth says that it is alive. Bans are judged at the time `now`, in seconds since 1970.
    pub(super) async fn find(&self, token: &SessionToken, now: u64) -> Result<Option<Person>, Unavailable> {
        let cookie = format!("{}={}", self.cookie, self.key.close(token));
        let request = Request::get(&self.url).header(header::COOKIE, cookie);
        let answer =
            client::fetch_with(&self.client, request, self.wait, BYTES_MAX).await.map_err(|error| {
                warn!(%error, url = self.url, "look a session up");
                Unavailable::Sessions
            })?;
        let answer: Option<Answer> = serde_json::from_slice(&answer).map_err(|_| {
            warn!(url = self.url, "look a session up: the answer is none of Better Auth's");
            Unavailable::Sessions
        })?;
        // An answer about another session is an answer to somebody else.
        let Some(Answer { session, user }) = answer.filter(|answer| answer.session.token == token.expose())
        else {
            return Ok(None);
        };
        let expires = u64::try_from(session.expires_at.unix_timestamp()).unwrap_or(0);
        let person = user.person(expires, now);
        if person.is_none() {
            warn!("a session's user has an id that can't stand in a header");
        }
        Ok(person)
    }
}
