//! Whose credential it is, whichever kind that is.

use chassis::identity::{Email, UserId};

/// The owner of a credential, as it, or whoever was asked about it, tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user: UserId,
    /// The e-mail address, where it is known and can stand in a header.
    pub email: Option<Email>,
    /// When the credential ends, in seconds since 1970.
    pub expires: u64,
    /// Whether the account is banned (admin plugin).
    pub banned: bool,
}
