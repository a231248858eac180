//! Shared by the fuzz targets: recorded credentials of Better Auth, a verifier that knows them, and signing and sealing of
//! inputs, because guessing never gets past a signature.

pub mod another;
pub mod cache;
pub mod http1;
pub mod recorded;
pub mod world;

mod seal;

pub use seal::jws;

/// The secret that the recording was signed with.
pub fn secret() -> &'static str {
    recorded::text(&recorded::recorded()["secret"])
}
