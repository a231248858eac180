//! The signature algorithms that tokens may be signed with.

use crate::{credential::jws::Jws, rejection::Rejection};

/// A signature algorithm (RFC 7518 §3.1, RFC 8037, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum Algorithm {
    EdDsa,
    Es256,
    Es384,
    Es512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Hs256,
}

impl Algorithm {
    /// The algorithm that a token's header names. It must also be the one of the key that verifies it.
    pub(crate) fn of(jws: &Jws<'_>) -> Result<Self, Rejection> {
        Self::named(jws.alg()).ok_or_else(|| jws.unaccepted())
    }

    /// By its name in a header or a key.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            // The same algorithm, under its old and its new name.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "HS256" => Self::Hs256,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Hs256 => "HS256",
        }
    }

    /// Whether it is for RSA keys, which may be for several.
    pub fn is_rsa(self) -> bool {
        use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        matches!(self, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512)
    }

    /// As jsonwebtoken knows it; ES512 it doesn't.
    pub(super) fn in_library(self) -> Option<jsonwebtoken::Algorithm> {
        use jsonwebtoken::Algorithm as Library;
        Some(match self {
            Self::EdDsa => Library::EdDSA,
            Self::Es256 => Library::ES256,
            Self::Es384 => Library::ES384,
            Self::Es512 => return None,
            Self::Rs256 => Library::RS256,
            Self::Rs384 => Library::RS384,
            Self::Rs512 => Library::RS512,
            Self::Ps256 => Library::PS256,
            Self::Ps384 => Library::PS384,
            Self::Ps512 => Library::PS512,
            Self::Hs256 => Library::HS256,
        })
    }
}
