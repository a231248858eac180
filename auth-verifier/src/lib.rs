//! Who is calling?
//!
//! A sidecar that checks the credentials that Better Auth hands out, without a hop to Node, for our gateway or any
//! proxy that can ask for a verdict.
//!
//! Of a request, [`credential`] says what it carries. [`jwt`] verifies tokens by published keys or the shared secret,
//! [`session`] the signature of a session and the cookie cache beside it; what has to be looked up, [`better_auth`]
//! looks up. [`verdict`] puts them together, with a signed assertion of who is calling, and [`transport`] carries the
//! answer, over HTTP or gRPC. [`settings`] stand above all of these: they are parsed into a [`settings::Plan`], and the
//! verifier is built from that.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test reads what we made"))]

// From the bottom up: no module imports one below it in this list. A test holds them to that (`sources.rs`).
mod loose;
pub mod metrics;
pub mod person;
pub mod rejection;
pub mod secrets;

mod cache;

pub mod credential;

pub mod jwt;

pub mod session;

pub mod better_auth;

pub mod verdict;

pub mod transport;

pub mod settings;

mod build;

pub mod diagnostics;

mod cli;

#[cfg(test)]
mod sources;

pub use cli::main;
