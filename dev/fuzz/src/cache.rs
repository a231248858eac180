//! What holds for every form of the cookie cache.

use std::sync::{Once, OnceLock};

use auth_verifier::{
    credential::kind::Strategy,
    person::{Expiry, Person},
    secrets::Secrets,
    session::{
        cookie_cache::{CookieCache, Form, JweKeys},
        token::{SessionToken, SigningKeys},
    },
};
use chassis::{clock::UnixSeconds, settings::Secret};
use futures_util::FutureExt;
use serde_json::json;

use crate::{
    another,
    recorded::{CACHED_NOW as NOW, CACHED_TOKEN as TOKEN},
    seal, secret,
};

/// Another session than the one that the recorded cache is for.
const OTHER: &str = "MyOC4qEQYeW4Syq5WvYUKzLPiqRpz2Hp";

fn open(strategy: Strategy, value: &str, token: &str) -> Option<Person> {
    // A target knows one form.
    static KEYS: OnceLock<(CookieCache, SigningKeys)> = OnceLock::new();
    let (cache, keys) = KEYS.get_or_init(|| {
        let form = match strategy {
            Strategy::Compact => Form::Compact,
            Strategy::Jwt => Form::Jwt,
            Strategy::JwtJwks => unreachable!("its keys are not ours to seal with"),
            Strategy::Jwe => Form::Jwe(JweKeys::new([secret()])),
        };
        let cache = CookieCache { form, version: "1".into() };
        let secrets = Secrets::parse(None, Some(&Secret::new(secret())));
        let secrets = secrets.expect("the secret is a good one").expect("there is one");
        (cache, SigningKeys::new(&secrets, UnixSeconds(0)))
    });
    let token = SessionToken::bare(token).expect("it is a plain one");
    cache.open(value, &token, keys, UnixSeconds(NOW)).now_or_never().expect("nobody has to be asked")
}

fn seal(strategy: Strategy, payload: &str) -> String {
    match strategy {
        Strategy::Compact => seal::compact(payload, (NOW + 60) * 1000),
        Strategy::Jwt => seal::jws(br#"{"alg":"HS256"}"#, payload.as_bytes()),
        Strategy::Jwe => seal::jwe(payload.as_bytes()),
        Strategy::JwtJwks => unreachable!("its keys are not ours to seal with"),
    }
}

/// A payload that opens, once it is sealed: what never opens shows nothing by not opening.
fn control(strategy: Strategy) {
    let session = json!({"token": TOKEN, "userId": "u1", "expiresAt": "2099-01-01T00:00:00.000Z"});
    let payload = json!({"session": session, "user": {"id": "u1"}, "exp": NOW + 60}).to_string();
    assert!(open(strategy, &seal(strategy, &payload), TOKEN).is_some());
}

/// Opens the input as it is, and as the payload of a well-sealed cache.
pub fn check(strategy: Strategy, input: &[u8]) {
    static CONTROL: Once = Once::new();
    CONTROL.call_once(|| control(strategy));

    let Ok(input) = str::from_utf8(input) else { return };
    let opened = open(strategy, input, TOKEN);
    assert!(opened.is_none() || open(strategy, input, OTHER).is_none(), "one cache, two sessions");

    let sealed = seal(strategy, input);
    for token in [TOKEN, OTHER] {
        let Some(cached) = open(strategy, &sealed, token) else { continue };
        let Some(payload) = another::read(input.as_bytes()) else { continue };
        let (session, user) = (&payload["session"], &payload["user"]);
        assert_eq!(session["token"], token);
        assert_eq!([&session["userId"], &user["id"]], [cached.user.as_str(); 2]);
        assert!(payload.get("version").is_none_or(|version| *version == "1" || version.is_null()));
        assert!(cached.expires > Expiry::At(UnixSeconds(NOW - 60)), "it is over");
    }
}
