//! The cookie cache: Better Auth's own copy of a session, in a cookie beside the session's.
//!
//! It spares the look-up for as long as it lives (five minutes by default); for as long, a revocation goes unnoticed.
//! Better Auth honours it only beside a valid session cookie of the same session. So do we, unless a setting lets an
//! application send the cache by itself, as a bearer token. An application uses one of four forms (`cookies/index.ts`,
//! `decodeCookieCache`).

mod jwe;
mod published;
mod signed;

use std::sync::{Arc, Once};

use chassis::clock::UnixSeconds;
use serde::{Deserialize, Deserializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::warn;

pub use self::{jwe::Keys as JweKeys, published::Published};

use crate::{
    credential::kind::Strategy,
    person::{Person, User},
    rejection::Untrusted,
    secrets::Secrets,
    session::token::{SessionToken, SigningKeys},
};

/// Warned of once, as it is so for every cache.
static OTHER_VERSION: Once = Once::new();

/// A form of the cookie cache, with the keys that open it.
pub enum Form {
    /// Signed like session tokens.
    Compact,
    /// Signed like session tokens.
    Jwt,
    /// Signed by published keys.
    JwtJwks(Box<Published>),
    /// Encrypted with keys of its own.
    Jwe(JweKeys),
}

/// A cookie cache.
pub struct CookieCache {
    /// The form that is looked for; no other one is tried.
    pub form: Form,
    /// What the application calls the current shape of its cache (`session.cookieCache.version`).
    pub version: String,
}

/// The payload of every form.
#[derive(Clone, Deserialize)]
struct Payload {
    session: Session,
    user: User,
    #[serde(default)]
    version: Option<String>,
}

/// The payload as the claims of a JWT, which has an end of its own.
#[derive(Deserialize)]
struct Dated {
    exp: u64,
    session: Session,
    user: User,
    #[serde(default)]
    version: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    token: String,
    user_id: String,
    #[serde(deserialize_with = "instant")]
    expires_at: UnixSeconds,
}

/// A payload whose signature or encryption was verified.
#[derive(Clone)]
struct Opened {
    payload: Payload,
    /// When the cache ends, in milliseconds since 1970.
    expires_ms: u64,
}

impl Payload {
    /// The version of its shape; the library takes an empty one for none.
    fn version(&self) -> &str {
        self.version.as_deref().filter(|version| !version.is_empty()).unwrap_or("1")
    }
}

impl Dated {
    fn opened(self) -> Option<Opened> {
        let Self { exp, session, user, version } = self;
        Some(Opened { payload: Payload { session, user, version }, expires_ms: exp.checked_mul(1000)? })
    }
}

impl CookieCache {
    /// Opens the cache `value` that came beside the session cookie of `token`, at `now`. `None` if it is for another
    /// session, has ended, or can't be opened: then the session is looked up.
    pub async fn open(
        &self,
        value: &str,
        token: &SessionToken,
        keys: &SigningKeys,
        now: UnixSeconds,
    ) -> Option<Person> {
        let opened = match &self.form {
            Form::Compact => signed::compact(value, keys, now)?,
            Form::Jwt => signed::jwt(value, keys, now)?,
            Form::JwtJwks(published) => published.open(value, now).await?,
            Form::Jwe(jwe) => jwe::open(value, jwe)?,
        };
        let of_this_session = opened.payload.session.token == token.expose();
        if of_this_session && opened.payload.version() != self.version {
            OTHER_VERSION.call_once(|| {
                let (found, expected) = (Untrusted::new(opened.payload.version()), &self.version);
                warn!(
                    "cookie caches have the version {found}, not {expected} (AUTH_VERIFIER_COOKIE_CACHE__VERSION), and spare no \
                     look-up"
                );
            });
        }
        opened.person(&self.version, now).filter(|_| of_this_session)
    }
}

/// Opens caches of the form `jwt` that come by themselves, as bearer tokens.
pub struct CacheAsBearer {
    /// What the application calls the current shape of its cache.
    pub version: String,
    /// What it is signed with.
    pub keys: Arc<SigningKeys>,
    /// The longest that is looked at, in bytes.
    pub bytes_max: usize,
}

impl CacheAsBearer {
    /// The owner of its session at `now`; `None` if it can't be opened or has ended.
    pub fn open(&self, value: &str, now: UnixSeconds) -> Option<Person> {
        (value.len() <= self.bytes_max).then_some(())?;
        signed::jwt(value, &self.keys, now)?.person(&self.version, now)
    }
}

impl Opened {
    /// The session's owner, if cache and session are alive, and the cache has the application's current shape.
    fn person(self, expected: &str, now: UnixSeconds) -> Option<Person> {
        let version = self.payload.version().to_owned();
        let Self { payload: Payload { session, user, .. }, expires_ms } = self;
        let alive = expires_ms > now.0.saturating_mul(1000) && session.expires_at > now;
        (alive && version == expected && session.user_id == user.id).then_some(())?;
        user.person(session.expires_at.min(UnixSeconds(expires_ms / 1000)), now)
    }
}

/// The version of a cache, whether or not it has ended; `None` if it can't be opened with our secrets.
pub(crate) fn version(value: &str, form: Strategy, secrets: &Secrets) -> Option<String> {
    let (keys, any) = (SigningKeys::new(secrets, UnixSeconds::MAX), UnixSeconds(0));
    let opened = match form {
        Strategy::Compact => signed::compact(value, &keys, any)?,
        Strategy::Jwt => signed::jwt(value, &keys, any)?,
        Strategy::Jwe => jwe::open(value, &JweKeys::new(secrets.all()))?,
        Strategy::JwtJwks => return None,
    };
    Some(opened.payload.version().to_owned())
}

/// A JavaScript `Date` in JSON.
pub(super) fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<UnixSeconds, D::Error> {
    let text = String::deserialize(from)?;
    let date = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| serde::de::Error::custom("not a date"))?;
    let secs = u64::try_from(date.unix_timestamp());
    secs.map(UnixSeconds).map_err(|_| serde::de::Error::custom("before 1970"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use identity::Email;
    use serde_json::Value;

    use super::*;
    use crate::{credential::cookies::Cookies, secrets::Secrets};

    fn signing(secret: &str) -> SigningKeys {
        let secret = chassis::settings::Secret::new(secret);
        SigningKeys::new(&Secrets::parse(None, Some(&secret)).unwrap().unwrap(), UnixSeconds(0))
    }

    fn recorded() -> (Value, SigningKeys, String) {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/vectors/better-auth.json")).unwrap();
        let secret = vectors["secret"].as_str().unwrap().to_owned();
        (vectors, signing(&secret), secret)
    }

    fn open(
        cache: &CookieCache,
        value: &str,
        token: &SessionToken,
        keys: &SigningKeys,
        now: UnixSeconds,
    ) -> Option<Person> {
        cache.open(value, token, keys, now).now_or_never().expect("nobody has to be asked")
    }

    /// A minute after they were recorded.
    const NOW: UnixSeconds = UnixSeconds(1_795_406_640);

    fn cache(strategy: Strategy, secret: &str) -> CookieCache {
        let form = match strategy {
            Strategy::Compact => Form::Compact,
            Strategy::Jwt => Form::Jwt,
            Strategy::JwtJwks => unreachable!("its keys are looked for, which these tests don't"),
            Strategy::Jwe => Form::Jwe(JweKeys::new([secret])),
        };
        CookieCache { form, version: "1".into() }
    }

    fn strategy(name: &str) -> Option<Strategy> {
        match name.split('-').next()? {
            "compact" => Some(Strategy::Compact),
            "jwt" if name == "jwt" => Some(Strategy::Jwt),
            "jwe" => Some(Strategy::Jwe),
            _ => None,
        }
    }

    /// Each recorded cache, with its session's token.
    fn each(check: impl Fn(&str, &CookieCache, &str, &SessionToken, &SigningKeys, &Value)) -> usize {
        let (vectors, key, secret) = recorded();
        let mut count = 0;
        for (name, case) in vectors["cookie_cache"].as_object().unwrap() {
            let Some(strategy) = strategy(name) else { continue };
            let headers =
                [(http::header::COOKIE, case["cookie_request_header"].as_str().unwrap().parse().unwrap())];
            let headers = headers.into_iter().collect();
            let cookies = Cookies::of(&headers);
            let value = cookies.get_whole("better-auth.session_data").unwrap();
            let token = key.verify(cookies.get("better-auth.session_token").unwrap(), NOW).unwrap();
            check(name, &cache(strategy, &secret), &value, &token, &key, case);
            count += 1;
        }
        count
    }

    #[test]
    fn every_recorded_cache_opens_and_names_its_user() {
        let count = each(|name, cache, value, token, key, case| {
            let cached = open(cache, value, token, key, NOW).unwrap_or_else(|| panic!("{name} opens"));
            let user = &case["library_session_answer"]["user"];
            assert_eq!(cached.user.as_str(), user["id"].as_str().unwrap(), "{name}");
            assert_eq!(cached.email.as_ref().map(Email::as_str), user["email"].as_str(), "{name}");
        });
        assert!(count >= 4, "{count}");
    }

    #[test]
    fn a_cache_is_for_one_session_one_version_one_form_and_its_time() {
        each(|name, cache, value, token, key, _| {
            let other = SessionToken::bare("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
            assert!(open(cache, value, &other, key, NOW).is_none(), "{name}: another session");
            assert!(
                open(cache, value, token, key, NOW.after(Duration::from_secs(301))).is_none(),
                "{name}: over"
            );
            let wrong = signing("another-secret-of-at-least-32-bytes");
            let strategy = strategy(name).unwrap();
            let foreign = self::cache(strategy, "another-secret-of-at-least-32-bytes");
            assert!(open(&foreign, value, token, &wrong, NOW).is_none(), "{name}: another secret");
            let (_, _, secret) = recorded();
            let newer = CookieCache { version: "2".into(), ..self::cache(strategy, &secret) };
            assert!(open(&newer, value, token, key, NOW).is_none(), "{name}: another version");
            for other in [Strategy::Compact, Strategy::Jwt, Strategy::Jwe] {
                if other != strategy {
                    assert!(open(&self::cache(other, &secret), value, token, key, NOW).is_none(), "{name}");
                }
            }
            for at in (0..value.len()).step_by(7) {
                let mut bytes = value.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(bytes).unwrap();
                assert!(open(cache, &changed, token, key, NOW).is_none(), "{name}: changed at {at}");
                let _ =
                    open(cache, &value[..at], token, key, NOW).is_none_or(|_| panic!("{name}: cut at {at}"));
            }
        });
    }
}
