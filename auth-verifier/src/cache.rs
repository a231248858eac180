//! What is remembered of credentials, found by a keyed hash.

pub mod evicted;
pub mod key;
pub mod verified;
