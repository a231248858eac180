//! The identity contract: how the services tell one another who is calling.
//!
//! auth-verifier's verdict has the identity headers of [`names`], the gateway puts them on the request that it forwards, and
//! a service behind it believes them only together with the assertion that auth-verifier has signed.

mod assertion;
mod credential_cookies;
mod credential_kind;
mod keys;
pub mod names;
mod user;

use serde::{Deserialize, Serialize};

pub use self::{
    assertion::{Proof, Rejection},
    credential_cookies::CredentialCookies,
    credential_kind::CredentialKind,
    keys::KeySet,
    names::*,
    user::{Email, UserId},
};

/// The claims of an identity assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// Always [`ISSUER`].
    pub iss: String,
    /// The user's id; equals [`USER_ID`] on the same request.
    pub sub: String,
    /// The services it is meant for.
    pub aud: String,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970; at most [`ASSERTION_LIFE_MAX`] after `iat`.
    pub exp: u64,
}
