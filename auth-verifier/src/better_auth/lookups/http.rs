//! Sessions looked up by asking Better Auth, where its tables are out of reach.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use chassis::{
    clock::UnixSeconds,
    outbound::client::{self, Client, FetchError},
    settings::{Secret, Switch},
};
use http::{HeaderMap, HeaderName, Request, header};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    answered::{self, Odd},
    pauses::{Order, Pauses, Standing},
};
use crate::{
    better_auth::address::Address,
    credential::cookies::CookieNames,
    person::Person,
    rejection::Unavailable,
    session::token::{SessionToken, SigningKey},
};

/// How long a connection to Better Auth may take to stand.
const CONNECT: Duration = Duration::from_secs(1);

/// The largest answer that is read.
const BYTES_MAX: usize = 256 * 1024;

/// How Better Auth is asked about sessions.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Its `/get-session`.
    pub(crate) url: String,
    /// How it is reached.
    pub(crate) address: Address,
    /// What it calls its cookies.
    pub(crate) names: Vec<CookieNames>,
    /// What it signs them with, where we can sign them, too.
    pub(crate) secret: Option<Secret>,
    /// How long an answer may take.
    pub(crate) bound: Duration,
    /// The header that tells it the client's address, so that its rate limit counts clients and not us.
    pub(crate) address_header: Option<HeaderName>,
    /// Whether it may prolong the sessions that it is asked about.
    pub(crate) refresh: Switch,
    /// What the operator has to do where it limits how often it is asked.
    pub(crate) limits_cure: &'static str,
}

/// Asks `/get-session`.
pub(super) struct Http {
    client: Client,
    url: String,
    /// The headers that say as whom it is asked.
    headers: HeaderMap,
    names: Vec<CookieNames>,
    key: Option<SigningKey>,
    bound: Duration,
    address_header: Option<HeaderName>,
    pauses: Pauses,
    limits_cure: &'static str,
}

impl Http {
    /// Asks as `config` says, and pauses in that order. The cookie cache is never asked, and no session prolonged unless that
    /// is set.
    pub(super) fn new(config: &Config, order: Order) -> Self {
        let url = &config.url;
        Self {
            client: config.address.client(CONNECT),
            headers: config.address.headers(url),
            url: match config.refresh {
                Switch::On => format!("{url}?disableCookieCache=true"),
                Switch::Off => format!("{url}?disableCookieCache=true&disableRefresh=true"),
            },
            names: config.names.clone(),
            key: config.secret.as_ref().map(|secret| SigningKey::new(secret.expose())),
            bound: config.bound,
            address_header: config.address_header.clone(),
            pauses: Pauses::new(order),
            limits_cure: config.limits_cure,
        }
    }

    /// The cookie of `token`, where we can sign it; an empty one, which Better Auth knows nobody by, where we can't.
    pub(super) fn cookie(&self, token: &SessionToken) -> String {
        self.key.as_ref().map_or_else(String::new, |key| signed_cookie(key, &self.names, token))
    }

    /// The session of `token`, if Better Auth says by its `cookie` that it is alive. Bans are judged at the time `now`.
    /// `client` is the address of the client of the request that it is about.
    pub(super) async fn find(
        &self,
        token: &SessionToken,
        cookie: &str,
        standing: Standing,
        now: UnixSeconds,
        client: Option<IpAddr>,
    ) -> Result<Option<Person>, Unavailable> {
        let client = client.filter(|_| self.address_header.is_some());
        if let Some(left) = self.pauses.left(client, standing) {
            return Err(limited(left));
        }
        let asked = Instant::now();
        let answer = match self.ask(cookie, client).await {
            Ok(answer) => answer,
            Err(FetchError::TooMany(headers)) => {
                let (pause, tell) = self.pauses.begin(client, standing, asked, &headers);
                if tell {
                    warn!(
                        url = self.url,
                        pause_secs = pause.as_secs(),
                        "look a session up: {}",
                        self.limits_cure
                    );
                } else {
                    debug!(url = self.url, pause_secs = pause.as_secs(), "look a session up: too many");
                }
                return Err(limited(pause));
            }
            Err(error) => {
                warn!(%error, url = self.url, "look a session up: Better Auth can't be asked, and its caller is answered 503");
                return Err(Unavailable::Sessions);
            }
        };
        match answered::read(&answer, token, now) {
            Err(odd @ Odd::UserId) => {
                warn!(url = self.url, "look a session up: {odd}");
                Ok(None)
            }
            found => found.map_err(|odd| {
                warn!(url = self.url, "look a session up: {odd}");
                Unavailable::Sessions
            }),
        }
    }

    /// What Better Auth answers about the session of `cookie`.
    pub(super) async fn ask(&self, cookie: &str, client: Option<IpAddr>) -> Result<Bytes, FetchError> {
        let mut request = Request::get(&self.url).header(header::COOKIE, cookie);
        if let Some(own) = request.headers_mut() {
            own.extend(self.headers.clone());
        }
        if let Some((name, address)) = self.address_header.as_ref().zip(client) {
            request = request.header(name, address.to_string());
        }
        client::fetch_with(&self.client, request, self.bound, BYTES_MAX).await
    }
}

/// The session's cookie, under every name that Better Auth may look for it by: under another one it would see none, and
/// say that there is no session.
pub(crate) fn signed_cookie(key: &SigningKey, names: &[CookieNames], token: &SessionToken) -> String {
    let value = key.sign(token);
    let cookies: Vec<_> = names.iter().map(|names| format!("{}={value}", names.token)).collect();
    cookies.join("; ")
}

fn limited(left: Duration) -> Unavailable {
    Unavailable::Limited(left.as_millis().div_ceil(1000).try_into().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        better_auth::lookups::SessionsAt,
        settings::{Plan, Settings},
    };

    fn http(plan: &Plan) -> Http {
        let SessionsAt::BetterAuth(config) = &plan.lookups.sessions else {
            panic!("sessions are looked up over HTTP")
        };
        Http::new(config, Order::Together)
    }

    #[tokio::test]
    async fn a_look_up_prolongs_a_session_where_that_is_set_and_nowhere_else() {
        let settings = |further: &[(&'static str, &'static str)]| {
            let base = [
                ("BETTER_AUTH_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn"),
                ("BETTER_AUTH_URL", "http://a.test"),
            ];
            chassis::settings::load::<Settings>(&base.iter().chain(further).copied().collect())
        };
        for (further, prolongs) in [(&[][..], false), (&[("AUTH_VERIFIER_SESSION__REFRESH", "on")], true)] {
            let http = http(&settings(further).unwrap());
            assert_eq!(http.url.contains("disableRefresh=true"), !prolongs, "{}", http.url);
            assert!(http.url.contains("disableCookieCache=true"));
        }
        for elsewhere in [
            ("AUTH_VERIFIER_DATABASE__URL", "postgresql://u@localhost/auth"),
            ("AUTH_VERIFIER_SESSION__LOOKUP", "off"),
        ] {
            let error = settings(&[("AUTH_VERIFIER_SESSION__REFRESH", "on"), elsewhere]).unwrap_err();
            assert!(error.to_string().starts_with("AUTH_VERIFIER_SESSION__REFRESH: needs"), "{error}");
        }
    }

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
            let plan =
                chassis::settings::load::<Settings>(&further.into_iter().chain([secret]).collect()).unwrap();
            let http = http(&plan);
            let cookie = http.cookie(&token);
            let names: Vec<_> = cookie.split("; ").map(|pair| pair.split_once('=').unwrap().0).collect();
            assert_eq!(names, want);
        }
    }
}
