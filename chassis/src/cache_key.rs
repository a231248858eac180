//! Keys of caches that hold what was found out about credentials. An entry is looked up by a keyed hash, never by the
//! credential, so that a core dump holds nothing that lets anybody in.
//!
//! The hash decides whose entry a caller gets, so it must be impossible to make two credentials with one key. That
//! takes a pseudorandom function: BLAKE3 with a random key (the specification's §2.3 and §6.1) is one, at a quarter of
//! the instructions of HMAC-SHA256. A hash for hash tables (SipHash-1-3, aHash) would be cheaper still, but an entry
//! found by one has to be compared with the credential itself, which would then have to be kept.

use std::hash::{BuildHasher, Hash, Hasher};

use aws_lc_rs::rand;

/// Finds an entry: a keyed hash of a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheKey([u8; blake3::OUT_LEN]);

impl Hash for CacheKey {
    /// By its first bytes, which nobody can choose.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let first = self.0.first_chunk().expect("it has 32");
        state.write_u64(u64::from_le_bytes(*first));
    }
}

/// Hashes cache keys for a table of them: a key is a hash already, and to hash it again costs as much as to find it.
#[derive(Clone, Copy, Default)]
pub struct AsItIs(u64);

impl BuildHasher for AsItIs {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        // Of two numbers, both count.
        self.0 = self.0.rotate_left(8) ^ hash;
    }
}

impl CacheKey {
    /// One that is not a hash of anything, for tests.
    pub fn of(bytes: [u8; blake3::OUT_LEN]) -> Self {
        Self(bytes)
    }
}

/// Makes cache keys, with a random key of its own: they mean nothing to another cache or another process.
pub struct CacheKeyer([u8; blake3::KEY_LEN]);

impl CacheKeyer {
    /// With a new key.
    #[expect(clippy::new_without_default, reason = "no two are the same")]
    pub fn new() -> Self {
        let mut key = [0; blake3::KEY_LEN];
        rand::fill(&mut key).expect("the system has random numbers");
        Self(key)
    }

    /// The cache key of `pieces` in this order. Where one ends and the next begins must show in them.
    pub fn key<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> CacheKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for piece in pieces {
            hasher.update(piece);
        }
        CacheKey(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_key_is_of_one_text_in_one_process() {
        let (keyer, other) = (CacheKeyer::new(), CacheKeyer::new());
        let key = |keyer: &CacheKeyer, pieces: &[&'static str]| {
            keyer.key(pieces.iter().map(|piece| piece.as_bytes())).0
        };
        assert_eq!(key(&keyer, &["a", "b"]), key(&keyer, &["a", "b"]));
        assert_ne!(key(&keyer, &["a", "b"]), key(&keyer, &["b", "a"]));
        assert_ne!(key(&keyer, &["a"]), key(&other, &["a"]));
    }
}
