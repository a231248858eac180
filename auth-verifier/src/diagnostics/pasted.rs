//! What somebody pasted: which header carries it, and what it is by its looks. Nothing is verified here.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::json;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    credential::cookies::{Cookies, decoded},
    jwt::{
        claims::Said,
        jws::{Jws, stated},
        keys::Algorithm,
    },
    rejection::Claimed,
    session::cookie_cache::Strategy,
    settings::Settings,
};

/// What a browser puts before the names of cookies that only a secure origin can set.
pub(crate) const SECURE: &str = "__Secure-";

/// A header with a credential.
pub(crate) struct Pasted {
    /// That header alone.
    pub(crate) headers: HeaderMap,
}

/// What a credential is, by its looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of the JWT plugin.
    ApiToken,
    /// Signed with the secret.
    Hs256,
    /// Of the OAuth provider (RFC 9068).
    AccessToken,
    /// The same without a shape.
    OpaqueAccessToken,
    /// Says to a client who signed in (`OpenID` Connect).
    IdToken,
    /// Tells a client that somebody signed out (`OpenID` Connect).
    LogoutToken,
    /// From a link in an e-mail.
    Verification,
    /// A cookie cache.
    Cache(Strategy),
    /// A JWT of some other type.
    OtherType(Claimed),
    /// A session's token, with its signature.
    Signed,
    /// Letters and digits.
    Bare,
    /// Anything else.
    Unknown,
}

/// A cookie that looks like the session's.
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: String,
}

impl Pasted {
    /// Reads a token, an `Authorization` or `Cookie` header, or a cookie; `None` if it is none of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, value) = carried(text.trim())?;
        Some(Self { headers: [(name, value)].into_iter().collect() })
    }

    /// The bearer token.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        Some(value.split_once(' ')?.1)
    }

    /// The cookies.
    pub(crate) fn cookies(&self) -> Cookies<'_> {
        Cookies::of(&self.headers)
    }
}

/// The cookie that is the session's: by one of the names that it should have, else by the ending that its name mostly
/// has, else by its value.
pub(crate) fn session_cookie<'a>(cookies: &Cookies<'a>, settings: &Settings) -> Option<Named<'a>> {
    let names = settings.cookie_names();
    let called = |name: &str| names.iter().any(|names| names.token == name);
    let (mut ending, mut signed) = (None, None);
    for (name, value) in cookies.iter() {
        let named = || Some(Named { name, value: value.to_owned() });
        if called(name) {
            return named();
        }
        if name.ends_with("session_token") {
            ending = ending.or_else(named);
        }
        // Those of the multi-session and the admin plugin are signed, too.
        let other = name.contains("_multi-") || name.ends_with("admin_session");
        if !other && Kind::of(value, "") == Kind::Signed {
            signed = signed.or_else(named);
        }
    }
    ending.or(signed)
}

/// The cookie cache, by the same signs.
pub(crate) fn cache_cookie<'a>(cookies: &Cookies<'a>, settings: &Settings) -> Option<Named<'a>> {
    let names = settings.cookie_names();
    let expected = |name: &str| names.iter().any(|names| names.data == base(name));
    let alike = |name: &str| base(name).ends_with("session_data");
    let (name, _) = cookies
        .iter()
        .find(|(name, _)| expected(name))
        .or_else(|| cookies.iter().find(|(name, _)| alike(name)))?;
    let name = base(name);
    Some(Named { name, value: cookies.get_whole(name)?.into_owned() })
}

/// A cookie's name without the number of its piece.
fn base(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((base, number)) if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) => {
            base
        }
        _ => name,
    }
}

impl Kind {
    /// What `value` is; opaque access tokens begin with `opaque_prefix`.
    pub(crate) fn of(value: &str, opaque_prefix: &str) -> Self {
        let value = &*decoded(value);
        match value.split('.').count() {
            5 => Self::Cache(Strategy::Jwe),
            3 => Jws::parse(value).map_or(Self::Unknown, |jws| Self::of_jws(&jws)),
            2 if is_signed(value) => Self::Signed,
            1 if is_compact(value) => Self::Cache(Strategy::Compact),
            1 if !opaque_prefix.is_empty() && value.starts_with(opaque_prefix) => Self::OpaqueAccessToken,
            1 if value.len() >= 32 && value.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Self::Bare,
            _ => Self::Unknown,
        }
    }

    /// The form of the cookie cache that a bearer token of at most `bytes_max` is; `None` if it is anything else.
    pub(crate) fn cache_as_bearer(token: &str, bytes_max: usize) -> Option<Strategy> {
        match (token.len() <= bytes_max).then(|| Self::of(token, ""))? {
            Self::Cache(form) => Some(form),
            _ => None,
        }
    }

    fn of_jws(jws: &Jws<'_>) -> Self {
        let has: Members = jws.claims().unwrap_or_default();
        let typ = jws.typ().ok().flatten().unwrap_or("JWT").to_ascii_lowercase();
        match typ.strip_prefix("application/").unwrap_or(&typ) {
            "jwt" => {}
            "at+jwt" => return Self::AccessToken,
            "logout+jwt" => return Self::LogoutToken,
            "better-auth.session-cache+jwt" => return Self::Cache(Strategy::JwtJwks),
            other => return Self::OtherType(Claimed::new(other)),
        }
        // As the OAuth provider makes them; nothing in the header tells them from API tokens.
        let hashed = has.at_hash.text().is_some() && has.id.text().is_none();
        if has.auth_time.is_some() || hashed {
            return Self::IdToken;
        }
        if Algorithm::named(jws.alg()) != Some(Algorithm::Hs256) {
            return Self::ApiToken;
        }
        match has {
            Members { session: Some(_), user: Some(_), .. } => Self::Cache(Strategy::Jwt),
            Members { email: Some(_), sub: None, iss: None, .. } => Self::Verification,
            _ => Self::Hs256,
        }
    }
}

/// Which members something has that tell what it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    #[serde(deserialize_with = "stated")]
    iss: Option<IgnoredAny>,
    #[serde(deserialize_with = "stated")]
    sub: Option<IgnoredAny>,
    #[serde(deserialize_with = "stated")]
    email: Option<IgnoredAny>,
    #[serde(deserialize_with = "stated")]
    auth_time: Option<IgnoredAny>,
    at_hash: Said,
    id: Said,
    #[serde(deserialize_with = "stated")]
    session: Option<IgnoredAny>,
    #[serde(deserialize_with = "stated")]
    user: Option<IgnoredAny>,
    #[serde(deserialize_with = "stated")]
    signature: Option<IgnoredAny>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiToken => "an API token (a JWT signed with a public key's private half)",
            Self::Hs256 => "an HS256 token (a JWT signed with a shared secret)",
            Self::AccessToken => "an OAuth access token (a JWT, at+jwt)",
            Self::OpaqueAccessToken => "an opaque OAuth access token",
            Self::IdToken => "an ID token (it tells a client who signed in, and is no credential for an API)",
            Self::LogoutToken => "a logout token (it tells a client that somebody signed out)",
            Self::Verification => {
                "an e-mail verification token (it is for a link in an e-mail, and no credential)"
            }
            Self::Cache(Strategy::Compact) => "a cookie cache of the form compact",
            Self::Cache(Strategy::Jwt) => "a cookie cache of the form jwt",
            Self::Cache(Strategy::JwtJwks) => {
                "a cookie cache of the form jwt, signed with Better Auth's keys (jwt-jwks)"
            }
            Self::Cache(Strategy::Jwe) => "a cookie cache of the form jwe (encrypted)",
            Self::OtherType(typ) => return write!(f, "a JWT of type {typ}"),
            Self::Signed => "a session token with its signature",
            Self::Bare => "a bare session token, or an opaque access token, which look alike",
            Self::Unknown => "nothing that Better Auth hands out",
        })
    }
}

/// `<32 letters and digits>.<44 characters of base64>`.
fn is_signed(value: &str) -> bool {
    value.rsplit_once('.').is_some_and(|(token, signature)| {
        let plain = token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain && signature.len() == 44 && signature.ends_with('=')
    })
}

fn is_compact(value: &str) -> bool {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(value.trim_end_matches('='));
    let envelope: Option<Members> = decoded.ok().and_then(|bytes| json::object(&bytes));
    envelope.is_some_and(|has| has.session.is_some() && has.signature.is_some())
}

/// The header that carries what was pasted.
fn carried(pasted: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = match pasted.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
            (header::AUTHORIZATION, value.trim().to_owned())
        }
        Some((name, value)) if name.eq_ignore_ascii_case("cookie") => {
            (header::COOKIE, value.trim().to_owned())
        }
        _ if pasted.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")) => {
            (header::AUTHORIZATION, pasted.to_owned())
        }
        // Base64 ends in `=`, but only a cookie has something behind it.
        _ if pasted
            .split_once('=')
            .is_some_and(|(name, value)| !value.trim_matches('=').is_empty() && !name.is_empty()) =>
        {
            (header::COOKIE, pasted.to_owned())
        }
        _ => (header::AUTHORIZATION, format!("Bearer {pasted}")),
    };
    let value = HeaderValue::from_str(&value).ok().filter(|_| !pasted.is_empty())?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_was_pasted_shows_which_header_carries_it() {
        let check = |pasted: &str, want: Option<(HeaderName, &str)>| {
            let found = carried(pasted);
            let found = found.as_ref().map(|(name, value)| (name.clone(), value.to_str().unwrap()));
            assert_eq!(found, want, "{pasted}");
        };
        check("a.b.c", Some((header::AUTHORIZATION, "Bearer a.b.c")));
        check("abc.sig=", Some((header::AUTHORIZATION, "Bearer abc.sig=")));
        check("bearer a.b.c", Some((header::AUTHORIZATION, "bearer a.b.c")));
        check("Authorization: Bearer a", Some((header::AUTHORIZATION, "Bearer a")));
        check("better-auth.session_token=a.b%3D", Some((header::COOKIE, "better-auth.session_token=a.b%3D")));
        check("Cookie: a=1; b=2", Some((header::COOKIE, "a=1; b=2")));
        check("", None);
        check("a\nb", None);
    }

    #[test]
    fn everything_that_better_auth_hands_out_is_known_by_its_looks() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/vectors/better-auth.json")).unwrap();
        let text = |pointer: &str| vectors.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let cache = |form: &str| text(&format!("/cookie_cache/{form}/session_data"));
        let jws = |header: &str, claims: &str| {
            let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.{}", part(header), part(claims), part("signature"))
        };
        for (value, want) in [
            (text("/api_jwt/EdDSA/token"), Kind::ApiToken),
            (text("/api_jwt/ES512/token"), Kind::ApiToken),
            (text("/api_jwt/HS256-custom-sign/token"), Kind::Hs256),
            (text("/session_cookie/plain-http/set_auth_token_header"), Kind::Signed),
            (text("/must_be_rejected/email_verification_token_same_secret"), Kind::Verification),
            (text("/must_be_rejected/cookie_cache_hs256_as_bearer"), Kind::Cache(Strategy::Jwt)),
            (cache("compact"), Kind::Cache(Strategy::Compact)),
            (cache("jwt"), Kind::Cache(Strategy::Jwt)),
            (cache("jwt-jwks"), Kind::Cache(Strategy::JwtJwks)),
            (cache("jwe"), Kind::Cache(Strategy::Jwe)),
            (jws(r#"{"alg":"EdDSA","typ":"at+jwt"}"#, "{}"), Kind::AccessToken),
            (jws(r#"{"alg":"EdDSA","typ":"logout+jwt"}"#, "{}"), Kind::LogoutToken),
            (jws(r#"{"alg":"EdDSA","typ":"x\ny"}"#, "{}"), Kind::OtherType(Claimed::new("x\ny"))),
            (jws(r#"{"alg":"EdDSA"}"#, r#"{"sub":"u1","auth_time":1}"#), Kind::IdToken),
            (jws(r#"{"alg":"HS256"}"#, r#"{"sub":"u1","at_hash":"h"}"#), Kind::IdToken),
            ("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv".into(), Kind::Bare),
            ("oat_D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv".into(), Kind::OpaqueAccessToken),
            ("a.b.c".into(), Kind::Unknown),
            ("short".into(), Kind::Unknown),
        ] {
            assert_eq!(Kind::of(&value, "oat_"), want, "{value}");
        }
    }
}
