//! Is this token good?
//!
//! API tokens of the JWT plugin, tokens signed with the shared secret, and, where they are accepted, the OAuth provider's
//! access tokens. Which issuer's keys a token is checked with is decided by the `iss` that it names, before a key is
//! looked for: a stranger's token causes no fetch. Other tokens that the same keys sign (ID tokens, `logout+jwt`, the
//! cookie cache's) fail by their type or their audience.

pub mod authority;
pub mod claims;
pub mod jws;
pub mod keys;

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use identity::Email;
use tracing::warn;

use crate::{
    cache::verified::{Bounds, Remembered},
    jwt::{
        authority::{Authority, Users},
        claims::{Checked, Claims, Named, Parties},
        jws::Jws,
        keys::{Algorithm, Key},
    },
    person::Person,
    rejection::{Claimed, Rejection, Says, Unverified},
};

/// What tokens are checked against.
pub struct Profile {
    /// Those signed with the shared secret, where they are accepted.
    pub hs256: Option<SharedSecret>,
    /// Those signed with our own Better Auth's keys, where they are accepted.
    pub own: Option<Arc<Authority>>,
    /// Those of others. No issuer is several authorities'.
    pub trusted: Vec<Arc<Authority>>,
    /// Access tokens, where they are accepted: our own Better Auth's, under another issuer.
    pub access_tokens: Option<AccessTokens>,
    /// How far clocks may lie apart.
    pub leeway: Duration,
    /// The longest token.
    pub bytes_max: usize,
    /// How many verified tokens are remembered, and for how long.
    pub remembered: Bounds,
    /// How the ids of other issuers' users begin; those of whoever has none may not begin so.
    pub prefixes: Arc<[String]>,
}

/// How HS256 tokens are checked.
pub struct SharedSecret {
    /// The current secret's key.
    pub key: Key,
    /// Older ones', which are good until then, in seconds since 1970.
    pub old: (Vec<Key>, u64),
    /// Whom they must come from and be meant for.
    pub parties: Parties,
    /// Whether they must say so.
    pub named: Named,
}

/// How the OAuth provider's access tokens are checked, in either form (RFC 9068, RFC 6750).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTokens {
    /// Whom they must come from and be meant for.
    pub parties: Parties,
    /// What they must allow, all of it.
    pub scopes: Vec<String>,
}

/// A good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub person: Person,
    /// The session that it names (`sid`), if it is a user's of our own Better Auth.
    pub session: Option<String>,
    /// Whether its user is one of our own Better Auth's.
    pub own: bool,
}

/// Checks tokens, and remembers those that a published key verified.
pub struct Tokens {
    profile: Profile,
    remembered: Remembered<Verified>,
    /// One person is two users: said once, as it is so for every token.
    two_users: Once,
}

/// A published key, and whose it is.
type By = (Arc<Authority>, Arc<Key>);

impl Tokens {
    /// Tokens that are checked so.
    pub fn new(profile: Profile) -> Self {
        let remembered = Remembered::new("tokens", profile.remembered);
        Self { profile, remembered, two_users: Once::new() }
    }

    /// The longest token that is looked at.
    pub fn bytes_max(&self) -> usize {
        self.profile.bytes_max
    }

    /// Checks a token at the time `now`, in seconds since 1970.
    pub async fn verify(&self, token: &str, now: u64) -> Result<Verified, Unverified> {
        let Profile { bytes_max, leeway, .. } = self.profile;
        if token.len() > bytes_max {
            return Err(Rejection::TooLong(bytes_max).into());
        }
        let alive = |verified: &Verified| now < verified.person.expires.saturating_add(leeway.as_secs());
        if let Some(verified) = self.remembered.get(token).filter(alive) {
            return Ok(verified);
        }
        let jws = Jws::parse(token)?;
        let claims: Result<Claims, _> = jws.claims();
        let says = || Says::new(jws.alg(), jws.kid(), claims.as_ref().ok().and_then(|c| c.iss.as_deref()));
        let checked = match &claims {
            Ok(claims) => self.check(&jws, claims, now).await,
            Err(malformed) => Err(malformed.clone().into()),
        };
        let (verified, by) = checked.map_err(|unverified| unverified.of(says))?;
        let id = claims.as_ref().ok().and_then(|claims| claims.id.text());
        if verified.own && id.is_some_and(|id| id != verified.person.user.as_str()) {
            self.two_users.call_once(|| {
                warn!(
                    "a token's `sub` is not its user's `id` (jwt.getSubject): by cookie and by token one person is two users"
                );
            });
        }
        if let Some((authority, key)) = by {
            let kid = jws.kid().unwrap_or_default();
            self.remembered.insert(token, verified.clone(), &authority, kid, &key);
        }
        Ok(verified)
    }

    /// Checks everything; says by whose key, where it was a published one.
    async fn check(
        &self,
        jws: &Jws<'_>,
        claims: &Claims,
        now: u64,
    ) -> Result<(Verified, Option<By>), Unverified> {
        let profile = &self.profile;
        let typ = jws.typ()?;
        let access_tokens = match typ {
            None => None,
            Some(typ) if typ.eq_ignore_ascii_case("JWT") => None,
            Some(typ) if is_access_token(typ) => {
                Some(profile.access_tokens.as_ref().ok_or_else(|| Rejection::kind(typ))?)
            }
            Some(typ) => return Err(Rejection::kind(typ).into()),
        };
        // The shared secret is for HS256 alone and no published key ever is, whatever a token says.
        if jws.algorithm()? == Algorithm::Hs256 {
            let shared = profile.hs256.as_ref().filter(|_| access_tokens.is_none());
            let shared = shared.ok_or_else(|| jws.unaccepted())?;
            let until = shared.verify(jws, now)?;
            let checked = claims.check(&shared.parties, shared.named, profile.leeway, now)?;
            let expires = checked.expires.min(until);
            return Ok((
                verified(claims, Checked { expires, ..checked }, &Users::Own, &profile.prefixes)?,
                None,
            ));
        }
        let (authority, parties) =
            profile.chosen(claims, access_tokens).ok_or_else(|| jws.unaccepted())??;
        let key = jws.verify(&authority.keys).await?;
        let checked = claims.check(parties, Named::Always, profile.leeway, now);
        let checked = checked.map_err(|rejection| rejection.of_resource(access_tokens.is_some()))?;
        if let Some(access_tokens) = access_tokens {
            access_tokens.check(claims, &checked)?;
        }
        let verified = verified(claims, checked, &authority.users, &profile.prefixes)?;
        Ok((verified, Some((Arc::clone(authority), key))))
    }
}

impl Profile {
    /// By whose keys a token is checked, and for whom it must be: decided by the issuer that it names. `None` where no
    /// published keys are accepted.
    fn chosen<'a>(
        &'a self,
        claims: &Claims,
        access_tokens: Option<&'a AccessTokens>,
    ) -> Option<Result<(&'a Arc<Authority>, &'a Parties), Rejection>> {
        let mut choices: Vec<_> = match access_tokens {
            Some(access_tokens) => self.own.iter().map(|own| (own, &access_tokens.parties)).collect(),
            None => self
                .own
                .iter()
                .chain(&self.trusted)
                .map(|authority| (authority, &authority.parties))
                .collect(),
        };
        choices.first()?;
        let Some(issuer) = &claims.iss else { return Some(Err(Rejection::MissingClaim("iss"))) };
        let at = choices.iter().position(|(_, parties)| parties.issuers.contains(issuer));
        Some(at.map(|at| choices.swap_remove(at)).ok_or_else(|| Rejection::Issuer {
            found: Claimed::new(issuer),
            expected: choices.iter().flat_map(|(_, parties)| parties.issuers.clone()).collect(),
        }))
    }
}

impl SharedSecret {
    /// Until when the key counts that the signature is of, in seconds since 1970.
    fn verify(&self, jws: &Jws<'_>, now: u64) -> Result<u64, Rejection> {
        let (old, until) = &self.old;
        match jws.verify_by(&self.key) {
            Ok(()) => Ok(u64::MAX),
            Err(_) if now < *until && old.iter().any(|key| jws.verify_by(key).is_ok()) => Ok(*until),
            Err(rejection) => Err(rejection),
        }
    }
}

/// RFC 9068 §4.
fn is_access_token(typ: &str) -> bool {
    ["at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
}

impl AccessTokens {
    /// A client that acts for itself (RFC 6749 §4.4) is no user: its token's subject is the client.
    fn check(&self, claims: &Claims, checked: &Checked) -> Result<(), Rejection> {
        let client = claims.client_id.text().ok_or(Rejection::MissingClaim("client_id"))?;
        if checked.sub == client {
            return Err(Rejection::ClientsOwn);
        }
        let scope = claims.scope.text().unwrap_or_default();
        self.check_scopes(scope.split(' '))
    }

    /// Whether all that is demanded is among `allowed`.
    pub fn check_scopes<'a>(&self, allowed: impl Iterator<Item = &'a str>) -> Result<(), Rejection> {
        let allowed: Vec<_> = allowed.collect();
        match self.scopes.iter().find(|scope| !allowed.contains(&scope.as_str())) {
            Some(missing) => Err(Rejection::Scope(missing.clone())),
            None => Ok(()),
        }
    }
}

fn verified(
    claims: &Claims,
    checked: Checked,
    users: &Users,
    prefixes: &[String],
) -> Result<Verified, Rejection> {
    let Checked { sub, expires } = checked;
    let user = users.named(&sub).ok_or(Rejection::Subject)?;
    if users.are_ours() && prefixes.iter().any(|prefix| user.as_str().starts_with(&**prefix)) {
        return Err(Rejection::Foreign);
    }
    let person = Person {
        user,
        email: claims.email.text().filter(|_| users.are_ours()).and_then(Email::parse),
        email_verified: claims.email_verified.truth().filter(|_| users.are_ours()),
        expires,
        banned: false,
    };
    let own = *users == Users::Own;
    Ok(Verified { person, session: claims.sid.text().filter(|_| own).map(ToOwned::to_owned), own })
}
