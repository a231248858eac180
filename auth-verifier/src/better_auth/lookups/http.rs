//! Sessions looked up by asking Better Auth, where its tables are out of reach.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use chassis::{
    outbound::client::{self, Client, FetchError},
    settings::{SettingsError, Switch},
};
use http::{HeaderMap, HeaderName, Request, header};
use tracing::{debug, warn};

use super::{
    answered::{self, Odd},
    pauses::{CURE, Pauses},
};
use crate::{
    credential::cookies::CookieNames,
    person::Person,
    rejection::Unavailable,
    secrets::Secrets,
    session::token::{SessionToken, SigningKey},
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
    /// As whom it is asked.
    headers: HeaderMap,
    names: Vec<CookieNames>,
    key: SigningKey,
    bound: Duration,
    /// What tells Better Auth whose request it is about, so that its rate limit counts clients and not us.
    address_header: Option<HeaderName>,
    pauses: Pauses,
}

impl Http {
    /// Builds it from settings that were checked.
    pub(super) fn new(
        settings: &Settings,
        secrets: &Secrets,
        refresh: Switch,
    ) -> Result<Self, SettingsError> {
        // The cache in a cookie is not asked, and the session's life not prolonged, unless that is set: a look-up changes nothing.
        let url = settings.get_session_url().expect("the settings were checked");
        Ok(Self {
            client: settings.client(CONNECT)?,
            headers: settings.address_headers(&url),
            url: match refresh {
                Switch::On => format!("{url}?disableCookieCache=true"),
                Switch::Off => format!("{url}?disableCookieCache=true&disableRefresh=true"),
            },
            names: settings.cookie_names(),
            key: SigningKey::new(secrets.current()),
            bound: settings.session.timeout + settings.session.overtime,
            address_header: settings.session.client_address_header.clone(),
            pauses: Pauses::new(),
        })
    }

    fn cookie(&self, token: &SessionToken) -> String {
        signed_cookie(&self.key, &self.names, token)
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
        let answer = match self.ask(token, client).await {
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

    /// What Better Auth answers about `token`.
    pub(super) async fn ask(
        &self,
        token: &SessionToken,
        client: Option<IpAddr>,
    ) -> Result<Bytes, FetchError> {
        let mut request = Request::get(&self.url).header(header::COOKIE, self.cookie(token));
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
    let value = key.close(token);
    let cookies: Vec<_> = names.iter().map(|names| format!("{}={value}", names.token)).collect();
    cookies.join("; ")
}

fn limited(left: Duration) -> Unavailable {
    Unavailable::Limited(left.as_millis().div_ceil(1000).try_into().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let settings = settings(further).unwrap();
            let secrets = settings.secrets().unwrap().unwrap();
            let http = Http::new(&settings, &secrets, settings.session.refresh).unwrap();
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
            let settings =
                chassis::settings::load::<Settings>(&further.into_iter().chain([secret]).collect()).unwrap();
            let http = Http::new(&settings, &settings.secrets().unwrap().unwrap(), Switch::Off).unwrap();
            let cookie = http.cookie(&token);
            let names: Vec<_> = cookie.split("; ").map(|pair| pair.split_once('=').unwrap().0).collect();
            assert_eq!(names, want);
        }
    }
}
