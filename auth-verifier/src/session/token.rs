//! A session's token, and what signs it, as a cookie or a bearer token carries it.

use aws_lc_rs::hmac;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use chassis::clock::UnixSeconds;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    credential::kind::{is_session_token, split_signed},
    secrets::Secrets,
};

/// As `atob` reads it: the bits that the last character has too many may be set. The same signature, spelled otherwise,
/// must not be another's to us and a good one to Better Auth.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What `encodeURIComponent` leaves as it is, besides letters and digits.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'(')
    .remove(b')')
    .remove(b'\'');

/// What `encodeURIComponent` writes.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// The key of everything that Better Auth signs by HMAC: its secret, as raw UTF-8.
pub struct SigningKey(hmac::Key);

/// The keys of all secrets: the current one's, and those of older ones until a moment that is set.
pub struct SigningKeys {
    current: SigningKey,
    old: Vec<SigningKey>,
    /// When older secrets end. In Better Auth itself they end at once (`context/secret-utils.ts`).
    old_until: UnixSeconds,
}

/// A session's token. It is a live credential: it is looked up, and never shown or passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SigningKey {
    /// The key of `secret`.
    pub fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// Whether `mac` is this key's over `message`; takes the same time for any wrong one.
    pub fn verifies(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.0, message, mac).is_ok()
    }

    /// Signs a token, as a cookie's value: percent-encoded.
    pub fn sign(&self, token: &SessionToken) -> String {
        let signature = BASE64_STANDARD.encode(hmac::sign(&self.0, token.0.as_bytes()));
        encoded(&format!("{}.{signature}", token.0))
    }

    /// Verifies `<token>.<signature>`, percent-decoded (`better-call`, `crypto.ts`): the signature is padded standard
    /// base64, over the token's text. `None` where anything differs.
    pub fn verify(&self, value: &str) -> Option<SessionToken> {
        let (token, signature) = split_signed(value)?;
        let mac = LENIENT.decode(signature).ok()?;
        self.verifies(token.as_bytes(), &mac).then(|| SessionToken(token.to_owned()))
    }

    /// Whether the signature of a bearer token is this key's, but not in the one encoding that is accepted
    /// (`plugins/bearer`).
    fn verifies_misencoded(&self, value: &str) -> bool {
        let mut parts = value.split('.');
        let (token, signature) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let signature = signature.split('=').next().unwrap_or_default().replace('-', "+").replace('_', "/");
        LENIENT.decode(signature).is_ok_and(|mac| self.verifies(token.as_bytes(), &mac))
    }
}

impl SigningKeys {
    /// The keys of `secrets`; all but the current one are good until `old_until`.
    pub fn new(secrets: &Secrets, old_until: UnixSeconds) -> Self {
        let old = secrets.all().skip(1).filter(|_| old_until > UnixSeconds(0)).map(SigningKey::new).collect();
        Self { current: SigningKey::new(secrets.current()), old, old_until }
    }

    fn good(&self, now: UnixSeconds) -> impl Iterator<Item = &SigningKey> {
        let old = self.old.iter().filter(move |_| now < self.old_until);
        std::iter::once(&self.current).chain(old)
    }

    /// Whether `mac` is over `message`, with a key that is good at `now`.
    pub fn verifies(&self, message: &[u8], mac: &[u8], now: UnixSeconds) -> bool {
        self.good(now).any(|key| key.verifies(message, mac))
    }

    /// Verifies `<token>.<signature>` by a key that is good at `now`; see [`SigningKey::verify`].
    pub fn verify(&self, value: &str, now: UnixSeconds) -> Option<SessionToken> {
        self.good(now).find_map(|key| key.verify(value))
    }

    /// Whether one of these keys made the signature of a bearer token that was not accepted, written in another
    /// encoding.
    pub fn verifies_misencoded(&self, value: &str, now: UnixSeconds) -> bool {
        self.good(now).any(|key| key.verifies_misencoded(value))
    }
}

impl SessionToken {
    /// A token that came without a signature: good only if it is found where sessions are kept. `None` if Better Auth
    /// makes no such tokens.
    pub fn bare(text: &str) -> Option<Self> {
        let token = Self(text.to_owned());
        token.is_plain().then_some(token)
    }

    /// A token as Better Auth's table has it.
    pub(crate) fn of_table(text: String) -> Self {
        Self(text)
    }

    /// Whether it is of letters and digits alone, and as many as Better Auth makes them of.
    pub fn is_plain(&self) -> bool {
        is_session_token(&self.0)
    }

    /// The token, for looking it up.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::cookies::decoded;

    #[test]
    fn recorded_cookies_open_and_nothing_else_does() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/better-auth.json")).unwrap();
        let key = SigningKey::new(vectors["secret"].as_str().unwrap());
        let cookie = vectors["session_cookie"]["plain-http"]["cookie_request_header"].as_str().unwrap();
        let value = cookie.split_once('=').unwrap().1;
        let token = key.verify(&decoded(value)).unwrap();
        assert_eq!(value.split_once('.').unwrap().0, token.expose());
        assert_eq!(key.sign(&token), value);
        let plain = vectors["session_cookie"]["plain-http"]["set_auth_token_header"].as_str().unwrap();
        assert!(key.verify(plain).is_some_and(|opened| opened == token), "as the header has it");

        let (text, signature) = plain.rsplit_once('.').unwrap();
        let unpadded = signature.trim_end_matches('=');
        for bad in [
            text.to_owned(),
            format!("{text}."),
            format!(".{signature}"),
            format!("x{text}.{signature}"),
            format!("{text}.{unpadded}"),
            format!("{text}.{unpadded}=="),
            format!("{text}.{}", signature.replace('+', " ").replace('/', "_")),
            format!("{text}.{text}.{signature}"),
            value.to_owned(),
            String::new(),
        ] {
            assert!(key.verify(&bad).is_none(), "{bad}");
        }
        assert!(SigningKey::new("another-secret-of-at-least-32-bytes").verify(plain).is_none());
    }

    #[test]
    fn a_bare_token_is_plain() {
        assert!(SessionToken::bare("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv").is_some());
        for bad in [
            "",
            "short",
            &"x".repeat(31),
            &"x".repeat(257),
            "not-a-token-that-anybody-would-have-made",
            "x'; drop table session; -- aaaaaaaaaaaaaa",
        ] {
            assert!(SessionToken::bare(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_older_secret_is_good_until_it_ends() {
        let secret = |text: &str| chassis::settings::Secret::new(text);
        let (new, old) = ("new-new-new-new-new-new-new-new-", "old-old-old-old-old-old-old-old-");
        let versions = secret(&format!("2:{new},1:{old}"));
        let secrets = Secrets::parse(Some(&versions), None).unwrap().unwrap();
        let token = SessionToken::bare("D9XCRDDrH9v3FZ10lmGAzfSKKCzXFnSv").unwrap();
        let closed = |secret| SigningKey::new(secret).sign(&token);
        for (until, now, good) in [(0, 0, false), (1000, 999, true), (1000, 1000, false)] {
            let (keys, now) = (SigningKeys::new(&secrets, UnixSeconds(until)), UnixSeconds(now));
            assert_eq!(keys.verify(&decoded(&closed(old)), now).is_some(), good, "until {until}, at {now}");
            assert!(keys.verify(&decoded(&closed(new)), now).is_some());
        }
    }
}
