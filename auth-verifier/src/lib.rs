//! Who is calling?
//!
//! A sidecar that checks what Better Auth hands out, with no hop to Node, for our gateway or any proxy that can
//! ask for a verdict. A request's walk: which credential does it carry ([`credential`]), is it good ([`jwt`], by
//! the [`keys`]), and what is the answer ([`verdict`], with a signed [`assertion`] of who it is), spoken over
//! HTTP ([`http`]).

pub mod secrets;
pub mod settings;

pub mod cookies;
pub mod credential;
pub mod jwt;
pub mod session;
pub mod session_data;
pub mod sessions;
pub mod verdict;

pub mod assertion;
pub mod http;
pub mod keys;

pub mod inspect;
pub mod token;

mod cli;
mod json;
mod rejection;

pub use cli::main;
pub use rejection::{Claimed, Rejection, Unavailable, Unverified};
