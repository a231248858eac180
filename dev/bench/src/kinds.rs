//! Every kind of credential that is measured: a good one, a forged one, and the peer that the good one stands beside.

use aws_lc_rs::{
    cipher::{AES_256, PaddedBlockEncryptingKey, UnboundCipherKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use tokio_postgres::Statement;

use crate::{
    issuer::{ALGORITHMS, Issuer, Signed},
    world::{self, ISSUER, SECRET, World, claims, cookie},
};

/// A session that stands in no table: a request that is accepted with it was accepted by its cookie cache.
const CACHED: &str = "SessionThatIsInNoTable0000000000";

/// One kind of credential.
pub struct Kind {
    /// Its name in the table.
    pub name: String,
    /// What it is compared with.
    pub peer: Peer,
    /// Headers that are accepted as [`Kind::USER`]'s.
    pub good: HeaderMap,
    /// The same with an invalid signature, or of an unknown session.
    pub forged: HeaderMap,
    /// The settings that it needs.
    pub variables: Vec<(&'static str, &'static str)>,
}

/// The least that has to be done for such a credential.
pub enum Peer {
    /// Its signature is checked by aws-lc-rs.
    Signature(Signed),
    /// The database answers a question that touches no table.
    RoundTrip(Statement),
}

impl Kind {
    /// The user of all good ones.
    pub const USER: &'static str = "u0";

    /// All of them.
    pub async fn all(world: &World) -> Result<Vec<Self>, tokio_postgres::Error> {
        let mut kinds: Vec<_> = ALGORITHMS.into_iter().map(|alg| jwt(world.issuer(alg))).collect();
        let ask = || world.client.prepare("select $1::text");
        let token = world::session(0);
        kinds.push(Self {
            name: "session cookie".into(),
            peer: Peer::RoundTrip(ask().await?),
            good: one(header::COOKIE, &cookie(&token)),
            forged: one(header::COOKIE, &forged(&cookie(&token))),
            variables: Vec::new(),
        });
        kinds.push(Self {
            name: "bare session token".into(),
            peer: Peer::RoundTrip(ask().await?),
            good: bearer(&token),
            forged: bearer(CACHED),
            variables: vec![("AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER", "on")],
        });
        kinds.extend([compact(), cache_jwt(), jwe(), jwt_jwks(world.issuer("EdDSA"))]);
        Ok(kinds)
    }
}

fn one(name: HeaderName, value: &str) -> HeaderMap {
    let value = HeaderValue::from_str(value).expect("credentials are ASCII");
    HeaderMap::from_iter([(name, value)])
}

/// `Authorization: Bearer`.
pub fn bearer(token: &str) -> HeaderMap {
    one(header::AUTHORIZATION, &format!("Bearer {token}"))
}

/// A credential with one letter of its signature changed, well before the end, where every bit counts.
pub fn forged(credential: &str) -> String {
    let at = credential.len() - 20;
    let other = if credential.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &credential[..at], &credential[at + 1..])
}

fn jwt(issuer: &Issuer) -> Kind {
    let token = issuer.token(None, &claims(Kind::USER));
    let (signed, _) = token.rsplit_once('.').expect("a token has a signature");
    Kind {
        name: format!("JWT, {}", issuer.alg),
        peer: Peer::Signature(issuer.signed(signed.into())),
        good: bearer(&token),
        forged: bearer(&forged(&token)),
        variables: Vec::new(),
    }
}

/// The contents of Better Auth's cookie cache.
fn contents() -> Value {
    let date = "2026-01-01T00:00:00.000Z";
    let far = "2100-01-01T00:00:00.000Z";
    let user = Kind::USER;
    json!({
        "session": {
            "id": "s1", "token": CACHED, "userId": user, "expiresAt": far, "createdAt": date, "updatedAt": date,
            "ipAddress": "127.0.0.1", "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        },
        "user": {
            "id": user, "name": "Ada Lovelace", "email": "u0@example.com", "emailVerified": true, "image": null,
            "createdAt": date, "updatedAt": date,
        },
        "updatedAt": 1_767_225_600_000_u64, "version": "1",
    })
}

/// The same, with more members.
fn contents_with(further: Value) -> Value {
    let mut contents = contents();
    let (Value::Object(all), Value::Object(further)) = (&mut contents, further) else {
        unreachable!("objects")
    };
    all.extend(further);
    contents
}

fn ends() -> u64 {
    world::now() + 6 * 3600
}

/// A cookie cache beside its session's cookie.
fn cache(strategy: &'static str, signed: Signed, data: &str, bad: &str) -> Kind {
    let beside =
        |data: &str| one(header::COOKIE, &format!("{}; better-auth.session_data={data}", cookie(CACHED)));
    Kind {
        name: format!("cookie cache, {strategy}"),
        peer: Peer::Signature(signed),
        good: beside(data),
        forged: beside(bad),
        variables: vec![("AUTH_VERIFIER_COOKIE_CACHE__STRATEGY", strategy)],
    }
}

fn compact() -> Kind {
    let (session, expires) = (contents().to_string(), ends() * 1000);
    let text = format!("{},\"expiresAt\":{expires}}}", &session[..session.len() - 1]);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes()));
    let envelope = |signature: &str| {
        let envelope = format!(r#"{{"session":{session},"expiresAt":{expires},"signature":"{signature}"}}"#);
        BASE64_URL_SAFE_NO_PAD.encode(envelope)
    };
    let signed = Signed::by_hmac(hmac::HMAC_SHA256, SECRET.as_bytes(), text.clone().into());
    cache("compact", signed, &envelope(&signature), &envelope(&forged(&signature)))
}

fn cache_jwt() -> Kind {
    let issuer = Issuer::new("HS256", SECRET);
    let token = issuer.token(None, &contents_with(json!({"exp": ends()})));
    let (signed, _) = token.rsplit_once('.').expect("a token has a signature");
    cache("jwt", issuer.signed(signed.into()), &token, &forged(&token))
}

fn jwt_jwks(issuer: &Issuer) -> Kind {
    let name = "better-auth:session-cache";
    let own = json!({"exp": ends(), "iat": world::now(), "iss": ISSUER, "aud": name, "sub": Kind::USER, "sid": CACHED});
    let token = issuer.token(Some("better-auth.session-cache+jwt"), &contents_with(own));
    let (signed, _) = token.rsplit_once('.').expect("a token has a signature");
    cache("jwt-jwks", issuer.signed(signed.into()), &token, &forged(&token))
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        64
    }
}

/// RFC 7516 §5.1, RFC 7518 §5.2, with the key that Better Auth derives. Its peer checks the tag, and decrypts nothing.
fn jwe() -> Kind {
    let mut derived = [0; 64];
    Salt::new(HKDF_SHA256, b"better-auth-session")
        .extract(SECRET.as_bytes())
        .expand(&[b"BetterAuth.js Generated Encryption Key"], KeyLength)
        .and_then(|derivation| derivation.fill(&mut derived))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    let (mac, cipher) = derived.split_at(32);
    let mut sealed = contents_with(json!({"exp": ends()})).to_string().into_bytes();
    let cipher = UnboundCipherKey::new(&AES_256, cipher).and_then(PaddedBlockEncryptingKey::cbc_pkcs7);
    let context = cipher.and_then(|cipher| cipher.encrypt(&mut sealed)).expect("AES encrypts");
    let iv = <&[u8]>::try_from(&context).expect("CBC has an initialization vector").to_vec();
    let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let header = b64(br#"{"alg":"dir","enc":"A256CBC-HS512"}"#);
    let header_bits = (header.len() as u64 * 8).to_be_bytes();
    let message = [header.as_bytes(), &iv, &sealed, &header_bits].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, mac), &message);
    let value = |tag: &str| format!("{header}..{}.{}.{tag}", b64(&iv), b64(&sealed));
    let tag = b64(&tag.as_ref()[..32]);
    cache("jwe", Signed::by_hmac(hmac::HMAC_SHA512, mac, message), &value(&tag), &value(&forged(&tag)))
}
