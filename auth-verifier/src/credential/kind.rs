//! The kinds of credentials that Better Auth hands out, told apart by their looks. Nothing is verified here.
//!
//! The checks and the diagnostics share this one table.

use std::ops::RangeInclusive;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::json;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    credential::{
        cookies::decoded,
        jws::{Jws, stated},
    },
    loose::Loose,
    rejection::Untrusted,
};

/// What a browser demands a secure origin for, where a cookie's name begins with it (RFC 6265bis §4.1.3.1).
pub const SECURE: &str = "__Secure-";

/// How long a session token may be, in characters. Better Auth makes them of 32 letters and digits.
const SESSION_TOKEN_CHARS: RangeInclusive<usize> = 32..=256;

/// The length of a signature over a session token: an HMAC-SHA256 in padded base64 (`better-call`, `crypto.ts`).
const SIGNATURE_CHARS: usize = 44;

/// The `typ` of an OAuth access token (RFC 9068 §2.1), which may also be written as a whole media type (RFC 7515
/// §4.1.9).
const ACCESS_TOKEN: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// The `typ` of a logout token (`OpenID` Connect Back-Channel Logout 1.0, §2.4).
const LOGOUT_TOKEN: &str = "logout+jwt";

/// The `typ` of a cookie cache that published keys sign (Better Auth, `cookies/jwt.ts`).
const COOKIE_CACHE: &str = "better-auth.session-cache+jwt";

/// What a credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A token of the JWT plugin.
    ApiToken,
    /// A JWT signed with the secret.
    Hs256,
    /// An access token of the OAuth provider (RFC 9068).
    AccessToken,
    /// The same in its opaque form.
    OpaqueAccessToken,
    /// Tells a client who signed in (`OpenID` Connect Core §2).
    IdToken,
    /// Tells a client that somebody signed out.
    LogoutToken,
    /// Stands in the link of a verification e-mail.
    Verification,
    /// A cookie cache.
    Cache(Strategy),
    /// A JWT of some other type.
    OtherType(Untrusted),
    /// A session token with its signature.
    Signed,
    /// A session token without its signature.
    Bare,
    /// None of the above.
    Unknown,
}

/// The form of the cookie cache that an application is set to (`session.cookieCache.strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// JSON with an HMAC: Better Auth's default.
    Compact,
    /// A JWT, HS256 with the secret.
    Jwt,
    /// A JWT signed with the keys of the JWT plugin (`jwt({ sessionCookieCache: true })`).
    JwtJwks,
    /// Encrypted.
    Jwe,
}

impl Strategy {
    /// The setting's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Jwt => "jwt",
            Self::JwtJwks => "jwt-jwks",
            Self::Jwe => "jwe",
        }
    }
}

/// The type of a JWT, by the `typ` of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwtType<'a> {
    /// None is stated, or `JWT`.
    Plain,
    /// An OAuth access token.
    AccessToken,
    /// A logout token.
    LogoutToken,
    /// A cookie cache.
    CookieCache,
    /// Another one.
    Other(&'a str),
}

impl<'a> JwtType<'a> {
    /// Reads a `typ`.
    pub(crate) fn of(typ: Option<&'a str>) -> Self {
        let Some(typ) = typ else { return Self::Plain };
        let is = |known: &str| typ.eq_ignore_ascii_case(known);
        match typ {
            COOKIE_CACHE => Self::CookieCache,
            _ if is("JWT") => Self::Plain,
            _ if ACCESS_TOKEN.into_iter().any(is) => Self::AccessToken,
            _ if is(LOGOUT_TOKEN) => Self::LogoutToken,
            other => Self::Other(other),
        }
    }
}

/// The two parts of `<session token>.<signature>`, where they are as long as they must be.
pub(crate) fn split_signed(value: &str) -> Option<(&str, &str)> {
    let (token, signature) = value.rsplit_once('.')?;
    let whole = !token.is_empty() && signature.len() == SIGNATURE_CHARS && signature.ends_with('=');
    whole.then_some((token, signature))
}

/// Whether a text can be a session token as Better Auth makes them.
pub(crate) fn is_session_token(text: &str) -> bool {
    SESSION_TOKEN_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a text can be an opaque access token, less its prefix (`oauth-provider`: 32 letters, unless
/// `generateOpaqueAccessToken` says otherwise).
pub(crate) fn is_opaque_access_token(text: &str) -> bool {
    SESSION_TOKEN_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Kind {
    /// The kind of `value`; opaque access tokens begin with `opaque_prefix`.
    pub(crate) fn of(value: &str, opaque_prefix: &str) -> Self {
        let value = &*decoded(value);
        match value.split('.').count() {
            5 => Self::Cache(Strategy::Jwe),
            3 => Jws::parse(value).map_or(Self::Unknown, |jws| Self::of_jws(&jws)),
            2 if split_signed(value).is_some_and(|(token, _)| is_session_token(token)) => Self::Signed,
            1 if is_compact(value) => Self::Cache(Strategy::Compact),
            1 if !opaque_prefix.is_empty() && value.starts_with(opaque_prefix) => Self::OpaqueAccessToken,
            1 if is_session_token(value) => Self::Bare,
            _ => Self::Unknown,
        }
    }

    fn of_jws(jws: &Jws<'_>) -> Self {
        match JwtType::of(jws.typ().unwrap_or_default()) {
            JwtType::Plain => {}
            JwtType::AccessToken => return Self::AccessToken,
            JwtType::LogoutToken => return Self::LogoutToken,
            JwtType::CookieCache => return Self::Cache(Strategy::JwtJwks),
            JwtType::Other(other) => return Self::OtherType(Untrusted::new(other)),
        }
        let has: Members = jws.claims().unwrap_or_default();
        // As the OAuth provider makes them; nothing in the header tells them from API tokens.
        let hashed = has.at_hash.text().is_some() && has.id.text().is_none();
        if has.auth_time.is_some() || hashed {
            return Self::IdToken;
        }
        match has {
            _ if jws.alg() != "HS256" => Self::ApiToken,
            Members { session: Some(_), user: Some(_), .. } => Self::Cache(Strategy::Jwt),
            Members { email: Some(_), sub: None, iss: None, .. } => Self::Verification,
            _ => Self::Hs256,
        }
    }
}

/// The members by which payloads are told apart.
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
    at_hash: Loose,
    id: Loose,
    #[serde(deserialize_with = "stated")]
    session: Option<IgnoredAny>,
    #[serde(deserialize_with = "stated")]
    user: Option<IgnoredAny>,
    #[serde(deserialize_with = "stated")]
    signature: Option<IgnoredAny>,
}

fn is_compact(value: &str) -> bool {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(value.trim_end_matches('='));
    let envelope: Option<Members> = decoded.ok().and_then(|bytes| json::object(&bytes));
    envelope.is_some_and(|has| has.session.is_some() && has.signature.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

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
            (jws(r#"{"alg":"EdDSA","typ":"x\ny"}"#, "{}"), Kind::OtherType(Untrusted::new("x\ny"))),
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
