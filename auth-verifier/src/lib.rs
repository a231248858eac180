//! Who is calling?
//!
//! A sidecar that checks what Better Auth hands out, with no hop to Node, for our gateway or any proxy that can
//! ask for a verdict. A request's walk: which credential does it carry ([`credential`]), is it good ([`jwt`], by
//! published keys or a shared secret; [`session`], by the cookie cache beside it or by a look-up in [`better_auth`]), and
//! what is the [`verdict`], with a signed assertion of who it is. It is spoken over HTTP or gRPC ([`transport`]).

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test reads what we made"))]

// The words that all of it speaks.
pub mod person;
pub mod rejection;
pub mod secrets;

pub mod settings;

// What does a request carry, is it good,
pub mod credential;
pub mod jwt;
pub mod session;

// and what is that checked by?
pub mod better_auth;
pub mod cache;

// The answer, and the protocols that it is spoken in.
pub mod transport;
pub mod verdict;

// For people.
pub mod diagnostics;

mod cli;

pub use cli::main;
