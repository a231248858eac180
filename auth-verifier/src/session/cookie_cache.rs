//! The cookie cache: Better Auth's own copy of a session, in a cookie beside the session's.
//!
//! It spares the look-up for as long as it lives (five minutes, as a rule), and so does a revocation not show for
//! as long. The library honours it only beside a valid session cookie for the same session, and so do we, unless an
//! application that sends the cache itself as a bearer token asks for it. Four forms, one of which an application is
//! set to (`cookies/index.ts`, `decodeCookieCache`).

mod compact;
mod jwe;
mod jwt;
mod jwt_jwks;

use std::sync::{Arc, Once};

use serde::{Deserialize, Deserializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::warn;

pub use self::{jwe::Keys as JweKeys, jwt_jwks::Published};

use crate::{
    person::{Person, User},
    rejection::Claimed,
    secrets::Secrets,
    session::token::{SessionToken, SigningKeys},
};

/// Said once: it is so for every cache.
static OTHER_VERSION: Once = Once::new();

/// Which form an application is set to (`session.cookieCache.strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// JSON with an HMAC: what Better Auth does unless told otherwise.
    Compact,
    /// A JWT, HS256 with the secret.
    Jwt,
    /// A JWT, with the keys of the JWT plugin (`jwt({ sessionCookieCache: true })`).
    JwtJwks,
    /// Encrypted.
    Jwe,
}

impl Strategy {
    /// As the setting calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Jwt => "jwt",
            Self::JwtJwks => "jwt-jwks",
            Self::Jwe => "jwe",
        }
    }
}

/// The same, with what opens it.
pub enum Form {
    /// Opened by what session tokens are signed with.
    Compact,
    /// Opened by the same.
    Jwt,
    /// Opened by published keys.
    JwtJwks(Box<Published>),
    /// Opened by keys of its own.
    Jwe(JweKeys),
}

/// A cookie cache.
pub struct CookieCache {
    /// The form that is looked for; no other one is tried.
    pub form: Form,
    /// What the application calls the current shape of its cache (`session.cookieCache.version`).
    pub version: String,
}

/// What all forms hold.
#[derive(Clone, Deserialize)]
struct Payload {
    session: Session,
    user: User,
    #[serde(default)]
    version: Option<String>,
}

/// The same as the claims of a JWT, which ends by itself.
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
    expires_at: u64,
}

/// A payload whose form was checked, and when the cache ends, in milliseconds since 1970.
#[derive(Clone)]
struct Opened {
    payload: Payload,
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
    /// Opens the cache `value` that came beside the session cookie of `token`, at the time `now`, in seconds since
    /// 1970. `None` if it is not for that session, is over, or is not what it seems: then the session is looked up.
    pub async fn open(
        &self,
        value: &str,
        token: &SessionToken,
        keys: &SigningKeys,
        now: u64,
    ) -> Option<Person> {
        let opened = match &self.form {
            Form::Compact => compact::open(value, keys, now)?,
            Form::Jwt => jwt::open(value, keys, now)?,
            Form::JwtJwks(published) => published.open(value, now).await?,
            Form::Jwe(jwe) => jwe::open(value, jwe)?,
        };
        let of_this_session = opened.payload.session.token == token.expose();
        if of_this_session && opened.payload.version() != self.version {
            OTHER_VERSION.call_once(|| {
                let (found, expected) = (Claimed::new(opened.payload.version()), &self.version);
                warn!(
                    "cookie caches have the version {found}, not {expected} (AUTH_VERIFIER_COOKIE_CACHE__VERSION), and spare no \
                     look-up"
                );
            });
        }
        opened.person(&self.version, now).filter(|_| of_this_session)
    }
}

/// Opens a cache in the `jwt` form that came by itself, as a bearer token.
pub struct CacheAsBearer {
    /// What the application calls the current shape of its cache.
    pub version: String,
    /// What it is signed with.
    pub keys: Arc<SigningKeys>,
    /// The longest that is looked at, in bytes.
    pub bytes_max: usize,
}

impl CacheAsBearer {
    /// Whose it is at the time `now`, in seconds since 1970; `None` if it is anything else, or over.
    pub fn open(&self, value: &str, now: u64) -> Option<Person> {
        (value.len() <= self.bytes_max).then_some(())?;
        jwt::open(value, &self.keys, now)?.person(&self.version, now)
    }
}

impl Opened {
    /// The session's owner, if cache and session are alive, and the cache has the application's current shape.
    fn person(self, expected: &str, now: u64) -> Option<Person> {
        let version = self.payload.version().to_owned();
        let Self { payload: Payload { session, user, .. }, expires_ms } = self;
        let alive = expires_ms > now.saturating_mul(1000) && session.expires_at > now;
        (alive && version == expected && session.user_id == user.id).then_some(())?;
        user.person(session.expires_at.min(expires_ms / 1000), now)
    }
}

/// What a cache says of the shape that it has, whether or not it is alive; `None` if it can't be opened with our secrets.
pub(crate) fn version(value: &str, form: Strategy, secrets: &Secrets) -> Option<String> {
    let keys = SigningKeys::new(secrets, u64::MAX);
    let opened = match form {
        Strategy::Compact => compact::open(value, &keys, 0)?,
        Strategy::Jwt => jwt::open(value, &keys, 0)?,
        Strategy::Jwe => jwe::open(value, &JweKeys::new(secrets.all()))?,
        Strategy::JwtJwks => return None,
    };
    Some(opened.payload.version().to_owned())
}

/// A JavaScript `Date` in JSON, in whole seconds since 1970.
fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let date = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| serde::de::Error::custom("not a date"))?;
    u64::try_from(date.unix_timestamp()).map_err(|_| serde::de::Error::custom("before 1970"))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use identity::Email;
    use serde_json::Value;

    use super::*;
    use crate::{credential::cookies::Cookies, secrets::Secrets};

    fn signing(secret: &str) -> SigningKeys {
        let secret = chassis::settings::Secret::new(secret);
        SigningKeys::new(&Secrets::parse(None, Some(&secret)).unwrap().unwrap(), 0)
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
        now: u64,
    ) -> Option<Person> {
        cache.open(value, token, keys, now).now_or_never().expect("nobody has to be asked")
    }

    /// A minute after they were recorded.
    const NOW: u64 = 1_795_406_640;

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
            let token = key.open(cookies.get("better-auth.session_token").unwrap(), NOW).unwrap();
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
            assert!(open(cache, value, token, key, NOW + 301).is_none(), "{name}: over");
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
