//! `jwe`: a compact JWE, `dir` with A256CBC-HS512 (`crypto/jwt.ts`, `symmetricDecodeJWT`; RFC 7516, RFC 7518 §5.2).

use aws_lc_rs::{
    cipher::{AES_256, AES_CBC_IV_LEN, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey},
    digest,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
    iv::FixedLength,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chassis::json;
use serde::Deserialize;

use super::{Dated, Opened};

const SALT: &[u8] = b"better-auth-session";
const INFO: &[u8] = b"BetterAuth.js Generated Encryption Key";

/// The keys of all secrets that the application knows: after a rotation an older one still opens what it closed.
pub struct Keys(Vec<Key>);

struct Key {
    thumbprint: String,
    mac: hmac::Key,
    cipher: [u8; 32],
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        64
    }
}

impl Keys {
    /// Derives a key of each secret.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self(secrets.into_iter().map(Key::derive).collect())
    }
}

impl Key {
    fn derive(secret: &str) -> Self {
        let mut derived = [0; 64];
        Salt::new(HKDF_SHA256, SALT)
            .extract(secret.as_bytes())
            .expand(&[INFO], KeyLength)
            .and_then(|derivation| derivation.fill(&mut derived))
            .expect("HKDF-SHA256 gives up to 8160 bytes");
        // RFC 7638: how the header names the key.
        let jwk = format!(r#"{{"k":"{}","kty":"oct"}}"#, BASE64_URL_SAFE_NO_PAD.encode(derived));
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, jwk.as_bytes()));
        let (mac, cipher) = derived.split_at(32);
        let cipher = cipher.try_into().expect("64 bytes are twice 32");
        Self { thumbprint, mac: hmac::Key::new(hmac::HMAC_SHA512, mac), cipher }
    }

    /// RFC 7518 §5.2.2.2: the tag first, in constant time; only then is anything decrypted.
    fn decrypt(&self, aad: &str, iv: &[u8], mut sealed: Vec<u8>, tag: &[u8]) -> Option<Vec<u8>> {
        let iv: [u8; AES_CBC_IV_LEN] = iv.try_into().ok()?;
        let aad_bits = (u64::try_from(aad.len()).ok()? * 8).to_be_bytes();
        let mut context = hmac::Context::with_key(&self.mac);
        for part in [aad.as_bytes(), &iv, &sealed, &aad_bits] {
            context.update(part);
        }
        let expected = context.sign();
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..32], tag).ok()?;
        let cipher =
            PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &self.cipher).ok()?).ok()?;
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        Some(cipher.decrypt(&mut sealed, context).ok()?.to_vec())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    kid: Option<String>,
}

/// Opens it with the key that its header names; with any, where it names none.
pub(super) fn open(value: &str, keys: &Keys) -> Option<Opened> {
    let parts: Vec<&str> = value.split('.').take(6).collect();
    let [header, "", iv, sealed, tag] = parts[..] else { return None };
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let stated: Header = json::object(&decode(header)?)?;
    if stated.alg != "dir" || stated.enc != "A256CBC-HS512" {
        return None;
    }
    let (iv, sealed, tag) = (decode(iv)?, decode(sealed)?, decode(tag)?);
    let meant = keys.0.iter().filter(|key| stated.kid.as_ref().is_none_or(|kid| *kid == key.thumbprint));
    let claims = meant.into_iter().find_map(|key| key.decrypt(header, &iv, sealed.clone(), &tag))?;
    // Decrypting allows for 15 seconds more, but the session in it has ended then (`getSession`).
    json::object::<Dated>(&claims)?.opened()
}
