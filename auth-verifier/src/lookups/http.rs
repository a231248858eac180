//! Sessions looked up by asking Better Auth, where its tables are out of reach.

use std::{net::IpAddr, time::Duration};

use chassis::{
    client::{self, Client, FetchError},
    json,
};
use http::{HeaderName, Request, header};
use serde::Deserialize;
use time::OffsetDateTime;
use tracing::{debug, warn};

use super::pauses::{CURE, Pauses};
use crate::{
    Unavailable,
    cookies::CookieNames,
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
    names: Vec<CookieNames>,
    key: SigningKey,
    bound: Duration,
    /// What tells Better Auth whose request it is about, so that its rate limit counts clients and not us.
    address_header: Option<HeaderName>,
    pauses: Pauses,
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
        Self {
            client: client::client(CONNECT),
            url: format!("{url}?disableCookieCache=true&disableRefresh=true"),
            names: settings.cookie_names(),
            key: SigningKey::new(secrets.current()),
            bound: settings.session.timeout + settings.session.overtime,
            address_header: settings.session.client_address_header.clone(),
            pauses: Pauses::new(),
        }
    }

    /// The session's cookie, under every name that Better Auth may look for it by: under another one it would see none,
    /// and say that there is no session.
    fn cookie(&self, token: &SessionToken) -> String {
        let value = self.key.close(token);
        let cookies: Vec<_> = self.names.iter().map(|names| format!("{}={value}", names.token)).collect();
        cookies.join("; ")
    }

    /// The session of `token`, if Better Auth says that it is alive. Bans are judged at the time `now`, in seconds since 1970.
    /// `client` is where the request comes from that it is about.
    pub(super) async fn find(
        &self,
        token: &SessionToken,
        now: u64,
        client: Option<IpAddr>,
    ) -> Result<Option<Person>, Unavailable> {
        let client = client.filter(|_| self.address_header.is_some());
        if let Some(left) = self.pauses.left(client) {
            return Err(limited(left));
        }
        let mut request = Request::get(&self.url).header(header::COOKIE, self.cookie(token));
        if let Some((name, address)) = self.address_header.as_ref().zip(client) {
            request = request.header(name, address.to_string());
        }
        let answer = match client::fetch_with(&self.client, request, self.bound, BYTES_MAX).await {
            Ok(answer) => answer,
            Err(FetchError::TooMany(headers)) => {
                let (pause, tell) = self.pauses.begin(client, &headers);
                if tell {
                    warn!(url = self.url, pause_secs = pause.as_secs(), "look a session up: {CURE}");
                } else {
                    debug!(url = self.url, pause_secs = pause.as_secs(), "look a session up: too many");
                }
                return Err(limited(pause));
            }
            Err(error) => {
                warn!(%error, url = self.url, "look a session up");
                return Err(Unavailable::Sessions);
            }
        };
        let answer: Option<Answer> = json::object_or_null(&answer).ok_or_else(|| {
            warn!(url = self.url, "look a session up: the answer is none of Better Auth's");
            Unavailable::Sessions
        })?;
        let Some(Answer { session, user }) = answer else { return Ok(None) };
        // An answer about another session is an answer to somebody else, and says nothing of this one.
        if session.token != token.expose() {
            warn!(
                url = self.url,
                "look a session up: the answer is about another session; does a cache stand between?"
            );
            return Err(Unavailable::Sessions);
        }
        let expires = u64::try_from(session.expires_at.unix_timestamp()).unwrap_or(0);
        let person = user.person(expires, now);
        if person.is_none() {
            warn!("a session's user has an id that can't stand in a header");
        }
        Ok(person)
    }
}

fn limited(left: Duration) -> Unavailable {
    Unavailable::Limited(left.as_millis().div_ceil(1000).try_into().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn better_auth_finds_the_cookie_by_whichever_name_it_may_look_for() {
        let token = SessionToken::bare("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv").unwrap();
        let secret = ("BETTER_AUTH_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn");
        for (further, want) in [
            (vec![("BETTER_AUTH_URL", "http://a.test")], vec!["better-auth.session_token"]),
            (vec![("BETTER_AUTH_URL", "https://a.test")], vec!["__Secure-better-auth.session_token"]),
            (
                vec![
                    ("AUTH_VERIFIER_SESSION__LOOKUP", "http"),
                    ("AUTH_VERIFIER_SESSION__URL", "http://frontend:3000/api/auth"),
                ],
                vec!["__Secure-better-auth.session_token", "better-auth.session_token"],
            ),
        ] {
            let settings: Settings =
                chassis::settings::load(&further.into_iter().chain([secret]).collect()).unwrap();
            let http = Http::new(&settings, &settings.secrets().unwrap().unwrap());
            let cookie = http.cookie(&token);
            let names: Vec<_> = cookie.split("; ").map(|pair| pair.split_once('=').unwrap().0).collect();
            assert_eq!(names, want);
        }
    }
}
