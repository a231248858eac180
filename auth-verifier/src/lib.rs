//! Who is calling?
//!
//! A sidecar that checks what Better Auth hands out, with no hop to Node, for our gateway or any proxy that can
//! ask for a verdict. A request's walk: which credential does it carry ([`credential`]), is it good ([`jwt`], by
//! the [`keys`] of an [`authority`], and whether it was revoked ([`revocation`]); [`session`], by the [`session_data`]
//! beside it or by a look-up; [`access_token`]), and what is the answer ([`verdict`], with a signed [`assertion`] of
//! who it is). What a verdict says to whoever asked is one [`answer`], spoken over [`http`] or [`grpc`].

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test reads what we made"))]

pub mod secrets;
pub mod settings;

// What does a request carry, and who asks about it?
pub mod asker;
pub mod cookies;
pub mod credential;

// Is it good? A JWT,
pub mod jws;
pub mod jwt;
pub mod revocation;

// a session's cookie or token,
pub mod session;
pub mod session_data;
pub mod session_token;

// or another token that has to be looked up.
pub mod access_token;

// What it is checked by, and where that is come by.
pub mod authority;
pub mod database;
pub mod keys;
pub mod lookups;
pub mod remembered;

// The answer, and the protocols that it is spoken in.
pub mod verdict;

pub mod assertion;

pub mod verifier;

pub mod answer;
pub mod grpc;
pub mod http;

// For people.
pub mod doctor;
pub mod inspect;
pub mod token;

mod claims;
mod cli;
mod evicted;
mod misnamed;
mod pasted;
mod person;
mod rejection;
mod tag;

pub use claims::{Named, Parties};
pub use cli::main;
pub use person::Person;
pub use rejection::{Claimed, Rejection, Says, Unavailable, Unverified};
