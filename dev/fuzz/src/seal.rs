//! Signs and encrypts as Better Auth does.

use aws_lc_rs::{
    cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey},
    hkdf, hmac,
    iv::FixedLength,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::secret;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn mac(text: &str) -> String {
    base64(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret().as_bytes()), text.as_bytes()))
}

/// A token, HS256, of any header and any claims.
pub fn jws(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", base64(header), base64(claims));
    format!("{signed}.{}", mac(&signed))
}

/// A compact cache of any session.
pub fn compact(session: &str, expires_ms: u64) -> String {
    let end = format!("\"expiresAt\":{expires_ms}");
    let signature = mac(&format!("{},{end}}}", session.strip_suffix('}').unwrap_or(session)));
    base64(format!("{{\"session\":{session},{end},\"signature\":\"{signature}\"}}"))
}

/// An encrypted cache of any claims.
pub fn jwe(claims: &[u8]) -> String {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"better-auth-session");
    let secret = salt.extract(secret().as_bytes());
    let key = secret.expand(&[b"BetterAuth.js Generated Encryption Key"], hkdf::HKDF_SHA512);
    let mut bytes = [0; 64];
    key.and_then(|key| key.fill(&mut bytes)).expect("64 bytes can be had");
    let (for_mac, for_cipher) = bytes.split_at(32);

    let cipher = UnboundCipherKey::new(&AES_256, for_cipher).and_then(PaddedBlockEncryptingKey::cbc_pkcs7);
    let iv = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    let mut sealed = claims.to_vec();
    cipher.and_then(|cipher| cipher.less_safe_encrypt(&mut sealed, iv)).expect("any bytes can be encrypted");

    let header = base64(r#"{"alg":"dir","enc":"A256CBC-HS512"}"#);
    let header_bits = (header.len() as u64 * 8).to_be_bytes();
    let tagged = [header.as_bytes(), &[0; 16], &sealed, &header_bits].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, for_mac), &tagged);
    format!("{header}..{}.{}.{}", base64([0; 16]), base64(&sealed), base64(&tag.as_ref()[..32]))
}
