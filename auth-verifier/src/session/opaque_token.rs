//! Opaque access tokens of Better Auth's OAuth provider, looked up in its table.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    better_auth::lookups::{Found, Lookups, Question},
    credential::asker::Asker,
    jwt::AccessTokens,
    rejection::{Rejection, Unverified},
};

/// The longest that is looked up, in bytes. Better Auth's own have 32 letters, behind the prefix.
const BYTES_MAX: usize = 256;

/// How they are checked.
pub struct OpaqueTokens {
    /// What they begin with (`prefix.opaqueAccessToken`).
    pub prefix: String,
    /// Whom they must be for, and what they must allow.
    pub demands: AccessTokens,
    /// Where they are looked up.
    pub lookups: Arc<Lookups>,
}

impl OpaqueTokens {
    /// A token without its prefix, if it may be one.
    pub fn unprefixed<'a>(&self, token: &'a str) -> Option<&'a str> {
        let token = token.strip_prefix(&self.prefix)?;
        let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && (32..=BYTES_MAX).contains(&token.len())).then_some(token)
    }

    /// What a token, without its prefix, stands for.
    pub async fn verify(&self, token: &str, asker: Asker) -> Result<Found, Unverified> {
        // As the provider keeps them (`storeTokens: "hashed"`).
        let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
        let found = self.lookups.find(Question::AccessToken(&hash), asker).await?;
        let found = found.ok_or(Rejection::NoAccessToken)?;
        let resources = &found.grant.resources;
        let ours = &self.demands.parties.audiences;
        // None was asked for, or one of ours.
        if !resources.is_empty() && !resources.iter().any(|resource| ours.contains(resource)) {
            let found = crate::rejection::Claimed::new(&resources.join(", "));
            return Err(Rejection::Resource { found, expected: ours.clone() }.into());
        }
        self.demands.check_scopes(found.grant.scopes.iter().map(String::as_str))?;
        Ok(found)
    }
}
