//! auth-verifier through its real stack, with keys fetched over a real socket.

#![expect(clippy::unwrap_used, reason = "a test that breaks should say where")]
#![expect(clippy::disallowed_methods, reason = "a test reads what we answered")]

mod access_tokens;
mod authorities;
mod authority_of_ones_own;
mod cached_tokens;
mod cookie_cache;
mod doctor;
mod grpc;
mod hostile;
mod hs256;
mod identity_contract;
mod issuer;
mod key_sources;
mod keys;
mod neon;
mod nested;
mod parted;
mod poolers;
mod recorded;
mod revocation;
mod sessions;
mod sessions_database;
mod settings;
mod slow_lookups;
mod tables;
mod token;
mod verdict;
mod world;
mod wycheproof;
