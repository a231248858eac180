//! Whether a caller's credential is one that the route takes: of its kind, and granted its scopes.
//!
//! What is not told is not there: a verdict without a kind or without scopes, such as an older auth-verifier gives, passes no route
//! that demands some. Nor does a session: only an access token was granted scopes, and whoever demands one means that by it.

use std::sync::Arc;

use http::HeaderValue;
use identity::{CredentialKind, CredentialScopes, is_scope};
use thiserror::Error;

use crate::{
    authenticate::{Authenticated, Caller},
    route::Route,
};

/// The most scopes that a route may demand.
const SCOPES_MAX: usize = 16;

/// A request whose caller's credential its route takes. Only this file makes one.
pub struct Permitted(Authenticated);

/// Why a known caller may not pass. Another credential might.
#[derive(Clone, Debug, Error)]
pub enum PermitError {
    /// The caller is known by another kind of credential than this one, which the route takes.
    #[error("the route takes only the credential {}", .0.as_str())]
    Kind(CredentialKind),
    /// It was not granted all of these.
    #[error("the credential was not granted {}", .0.text())]
    Scopes(Arc<RequiredScopes>),
}

impl PermitError {
    /// The value of the metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Kind(_) => "credential",
            Self::Scopes(_) => "scopes",
        }
    }
}

/// The scopes that a credential must have been granted, all of them.
#[derive(Debug)]
pub struct RequiredScopes {
    scopes: Box<[Box<str>]>,
    challenge: HeaderValue,
}

impl RequiredScopes {
    /// Reads scopes as they are set. The error says what is wrong.
    pub fn parse(scopes: &[String]) -> Result<Self, String> {
        if let Some(bad) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(format!(
                "`{bad}` is no scope: must be of visible ASCII characters, without a space, a quote or a backslash"
            ));
        }
        if let Some((_, twice)) = scopes.iter().enumerate().find(|(at, scope)| scopes[..*at].contains(scope))
        {
            return Err(format!("`{twice}` stands there twice"));
        }
        if scopes.is_empty() {
            return Err("must be at least one scope; leave it out to demand none".to_owned());
        }
        // What no verdict can tell, nobody can have.
        if scopes.len() > SCOPES_MAX || CredentialScopes::new(scopes.iter().map(String::as_str)).is_none() {
            return Err(format!("must be at most {SCOPES_MAX} scopes, and short ones"));
        }
        // RFC 6750 §3.1
        let challenge = format!(
            "Bearer realm=\"api\", error=\"insufficient_scope\", \
             error_description=\"the token was not granted what this needs\", scope=\"{}\"",
            scopes.join(" ")
        );
        let challenge = HeaderValue::try_from(challenge).map_err(|error| error.to_string())?;
        Ok(Self { scopes: scopes.iter().map(|scope| scope.as_str().into()).collect(), challenge })
    }

    /// They, as a challenge names them.
    pub fn text(&self) -> String {
        self.scopes.join(" ")
    }

    /// The challenge for a credential without them.
    pub fn challenge(&self) -> HeaderValue {
        self.challenge.clone()
    }

    fn are_granted(&self, granted: Option<&CredentialScopes>) -> bool {
        granted.is_some_and(|granted| self.scopes.iter().all(|scope| granted.have(scope)))
    }
}

/// Lets a request pass whose caller's credential its route takes; and nobody's, where anybody may pass.
pub fn permit(authenticated: Authenticated) -> Result<Permitted, PermitError> {
    let route = authenticated.sanitized().admitted().routed().route();
    if route.credential.is_some() || route.scopes.is_some() {
        check(route, authenticated.caller())?;
    }
    Ok(Permitted(authenticated))
}

fn check(route: &Route, caller: Option<&Caller>) -> Result<(), PermitError> {
    if let (Some(kind), Some(caller)) = (route.credential, caller)
        && caller.credential() != Some(kind)
    {
        return Err(PermitError::Kind(kind));
    }
    match &route.scopes {
        Some(scopes) if !scopes.are_granted(caller.and_then(Caller::scopes)) => {
            Err(PermitError::Scopes(scopes.clone()))
        }
        _ => Ok(()),
    }
}

impl Permitted {
    /// The request, and who is calling.
    pub(crate) fn into_inner(self) -> Authenticated {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn required(scopes: &[&str]) -> Result<RequiredScopes, String> {
        RequiredScopes::parse(&scopes.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn all_scopes_must_be_granted_and_nothing_told_grants_nothing() {
        let scopes = required(&["tasks:read", "tasks:write"]).unwrap();
        for (granted, want) in [
            (&["tasks:read", "tasks:write"][..], true),
            (&["tasks:write", "openid", "tasks:read"], true),
            (&["tasks:read"], false),
            (&["tasks:read", "tasks:writer"], false),
            (&["TASKS:READ", "tasks:write"], false),
        ] {
            let granted = CredentialScopes::new(granted.iter().copied());
            assert_eq!(scopes.are_granted(granted.as_ref()), want, "{granted:?}");
        }
        assert!(!scopes.are_granted(None));
        assert!(scopes.challenge().to_str().unwrap().ends_with(", scope=\"tasks:read tasks:write\""));
    }

    #[test]
    fn what_nobody_can_be_granted_can_not_be_demanded() {
        let many: Vec<_> = (0..=SCOPES_MAX).map(|n| format!("s{n}")).collect();
        let many: Vec<_> = many.iter().map(|scope| &**scope).collect();
        let long = "s".repeat(2049);
        for (bad, want) in [
            (&[][..], "at least one"),
            (&[""], "`` is no scope"),
            (&["a", "b c"], "`b c` is no scope"),
            (&["a\"b"], "is no scope"),
            (&["a", "b", "a"], "`a` stands there twice"),
            (&many, "at most 16"),
            (&[&long], "short ones"),
        ] {
            let error = required(bad).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
        assert!(required(&many[1..]).is_ok());
    }
}
