//! The identity contract: how the services tell one another who is calling.
//!
//! auth-verifier's verdict has the identity headers of [`names`], the gateway puts them on the request that it
//! forwards, and a service behind it believes them only together with the assertion that auth-verifier has signed.
#![cfg_attr(feature = "verifier", doc = "[`Verifier`] checks that.")]

pub mod names;

mod assertion;
mod credential_cookies;
mod credential_kind;
mod credential_scopes;
mod membership;
mod small_order;
mod user;

#[cfg(feature = "verifier")]
pub mod metrics;
#[cfg(feature = "verifier")]
mod verifier;

#[cfg(feature = "verifier")]
pub use self::verifier::{KeySet, Rejection, Verifier, VerifyError};
pub use self::{
    assertion::Assertion,
    credential_cookies::CredentialCookies,
    credential_kind::CredentialKind,
    credential_scopes::{CredentialScopes, is_scope},
    membership::{Membership, Organization},
    names::*,
    small_order::is_of_small_order,
    user::{Email, UserId},
};
