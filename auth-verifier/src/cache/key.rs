//! How what is remembered of a credential is found again: by a keyed hash of it, never by the credential, so that
//! whoever reads our memory doesn't read what lets somebody in.

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand,
};

/// The keyed hash of something. Nobody can make one that fits another credential, nor tell from it what it is of.
pub type Tag = [u8; 32];

/// Makes tags, with a key that is this process's alone.
pub struct Tagger(hmac::Key);

impl Tagger {
    /// With a new key.
    pub fn new() -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key).expect("the system has random numbers");
        Self(hmac::Key::new(HMAC_SHA256, &key))
    }

    /// The tag of `text`, which is of that `kind`: the same text of another kind has another tag.
    pub fn tag(&self, kind: u8, text: &str) -> Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[kind]);
        context.update(text.as_bytes());
        context.sign().as_ref().try_into().expect("SHA-256 makes 32 bytes")
    }
}

impl Default for Tagger {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_one_text_of_one_kind_in_one_process() {
        let (tagger, other) = (Tagger::new(), Tagger::new());
        assert_eq!(tagger.tag(1, "a"), tagger.tag(1, "a"));
        assert_ne!(tagger.tag(1, "a"), tagger.tag(2, "a"));
        assert_ne!(tagger.tag(1, "a"), tagger.tag(1, "b"));
        assert_ne!(tagger.tag(1, "a"), other.tag(1, "a"));
    }
}
