//! The identity that we sign for internal services.
//!
//! The key is derived from a seed, so that all replicas sign alike. Services check with the public key, so they can't
//! forge.
//!
//! A signature costs more than the rest of a cached verdict, and says only who is calling and when. So a user who calls
//! again soon gets the same assertion again.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    digest,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::{clock::UnixSeconds, settings::Secret};
use http::HeaderValue;
use identity::{Assertion, ISSUER, Membership, UserId};
use moka::sync::Cache;
use serde_json::json;

use crate::cache::count_evictions;

/// Binds the derived key to this one use; a later form of it gets another number.
const SALT: &[u8] = b"usher";
const INFO: &[u8] = b"identity assertion, Ed25519, 1";

/// The most assertions in the cache.
const CACHED_MAX: u64 = 10_000;

/// Signs identity assertions, and hands them out again while they are young.
pub(crate) struct Signer {
    key: Ed25519KeyPair,
    /// Keys that are published, too.
    besides: Vec<Ed25519KeyPair>,
    header: String,
    audience: String,
    life: Duration,
    /// How old an assertion may be when it is handed out again.
    age_max: Duration,
    cache: Cache<UserId, Cached>,
    /// Those that say more than who is calling, by all that they say.
    of_members: Cache<(UserId, Arc<Membership>), Cached>,
}

#[derive(Clone)]
struct Cached {
    signed: UnixSeconds,
    assertion: HeaderValue,
}

struct SeedLength;

impl KeyType for SeedLength {
    fn len(&self) -> usize {
        32
    }
}

/// What identities are signed with, and how long they live.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The secret that the signing key is derived from.
    pub(crate) seed: Secret,
    /// The secrets of keys that are published, too, because other replicas sign with them.
    pub(crate) published: Vec<Secret>,
    /// The services that the identities are for.
    pub(crate) audience: String,
    /// How long an identity lives.
    pub(crate) life: Duration,
    /// How long a verdict may be reused at most. An identity outlives the verdict that it came with.
    pub(crate) max_age: Duration,
}

impl Signer {
    /// Derives the keys by HKDF-SHA256 (RFC 5869).
    pub(crate) fn new(config: &Config) -> Self {
        let key = derived(config.seed.expose());
        let header = json!({"alg": "EdDSA", "kid": kid(&key), "typ": "JWT"}).to_string();
        let mut besides: Vec<Ed25519KeyPair> = Vec::new();
        for other in config.published.iter().map(|seed| derived(seed.expose())) {
            if [&key].into_iter().chain(&besides).all(|known| kid(known) != kid(&other)) {
                besides.push(other);
            }
        }
        // Most of the time that is left beyond `max_age` is for those who check it.
        let age_max = config.life.saturating_sub(config.max_age) / 4;
        let life = age_max + Duration::from_secs(1);
        let cache = Cache::builder().max_capacity(CACHED_MAX).time_to_live(life);
        let of_members = Cache::builder().max_capacity(CACHED_MAX).time_to_live(life);
        Self {
            header: BASE64_URL_SAFE_NO_PAD.encode(header),
            key,
            besides,
            audience: config.audience.clone(),
            life: config.life,
            age_max,
            cache: cache.eviction_listener(count_evictions("assertions")).build(),
            of_members: of_members.eviction_listener(count_evictions("assertions")).build(),
        }
    }

    /// An assertion that `user` is calling, as that `membership` if one is told, signed at `now` or a moment ago.
    pub(crate) fn assert(
        &self,
        user: &UserId,
        membership: Option<&Arc<Membership>>,
        now: UnixSeconds,
    ) -> HeaderValue {
        let young = |cached: &Cached| cached.signed <= now && now.since(cached.signed) <= self.age_max;
        if let Some(membership) = membership {
            let key = (user.clone(), Arc::clone(membership));
            if let Some(cached) = self.of_members.get(&key).filter(young) {
                return cached.assertion;
            }
            let assertion = self.sign(user, Some(&**membership), now);
            self.of_members.insert(key, Cached { signed: now, assertion: assertion.clone() });
            return assertion;
        }
        if let Some(cached) = self.cache.get(user).filter(young) {
            return cached.assertion;
        }
        let assertion = self.sign(user, None, now);
        self.cache.insert(user.clone(), Cached { signed: now, assertion: assertion.clone() });
        assertion
    }

    fn sign(&self, user: &UserId, membership: Option<&Membership>, now: UnixSeconds) -> HeaderValue {
        let claims = Assertion {
            iss: ISSUER.to_owned(),
            sub: user.as_str().to_owned(),
            aud: self.audience.clone(),
            iat: now.0,
            exp: now.after(self.life).0,
            membership: membership.cloned(),
        };
        let claims = serde_json::to_vec(&claims).expect("text and numbers are JSON");
        let signed = format!("{}.{}", self.header, BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        let assertion = HeaderValue::try_from(format!("{signed}.{signature}"));
        let mut assertion = assertion.expect("base64url may stand in a header");
        assertion.set_sensitive(true);
        assertion
    }

    /// The public keys, as a JWK set; first the one that signs.
    pub(crate) fn jwks(&self) -> serde_json::Value {
        let jwk = |key: &Ed25519KeyPair| {
            let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key());
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid(key), "x": x})
        };
        let keys: Vec<_> = [&self.key].into_iter().chain(&self.besides).map(jwk).collect();
        json!({ "keys": keys })
    }
}

/// By HKDF-SHA256 (RFC 5869).
fn derived(seed: &str) -> Ed25519KeyPair {
    let mut derived = [0; 32];
    Salt::new(HKDF_SHA256, SALT)
        .extract(seed.as_bytes())
        .expand(&[INFO], SeedLength)
        .and_then(|derivation| derivation.fill(&mut derived))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    Ed25519KeyPair::from_seed_unchecked(&derived).expect("any 32 bytes are an Ed25519 seed")
}

/// The key's thumbprint (RFC 7638, RFC 8037 §2): another key has another name.
fn kid(key: &Ed25519KeyPair) -> String {
    let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key());
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    use super::*;

    const SEED: &str = "a-seed-of-at-least-thirty-two-bytes";

    const LIFE: u64 = 60;

    fn signer(seed: &str) -> Signer {
        living(seed, LIFE, 5)
    }

    fn living(seed: &str, life: u64, max_age: u64) -> Signer {
        publishing(seed, life, max_age, &[])
    }

    fn publishing(seed: &str, life: u64, max_age: u64, published: &[&str]) -> Signer {
        Signer::new(&Config {
            seed: Secret::new(seed),
            published: published.iter().copied().map(Secret::new).collect(),
            audience: "internal".into(),
            life: Duration::from_secs(life),
            max_age: Duration::from_secs(max_age),
        })
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn claims(assertion: &HeaderValue) -> Assertion {
        let claims = assertion.to_str().unwrap().split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_is_verified_with_the_published_key() {
        let signer = signer(SEED);
        let now = jsonwebtoken::get_current_timestamp();
        let jwks = signer.jwks();
        let key = DecodingKey::from_ed_components(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["internal"]);
        validation.set_issuer(&[ISSUER]);
        for time in ["at first", "again"] {
            let assertion = signer.assert(&user("u1"), None, UnixSeconds(now));
            let token =
                jsonwebtoken::decode::<Assertion>(assertion.to_str().unwrap(), &key, &validation).unwrap();
            assert_eq!(token.claims.sub, "u1", "{time}");
            assert_eq!(format!("{assertion:?}"), "Sensitive", "{time}");
            assert_eq!(token.claims.exp, now + LIFE, "{time}");
            assert_eq!(token.header.kid.as_deref(), jwks["keys"][0]["kid"].as_str(), "{time}");
        }
    }

    #[test]
    fn whoever_calls_again_soon_gets_the_same_assertion_and_nobody_else_does() {
        let signer = signer(SEED);
        let first = signer.assert(&user("u1"), None, UnixSeconds(1000));
        assert_eq!(
            signer.assert(&user("u1"), None, UnixSeconds(1013)),
            first,
            "a quarter of 60 - 5 seconds later"
        );
        assert_eq!(claims(&signer.assert(&user("u2"), None, UnixSeconds(1013))).sub, "u2");
        assert_eq!(claims(&signer.assert(&user("u1"), None, UnixSeconds(1014))).iat, 1014, "later than that");
        assert_eq!(
            claims(&signer.assert(&user("u1"), None, UnixSeconds(999))).iat,
            999,
            "the clock was set back"
        );
    }

    #[test]
    fn what_a_user_is_elsewhere_is_signed_and_is_nobody_elses_nor_their_own_at_another_time() {
        let signer = signer(SEED);
        let member = |role: &str| {
            let organization = identity::Organization::new("o1", Some("acme"), Some(role));
            Membership::new(Some("authenticated"), organization).map(Arc::new)
        };
        let assert = |user: &str, membership: &Option<Arc<Membership>>| {
            signer.assert(&self::user(user), membership.as_ref(), UnixSeconds(1000))
        };
        for time in ["at first", "again"] {
            for (user, told) in
                [("u1", member("owner")), ("u1", member("member")), ("u1", None), ("u2", None)]
            {
                let claims = claims(&assert(user, &told));
                let told = told.as_deref().cloned();
                assert_eq!((&*claims.sub, claims.membership), (user, told), "{time}");
            }
        }
        assert_eq!(assert("u1", &member("owner")), assert("u1", &member("owner")));
    }

    #[test]
    fn what_is_handed_out_outlives_the_verdict_and_no_more_than_its_life() {
        for (life, max_age) in [(1, 0), (2, 1), (4, 0), (60, 5), (60, 59), (120, 0), (120, 5), (120, 119)] {
            let signer = living(SEED, life, max_age);
            for now in 1000..1000 + 2 * life {
                let Assertion { iat, exp, .. } = claims(&signer.assert(&user("u1"), None, UnixSeconds(now)));
                assert_eq!(exp, iat + life, "{life}, {max_age}, at {now}");
                assert!(iat <= now && exp > now + max_age, "{life}, {max_age}, at {now}: {iat} to {exp}");
            }
        }
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let signer = signer(SEED);
        for number in 0..CACHED_MAX + 1000 {
            signer.assert(&user(&format!("u{number}")), None, UnixSeconds(1000));
        }
        signer.cache.run_pending_tasks();
        assert!((1..=CACHED_MAX).contains(&signer.cache.entry_count()), "{}", signer.cache.entry_count());
    }

    #[test]
    fn keys_that_others_sign_with_are_published_behind_our_own_and_none_twice() {
        let (old, new) = ("an-older-seed-of-thirty-two-bytes-", "a-newer-seed-of-thirty-two-bytes--");
        let signer = publishing(SEED, LIFE, 5, &[old, SEED, new, old]);
        let kid = |seed: &str| self::signer(seed).jwks()["keys"][0]["kid"].clone();
        let published = signer.jwks();
        let published: Vec<_> = published["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        assert_eq!(published, [&kid(SEED), &kid(old), &kid(new)]);
    }

    #[test]
    fn replicas_with_one_seed_sign_alike_and_others_do_not() {
        assert_eq!(signer(SEED).jwks(), signer(SEED).jwks());
        assert_ne!(signer(SEED).jwks(), signer("another-seed-of-thirty-two-bytes-or-more").jwks());
    }
}
