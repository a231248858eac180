//! A write that is done once, however often it is sent.

use super::digest::digest;

/// Names a write of a user's, and says what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    key: String,
    request: [u8; 32],
    turn: i64,
}

impl Once {
    /// The longest key, in characters.
    pub const KEY_CHARS_MAX: usize = 255;

    /// A write under a key of the client's, which is 1 to 255 visible characters of ASCII, and otherwise `None`. `request` is
    /// all that was asked: under the same key, nothing else may be.
    pub fn new(user: &str, key: &[u8], request: &[&[u8]]) -> Option<Self> {
        let is_key = (1..=Self::KEY_CHARS_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
        let key = str::from_utf8(key).ok().filter(|_| is_key)?.to_owned();
        let named = digest(&[b"turn", user.as_bytes(), key.as_bytes()]);
        let turn = named.first_chunk().copied().map(i64::from_be_bytes)?;
        Some(Self { key, request: digest(request), turn })
    }

    /// The client's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A digest of what was asked.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// A number of this user and key, by which one of two who come at the same time goes first.
    pub fn turn(&self) -> i64 {
        self.turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_1_to_255_visible_characters() {
        for good in ["k", "\"quoted\"", "3f1c2a9e-7d1b-4a51-9a0e-5f3f0c7f6b11", &"k".repeat(255)] {
            assert_eq!(Once::new("u1", good.as_bytes(), &[]).unwrap().key(), good);
        }
        for bad in ["", " ", "a b", "ü", "a\tb", &"k".repeat(256)] {
            assert_eq!(Once::new("u1", bad.as_bytes(), &[]), None, "{bad:?}");
        }
    }

    #[test]
    fn users_and_keys_have_turns_of_their_own_and_requests_their_digest() {
        let once = |user, key: &str, request: &[&[u8]]| Once::new(user, key.as_bytes(), request).unwrap();
        let first = once("u1", "k", &[b"a", b"b"]);
        assert_eq!(first, once("u1", "k", &[b"a", b"b"]));
        assert_ne!(first.turn(), once("u2", "k", &[]).turn());
        assert_ne!(first.turn(), once("u1", "k2", &[]).turn());
        assert_ne!(once("u1k", "k", &[]).turn(), once("u1", "kk", &[]).turn());
        for other in [&[&b"ab"[..], b""][..], &[b"a"], &[b"a", b"c"], &[b"", b"ab"]] {
            let other = once("u1", "k", other);
            assert_eq!(first.turn(), other.turn());
            assert_ne!(first.request(), other.request());
        }
    }
}
