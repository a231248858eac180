//! JWTs: API tokens of the JWT plugin, tokens signed with the shared secret, and, where they are accepted, the OAuth
//! provider's access tokens.
//!
//! The `iss` that a token names selects the keys that check it, before any key is looked for: a stranger's token causes
//! no fetch. Other tokens that the same keys sign (ID tokens, `logout+jwt`, the cookie cache's) fail by their type or
//! their audience.

pub(crate) mod claims;
pub mod keys;
mod neon;

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use chassis::clock::UnixSeconds;
use identity::{CredentialScopes, Email, Membership, UserId};
use tracing::{debug, warn};

use crate::{
    cache,
    credential::{jws::Jws, kind::JwtType},
    jwt::{
        claims::{Checked, Claims, Expected, Naming},
        keys::{Algorithm, Fingerprint, Key, Keys},
    },
    person::{ANONYMOUS, Expiry, Person},
    rejection::{Rejection, Untrusted, Unverified, UnverifiedHeader},
};

/// An issuer whose tokens are accepted, under all its names, with its own keys.
pub(crate) struct Authority {
    /// What its API tokens must name.
    pub(crate) expected: Expected,
    /// The keys that it signs with.
    pub(crate) keys: Keys,
    /// The users that it speaks for.
    pub(crate) users: Users,
}

/// The users that an authority speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// Better Auth's own, who are in its tables.
    Own,
    /// Those of Neon Auth, who are in tables of its own. Their ids get a prefix where they must be told from those of our
    /// own Better Auth.
    Neon(String),
    /// Those of another server. Their ids get a prefix, so that none of them is taken for one of ours. An empty prefix
    /// says that they are the same people as ours.
    Others(String),
}

impl Users {
    /// The user whom an authority calls `sub`; `None` if that can't be a user id, or is nobody's.
    fn named(&self, sub: &str) -> Option<UserId> {
        match self {
            _ if sub == ANONYMOUS => None,
            Self::Own => UserId::parse(sub),
            Self::Neon(prefix) | Self::Others(prefix) => UserId::parse(&format!("{prefix}{sub}")),
        }
    }

    /// Whether the addresses of its users can be passed on. An address has no prefix, so an authority with users of its
    /// own could claim one of ours.
    fn are_ours(&self) -> bool {
        match self {
            Self::Own => true,
            Self::Neon(prefix) | Self::Others(prefix) => prefix.is_empty(),
        }
    }
}

/// What verified a token: a published key, by its name and its fingerprint.
pub(crate) struct SignedBy {
    authority: Arc<Authority>,
    kid: String,
    key: Fingerprint,
}

impl SignedBy {
    /// `key` of `authority` has verified `jws`.
    pub(crate) fn new(authority: &Arc<Authority>, jws: &Jws<'_>, key: &Key) -> Self {
        let kid = jws.kid().unwrap_or_default().to_owned();
        Self { authority: Arc::clone(authority), kid, key: key.fingerprint() }
    }

    /// Whether that very key is still published under that id.
    pub(crate) fn is_published(&self) -> bool {
        self.authority.keys.known(&self.kid).is_some_and(|key| key.fingerprint() == self.key)
    }
}

/// How tokens are checked.
pub(crate) struct Profile {
    /// Tokens signed with the shared secret, where they are accepted.
    pub(crate) hs256: Option<SharedSecret>,
    /// Tokens signed with our own Better Auth's keys, where they are accepted.
    pub(crate) own: Option<Arc<Authority>>,
    /// Tokens of other issuers, Neon Auth among them. No issuer belongs to two authorities.
    pub(crate) trusted: Vec<Arc<Authority>>,
    /// Access tokens, where they are accepted: our own Better Auth's, under another issuer.
    pub(crate) access_tokens: Option<AccessTokens>,
    /// The tolerance for clocks that differ.
    pub(crate) leeway: Duration,
    /// The longest token that is looked at, in bytes.
    pub(crate) bytes_max: usize,
    /// The bounds of the cache of verified tokens.
    pub(crate) cache: cache::Bounds,
    /// The prefixes of other issuers' users; no id of ours may begin with one.
    pub(crate) prefixes: Arc<[String]>,
    /// Whether the `scope` of tokens that are no access tokens counts, too.
    pub(crate) all_tell_scopes: bool,
    /// Whether Neon Auth's tokens tell their users' role and organization.
    pub(crate) tells_membership: bool,
}

/// How HS256 tokens are checked.
pub(crate) struct SharedSecret {
    /// The current secret's key.
    pub(crate) key: Key,
    /// Keys of older secrets.
    pub(crate) old: Vec<Key>,
    /// When those end.
    pub(crate) old_until: UnixSeconds,
    /// What tokens may name.
    pub(crate) expected: Expected,
    /// Whether they must name it.
    pub(crate) naming: Naming,
}

/// What an access token of the OAuth provider must be for, in either form (RFC 9068, RFC 6750).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessTokens {
    /// Its issuers and audiences.
    pub(crate) expected: Expected,
    /// The scopes that it must have, all of them.
    pub(crate) scopes: Vec<String>,
}

/// A token that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Its owner.
    pub(crate) person: Person,
    /// The session that it names (`sid`), if its owner is a user of our own Better Auth.
    pub(crate) session: Option<String>,
    /// Whose user its owner is.
    pub(crate) of: Owner,
    /// What it was granted.
    pub(crate) scopes: Option<CredentialScopes>,
    /// What it says of its owner's role and organization, where that is told.
    pub(crate) membership: Option<Arc<Membership>>,
}

/// Who can be asked about the owner of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Our own Better Auth.
    Ours,
    /// Neon Auth's tables.
    Neon,
    /// No one: another issuer's users are in none of our tables.
    Others,
}

/// Verifies tokens, and caches what published keys have verified.
pub(crate) struct Tokens {
    profile: Profile,
    cache: cache::Verified<(Verified, SignedBy)>,
    /// Warned of once, as it is so for every token.
    sub_is_not_id: Once,
}

impl Tokens {
    /// Verifies tokens by `profile`.
    pub(crate) fn new(profile: Profile) -> Self {
        let cache = cache::Verified::new("tokens", profile.cache);
        Self { profile, cache, sub_is_not_id: Once::new() }
    }

    /// The longest token that is looked at, in bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.profile.bytes_max
    }

    /// Verifies a token at `now`.
    pub(crate) async fn verify(&self, token: &str, now: UnixSeconds) -> Result<Verified, Unverified> {
        let Profile { bytes_max, leeway, .. } = self.profile;
        if token.len() > bytes_max {
            return Err(Rejection::TooLong(bytes_max).into());
        }
        let jws = Jws::parse(token)?;
        let by_secret = jws.alg() == Algorithm::Hs256.name();
        // An HMAC is as cheap to check as to look up, so tokens of the shared secret are not in the cache.
        if !by_secret {
            let good = |(verified, by): &(Verified, SignedBy)| {
                !verified.person.expires.after(leeway).has_passed(now) && by.is_published()
            };
            if let Some(entry) = self.cache.get(token, good) {
                return Ok(entry.0.clone());
            }
        }
        let claims: Result<Claims, _> = jws.claims();
        let verified = match &claims {
            Ok(claims) if by_secret => self.profile.by_secret(&jws, claims, now).map_err(Unverified::from),
            Ok(claims) => match self.profile.by_published_key(&jws, claims, now).await {
                Ok((verified, by)) => {
                    if !verified.person.banned {
                        self.cache.insert(token, (verified.clone(), by));
                    }
                    Ok(verified)
                }
                Err(unverified) => Err(unverified),
            },
            Err(malformed) => Err(malformed.clone().into()),
        };
        let iss = claims.as_ref().ok().and_then(|claims| claims.iss.as_deref());
        let verified = verified.map_err(|unverified| {
            unverified.with_context(|| UnverifiedHeader::new(jws.alg(), jws.kid(), iss))
        })?;
        let id = claims.as_ref().ok().and_then(|claims| claims.id.text());
        if verified.of == Owner::Ours && id.is_some_and(|id| id != verified.person.user.as_str()) {
            self.sub_is_not_id.call_once(|| {
                warn!(
                    "a token's `sub` is not its user's `id` (jwt.getSubject): by cookie and by token one person is two users"
                );
            });
        }
        Ok(verified)
    }
}

impl Profile {
    /// Verifies a token that says it is signed with the shared secret. That secret is for HS256 alone, and no published
    /// key ever is.
    fn by_secret(&self, jws: &Jws<'_>, claims: &Claims, now: UnixSeconds) -> Result<Verified, Rejection> {
        let (None, Some(shared)) = (self.access_tokens(jws)?, &self.hs256) else {
            return Err(jws.unaccepted());
        };
        let until = shared.verify(jws, now)?;
        let checked = claims.check(&shared.expected, shared.naming, self.leeway, now)?;
        self.owner(claims, &checked, until, &Users::Own, self.all_tell_scopes)
    }

    /// Verifies a token by the published keys of the issuer that it names.
    async fn by_published_key(
        &self,
        jws: &Jws<'_>,
        claims: &Claims,
        now: UnixSeconds,
    ) -> Result<(Verified, SignedBy), Unverified> {
        let access_tokens = self.access_tokens(jws)?;
        let algorithm = Algorithm::of(jws)?;
        let (authority, expected) = self.issuer(jws, claims, access_tokens)?;
        let by_neon = matches!(authority.users, Users::Neon(_));
        if by_neon && algorithm != neon::ALGORITHM {
            return Err(jws.unaccepted().into());
        }
        let key = authority.keys.verify(jws).await?;
        let checked = claims
            .check(expected, Naming::Required, self.leeway, now)
            .map_err(|rejection| rejection.of_resource(access_tokens.is_some()))?;
        if let Some(access_tokens) = access_tokens {
            access_tokens.check(claims, &checked)?;
        }
        let tells_scopes = access_tokens.is_some() || self.all_tell_scopes;
        let mut verified = self.owner(claims, &checked, Expiry::Never, &authority.users, tells_scopes)?;
        if by_neon {
            verified.person.banned = neon::judge(jws, now)?;
            verified.membership = neon::membership(jws).filter(|_| self.tells_membership).map(Arc::new);
        }
        Ok((verified, SignedBy::new(authority, jws, &key)))
    }

    /// What an access token must be for, if `jws` says it is one. An error where its type is not accepted.
    fn access_tokens(&self, jws: &Jws<'_>) -> Result<Option<&AccessTokens>, Rejection> {
        let typ = jws.typ()?;
        match JwtType::of(typ) {
            JwtType::Plain => Ok(None),
            JwtType::AccessToken if self.access_tokens.is_some() => Ok(self.access_tokens.as_ref()),
            _ => Err(Rejection::Type(Untrusted::new(typ.unwrap_or_default()))),
        }
    }

    /// The authority whose keys check a token, and what the token must name: selected by the issuer that it names.
    fn issuer<'a>(
        &'a self,
        jws: &Jws<'_>,
        claims: &Claims,
        access_tokens: Option<&'a AccessTokens>,
    ) -> Result<(&'a Arc<Authority>, &'a Expected), Rejection> {
        let trusted = self.trusted.iter().filter(|_| access_tokens.is_none());
        let choices = || {
            self.own.iter().chain(trusted.clone()).map(|authority| {
                (
                    authority,
                    access_tokens.map_or(&authority.expected, |access_tokens| &access_tokens.expected),
                )
            })
        };
        if choices().next().is_none() {
            return Err(jws.unaccepted());
        }
        let issuer = claims.iss.as_ref().ok_or(Rejection::MissingClaim("iss"))?;
        choices().find(|(_, expected)| expected.issuers.contains(issuer)).ok_or_else(|| Rejection::Issuer {
            found: Untrusted::new(issuer),
            expected: choices().flat_map(|(_, expected)| expected.issuers.clone()).collect(),
        })
    }

    /// The owner of a token whose claims were checked, and that ends at `until` at the latest.
    ///
    /// Its `scope` is its issuer's word only if it `tells_scopes`: Better Auth spreads the user object into API tokens, and a field
    /// of that name may be one that users fill in themselves.
    fn owner(
        &self,
        claims: &Claims,
        checked: &Checked,
        until: Expiry,
        users: &Users,
        tells_scopes: bool,
    ) -> Result<Verified, Rejection> {
        let user = users.named(&checked.sub).ok_or(Rejection::Subject)?;
        let prefixes = &self.prefixes;
        if users.are_ours() && prefixes.iter().any(|prefix| user.as_str().starts_with(&**prefix)) {
            return Err(Rejection::Foreign);
        }
        let person = Person {
            user,
            email: claims.email.text().filter(|_| users.are_ours()).and_then(Email::parse),
            email_verified: claims.email_verified.truth().filter(|_| users.are_ours()),
            expires: Expiry::At(checked.expires).min(until),
            banned: false,
        };
        let of = match users {
            Users::Own => Owner::Ours,
            Users::Neon(_) => Owner::Neon,
            Users::Others(_) => Owner::Others,
        };
        let session = claims.sid.text().filter(|_| of == Owner::Ours).map(ToOwned::to_owned);
        let scopes = claims.scope.text().filter(|_| tells_scopes).and_then(granted);
        Ok(Verified { person, session, of, scopes, membership: None })
    }
}

/// The scopes of a `scope` claim (RFC 8693 §4.2, RFC 9068 §2.2.3).
fn granted(scope: &str) -> Option<CredentialScopes> {
    let scopes = CredentialScopes::new(scope.split(' ').filter(|scope| !scope.is_empty()));
    if scopes.is_none() && !scope.is_empty() {
        debug!("the token's scopes are not told: they are too many, or none of RFC 6749");
    }
    scopes
}

impl SharedSecret {
    /// Verifies a signature, and says when the secret that made it ends.
    fn verify(&self, jws: &Jws<'_>, now: UnixSeconds) -> Result<Expiry, Rejection> {
        match self.key.verify(jws) {
            Ok(()) => Ok(Expiry::Never),
            Err(_) if now < self.old_until && self.old.iter().any(|key| key.verify(jws).is_ok()) => {
                Ok(Expiry::At(self.old_until))
            }
            Err(rejection) => Err(rejection),
        }
    }
}

impl AccessTokens {
    /// Checks what only access tokens have. One that a client got for itself (RFC 6749 §4.4) names no user: its subject
    /// is the client.
    fn check(&self, claims: &Claims, checked: &Checked) -> Result<(), Rejection> {
        let client = claims.client_id.text().ok_or(Rejection::MissingClaim("client_id"))?;
        if checked.sub == client {
            return Err(Rejection::ClientsOwn);
        }
        let scope = claims.scope.text().unwrap_or_default();
        self.check_scopes(scope.split(' '))
    }

    /// Checks that every scope that is demanded is among `granted`.
    pub(crate) fn check_scopes<'a>(&self, granted: impl Iterator<Item = &'a str>) -> Result<(), Rejection> {
        let granted: Vec<_> = granted.collect();
        match self.scopes.iter().find(|scope| !granted.contains(&scope.as_str())) {
            Some(missing) => Err(Rejection::Scope(missing.clone())),
            None => Ok(()),
        }
    }
}
