//! Somebody whose tokens are accepted: the names it goes by, its keys, and whose users its users are.

use identity::UserId;

use crate::jwt::{claims::Parties, keys::Keys};

/// An issuer, under all its names, with its own keys.
pub struct Authority {
    /// Whom its API tokens must come from and be meant for.
    pub parties: Parties,
    /// What they are signed with.
    pub keys: Keys,
    /// Whose users these are.
    pub users: Users,
}

/// Whose users an authority speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// Better Auth's own, who are in its tables.
    Own,
    /// Somebody else's; their ids get a prefix, so that none is taken for anybody else's. It may be empty: then all
    /// authorities that have none share their users.
    Others(String),
}

impl Users {
    /// The user whom an authority calls `sub`; `None` if that can't be a user id.
    pub fn named(&self, sub: &str) -> Option<UserId> {
        match self {
            Self::Own => UserId::parse(sub),
            Self::Others(prefix) => UserId::parse(&format!("{prefix}{sub}")),
        }
    }

    /// Whether what an authority says of its users' addresses can be passed on: an address has no prefix, and whoever has
    /// users of their own must not make up one of ours.
    pub fn are_ours(&self) -> bool {
        match self {
            Self::Own => true,
            Self::Others(prefix) => prefix.is_empty(),
        }
    }
}
