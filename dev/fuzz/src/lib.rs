//! What the fuzz targets share: what Better Auth handed out, a verifier that knows it, and how to seal what they make
//! up, because what is behind a signature is never reached by guessing.

pub mod another;
pub mod cache;
pub mod recorded;
pub mod world;

mod seal;

pub use seal::jws;

/// The secret that the recording was signed with.
pub fn secret() -> &'static str {
    recorded::text(&recorded::recorded()["secret"])
}
