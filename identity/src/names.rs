//! Headers, paths and constants of the contract: each is written here and nowhere else.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// The path at which auth-verifier gives its verdict, for any method; paths below it mean the same.
pub const VERIFY_PATH: &str = "/verify";

/// The path at which auth-verifier publishes the keys of its assertions: a JWK set (RFC 7517 §5).
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The id of the user who is calling ([`UserId`](crate::UserId)).
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");

/// The user's e-mail address, if it is known ([`Email`](crate::Email)).
pub const USER_EMAIL: HeaderName = HeaderName::from_static("x-user-email");

/// Whether Better Auth has verified that address: `true` or `false`, if it is known.
pub const USER_EMAIL_VERIFIED: HeaderName = HeaderName::from_static("x-user-email-verified");

/// The user's role, where auth-verifier is set to tell it ([`Membership`](crate::Membership)).
pub const USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");

/// The id of the organization that the user acts for, where auth-verifier is set to tell it.
pub const ORGANIZATION_ID: HeaderName = HeaderName::from_static("x-user-organization-id");

/// What that organization is called in URLs.
pub const ORGANIZATION_SLUG: HeaderName = HeaderName::from_static("x-user-organization-slug");

/// The user's role in that organization.
pub const ORGANIZATION_ROLE: HeaderName = HeaderName::from_static("x-user-organization-role");

/// The headers of a [`Membership`](crate::Membership).
pub const MEMBERSHIP: [HeaderName; 4] = [USER_ROLE, ORGANIZATION_ID, ORGANIZATION_SLUG, ORGANIZATION_ROLE];

/// How the user authenticated ([`CredentialKind`](crate::CredentialKind)).
pub const CREDENTIAL: HeaderName = HeaderName::from_static("x-credential");

/// auth-verifier's signed proof of [`USER_ID`]: a compact JWS over an [`Assertion`](crate::Assertion), EdDSA.
pub const ASSERTION: HeaderName = HeaderName::from_static("x-identity-assertion");

/// Which cookies are credentials ([`CredentialCookies`](crate::CredentialCookies)). It is part of a verdict and never
/// of a request to a service.
pub const CREDENTIAL_COOKIES: HeaderName = HeaderName::from_static("x-credential-cookies");

/// What an access token was granted ([`CredentialScopes`](crate::CredentialScopes)), if the credential is one and was granted
/// anything. Without it a caller has no scope. It is part of a verdict and never of a request to a service.
pub const CREDENTIAL_SCOPES: HeaderName = HeaderName::from_static("x-credential-scopes");

/// How long the client of auth-verifier waits for a verdict, in milliseconds. After that auth-verifier answers 503,
/// while the look-up goes on for the next request.
pub const VERDICT_WAIT: HeaderName = HeaderName::from_static("x-verdict-wait-ms");

/// With a 503, a service's word that the request certainly changed nothing, and that another instance may do better: `true`.
/// It is for the gateway, which may then send even a write elsewhere; no client ever hears it.
pub const NOT_APPLIED: HeaderName = HeaderName::from_static("x-internal-not-applied");

/// The `WWW-Authenticate` challenge (RFC 9110 §11.6.1) of a service that rejects an assertion. The gateway answers it
/// with 503: the client's own credential was good, so a 401 would sign people out for a fault of ours.
pub const CHALLENGE: &str = "Identity-Assertion";

/// Every identity header. A client must never be able to set one; on requests to a service only the gateway does.
pub const ALL: [HeaderName; 9] = [
    USER_ID,
    USER_EMAIL,
    USER_EMAIL_VERIFIED,
    CREDENTIAL,
    ASSERTION,
    USER_ROLE,
    ORGANIZATION_ID,
    ORGANIZATION_SLUG,
    ORGANIZATION_ROLE,
];

/// The `iss` claim of every assertion.
pub const ISSUER: &str = "auth-verifier";

/// The longest lifetime of an assertion.
pub const ASSERTION_LIFE_MAX: Duration = Duration::from_mins(2);

/// A boolean as a header value.
pub fn truth(is: bool) -> HeaderValue {
    HeaderValue::from_static(if is { "true" } else { "false" })
}
