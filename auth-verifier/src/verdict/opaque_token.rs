//! Opaque access tokens of Better Auth's OAuth provider, looked up in its table.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use identity::CredentialScopes;

use crate::{
    better_auth::{
        database::Access,
        lookups::{Found, Lookups, Question},
    },
    credential::{asker::Asker, kind::is_opaque_access_token},
    jwt::AccessTokens,
    rejection::{Rejection, Untrusted, Unverified},
};

/// Verifies opaque access tokens.
pub(crate) struct OpaqueTokens {
    /// The prefix of each (`prefix.opaqueAccessToken`).
    pub(crate) prefix: String,
    /// The resources that they must be for, and the scopes that they must have.
    pub(crate) demands: AccessTokens,
    /// Where they are looked up.
    pub(crate) lookups: Arc<Lookups>,
}

impl OpaqueTokens {
    /// Strips the prefix; `None` if this cannot be an opaque token.
    pub(crate) fn unprefixed<'a>(&self, token: &'a str) -> Option<&'a str> {
        token.strip_prefix(&self.prefix).filter(|token| is_opaque_access_token(token))
    }

    /// Verifies a token, which comes without its prefix.
    pub(crate) async fn verify(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        // As the provider keeps them (`storeTokens: "hashed"`).
        let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
        let found = self.lookups.find(Question::AccessToken(&hash), asker).await?;
        let found = found.ok_or(Rejection::NoAccessToken)?;
        let Access::Granted { scopes, resources } = &found.access else {
            // Only a session, or a user, is everything that its owner may do.
            return Err(Rejection::NoAccessToken.into());
        };
        let ours = &self.demands.expected.audiences;
        // Its client asked for none, or for one of ours.
        if !resources.is_empty() && !resources.iter().any(|resource| ours.contains(resource)) {
            let found = Untrusted::new(&resources.join(", "));
            return Err(Rejection::Resource { found, expected: ours.clone() }.into());
        }
        self.demands.check_scopes(scopes.iter().map(String::as_str))?;
        let scopes = CredentialScopes::new(scopes.iter().map(String::as_str));
        Ok(Found { scopes, ..found })
    }
}
