//! Development tokens: what a frontend that signs with the shared secret would send.

use std::time::Duration;

use chassis::clock::UnixSeconds;
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// Makes an HS256 token for `sub`, without issuer and audience.
pub fn mint(secret: &str, sub: &str, lifetime: Duration) -> String {
    mint_for(secret, sub, lifetime, None, None)
}

/// Makes an HS256 token for `sub` that names issuer and audience where they are given.
pub fn mint_for(secret: &str, sub: &str, lifetime: Duration, iss: Option<&str>, aud: Option<&str>) -> String {
    let now = UnixSeconds::now();
    let claims = Claims { sub, iat: now.0, exp: now.after(lifetime).0, iss, aud };
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("text and numbers are JSON, and any bytes are an HMAC key")
}
