//! What an assertion says.

use serde::{Deserialize, Serialize};

use crate::Membership;

/// The claims of an identity assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// Who signed it: [`ISSUER`](crate::ISSUER).
    pub iss: String,
    /// The user's id; equals [`USER_ID`](crate::USER_ID) on the same request.
    pub sub: String,
    /// Which services it is for; `internal` unless auth-verifier's settings say otherwise.
    pub aud: String,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// When it expires, in seconds since 1970; at most [`ASSERTION_LIFE_MAX`](crate::ASSERTION_LIFE_MAX) after `iat`.
    pub exp: u64,
    /// The user's role and organization, where auth-verifier is set to tell them; equals
    /// [`MEMBERSHIP`](crate::MEMBERSHIP) on the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<Membership>,
}
