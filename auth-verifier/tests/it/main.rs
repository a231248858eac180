//! auth-verifier through its real stack, with keys fetched over a real socket.

#![expect(clippy::unwrap_used, reason = "a test that breaks should say where")]

mod hs256;
mod issuer;
mod keys;
mod recorded;
mod sessions;
mod sessions_database;
mod token;
mod verdict;
mod world;
