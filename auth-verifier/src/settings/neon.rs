//! What can be set about Neon Auth, the Better Auth that Neon runs; each one explained in `defaults.toml`. All else follows
//! from its base URL: nothing of it can be configured at Neon.
//!
//! It stands beside a Better Auth of one's own. Whose a credential is, its issuer or its cookie's name says, so that
//! nothing may be set to be both's.

use chassis::{
    outbound::client::Trust,
    settings::{self, Faults, Secret, ServiceUrl, Switch},
};
use http::HeaderMap;
use serde::Deserialize;
use url::Host;

use super::{Lookup, Settings, plan::Issuer, tokens::prefix_fault};
use crate::{
    better_auth::{
        address::Address,
        database::{
            self,
            tables::{Name, Reads, Tables},
        },
        key_source::KeySource,
        lookups::{self, SessionsAt, Unsigned, pauses},
    },
    credential::{cookies::CookieNames, kind::SECURE},
    jwt::{Users, claims::Expected},
    secrets::{self, Secrets},
    verdict::revocation::Revocation,
};

/// The variables of what is set most.
pub(crate) const BASE_URL: &str = "NEON_AUTH_BASE_URL";
pub(crate) const COOKIE_SECRET: &str = "NEON_AUTH_COOKIE_SECRET";
const JWKS_URL: &str = "NEON_AUTH_JWKS_URL";
const VITE_URL: &str = "VITE_NEON_AUTH_URL";
const USER_PREFIX: &str = "AUTH_VERIFIER_NEON_AUTH__USER_PREFIX";
const SCHEMA: &str = "AUTH_VERIFIER_NEON_AUTH__SCHEMA";
const UNSIGNED_COOKIES: &str = "AUTH_VERIFIER_NEON_AUTH__DANGEROUS_UNSIGNED_COOKIES";

/// The schema of its tables, unless another one is stated.
const USUAL_SCHEMA: &str = "neon_auth";

/// The part of a host's name that all of Neon Auth's have. (Neon's documentation, not tried against Neon.)
pub(crate) const HOSTS: &str = ".neonauth.";

/// The word for users that are the same in both.
const SAME_PEOPLE: &str = "none";

/// What its cookies' names begin with, and what an older page of Neon's has them begin with.
/// (Neon's documentation has the latter, not tried against Neon.)
const COOKIE_PREFIXES: [&str; 2] = ["neon-auth", "neonauth"];

/// Where its keys are, under its base URL.
const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Neon Auth.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NeonAuth {
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) base_url: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) vite_url: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) jwks_url: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    pub(crate) cookie_secret: Option<Secret>,
    pub(crate) user_prefix: String,
    pub(crate) membership: Switch,
    pub(crate) dangerous_unsigned_cookies: Switch,
    pub(crate) schema: String,
}

/// Neon Auth, as the verifier is built from it.
pub(crate) struct Neon {
    /// Its base URL.
    pub(crate) base: ServiceUrl,
    /// Its tokens, and the users that it speaks for.
    pub(crate) issuer: Issuer,
    /// Its `/get-session`.
    pub(crate) get_session_url: String,
    /// What its cookies are called, and the SDK's cache beside each.
    pub(crate) names: Vec<CookieNames>,
    /// What the SDK's cache is signed with.
    pub(crate) cookie_secret: Option<Secret>,
    /// How its sessions and users are looked up.
    pub(crate) lookups: lookups::Config,
    /// What its tables are called.
    pub(crate) tables: Tables,
    /// What is read of them.
    pub(crate) reads: Reads,
    /// Its tables, where anything is read of them.
    pub(crate) database: Option<database::Config>,
    /// What its users' ids begin with; may be empty.
    pub(crate) user_prefix: String,
}

impl NeonAuth {
    /// Its base URL, and the variable that says so.
    fn base(&self) -> Option<(&ServiceUrl, &'static str)> {
        let base = self.base_url.as_ref().map(|url| (url, BASE_URL));
        base.or_else(|| Some((self.vite_url.as_ref()?, VITE_URL)))
    }

    /// What its users' ids begin with.
    pub(super) fn prefix(&self) -> &str {
        if self.user_prefix == SAME_PEOPLE { "" } else { &self.user_prefix }
    }
}

impl Settings {
    /// Neon Auth's issuer, which no other may name.
    pub(super) fn neon_issuer(&self) -> Option<String> {
        self.neon_auth.base().map(|(base, _)| base.origin())
    }

    /// Neon Auth, where it is set. `own` says whether anything of a Better Auth of one's own is accepted.
    pub(super) fn neon(
        &self,
        secrets: Option<&Option<Secrets>>,
        own: bool,
        faults: &mut Faults,
    ) -> Option<Neon> {
        let set = &self.neon_auth;
        let cookie_secret = set
            .cookie_secret
            .as_ref()
            .and_then(|secret| faults.hear(secrets::checked(COOKIE_SECRET, secret.expose())));
        self.check_places(faults);
        let Some((base, variable)) = set.base() else {
            self.refuse_without_base(faults);
            return None;
        };
        let (base, origin) = (base.clone(), base.origin());
        self.check_base(&base, variable, faults);
        self.check_shared(secrets.and_then(Option::as_ref), faults);
        self.check_prefix(own, variable, faults);
        if self.jwt.revocation == Revocation::Session {
            faults.add(
                "AUTH_VERIFIER_JWT__REVOCATION",
                "must be off or user beside Neon Auth: its tokens name no session (`sid`)",
            );
        }
        // Then no session cookie is accepted, whosever it is.
        let names = if self.session.lookup == Lookup::Off { Vec::new() } else { names(&base) };
        let get_session_url = base.join("/get-session");
        let jwks_url = set.jwks_url.as_ref().map(|url| url.url().to_string());
        let source = KeySource::Endpoint {
            url: jwks_url.unwrap_or_else(|| base.join(JWKS_PATH)),
            headers: HeaderMap::new(),
            trust: Trust::default(),
        };
        let unsigned_cookies = set.dangerous_unsigned_cookies == Switch::On;
        let reads = Reads {
            session_tokens: unsigned_cookies,
            users: self.jwt.revocation == Revocation::User,
            session_ids: false,
            access_tokens: false,
            keys: false,
        };
        if unsigned_cookies && self.database.url.is_none() {
            faults
                .add(UNSIGNED_COOKIES, "needs AUTH_VERIFIER_DATABASE__URL, which says where Neon's table is");
        }
        let schema = Name::parse(&set.schema).map_err(|reason| faults.add(SCHEMA, reason)).ok();
        let tables = Tables::of_neon(schema?);
        // What is wrong with the database was said of our own Better Auth's.
        let mut said = Faults::default();
        let faults = if self.database.url.is_some() { &mut said } else { faults };
        let database = self.database(reads, Some(&tables), faults);
        Some(Neon {
            issuer: Issuer {
                source,
                expected: Expected { issuers: vec![origin.clone()], audiences: vec![origin] },
                users: Users::Neon(set.prefix().to_owned()),
            },
            lookups: self.neon_lookups(&get_session_url, &names, unsigned_cookies),
            user_prefix: set.prefix().to_owned(),
            base,
            get_session_url,
            names,
            cookie_secret,
            tables,
            reads,
            database,
        })
    }

    fn neon_lookups(&self, url: &str, names: &[CookieNames], by_table: bool) -> lookups::Config {
        let bound = self.session.timeout + self.session.overtime;
        let sessions = if by_table {
            SessionsAt::Database { compared: None }
        } else {
            SessionsAt::BetterAuth(lookups::http::Config {
                url: url.to_owned(),
                address: Address { public: None, host: None, trust: Trust::default() },
                names: names.to_vec(),
                secret: None,
                bound,
                // Neon sees our address whatever we say, as it sees the app's server.
                address_header: None,
                refresh: Switch::Off,
                limits_cure: pauses::NEONS_CURE,
            })
        };
        lookups::Config {
            sessions,
            unsigned: Unsigned::All,
            lag: self.revocation_lag,
            entries_max: self.lookups_cache_entries_max,
            wait: self.session.timeout,
            bound,
        }
    }

    /// What is set of Neon Auth does nothing without its base URL.
    fn refuse_without_base(&self, faults: &mut Faults) {
        let set = &self.neon_auth;
        let what = [
            (JWKS_URL, set.jwks_url.is_some()),
            (COOKIE_SECRET, set.cookie_secret.is_some()),
            (USER_PREFIX, !set.user_prefix.is_empty()),
            ("AUTH_VERIFIER_NEON_AUTH__MEMBERSHIP", set.membership == Switch::On),
            (UNSIGNED_COOKIES, set.dangerous_unsigned_cookies == Switch::On),
            (SCHEMA, set.schema != USUAL_SCHEMA),
        ];
        if let Some((name, _)) = what.into_iter().find(|(_, stated)| *stated) {
            faults.add(
                BASE_URL,
                format!("set it to the Auth URL of Neon's console; without it {name} does nothing"),
            );
        }
    }

    fn check_base(&self, base: &ServiceUrl, variable: &str, faults: &mut Faults) {
        let set = &self.neon_auth;
        if let (Some(stated), Some(vite)) = (&set.base_url, &set.vite_url)
            && stated != vite
        {
            faults.add(
                VITE_URL,
                format!("is another one than {BASE_URL}: set both to the Auth URL of one branch"),
            );
        }
        let path = base.url().path();
        if path.len() > 1 && path.ends_with('/') {
            faults.add(variable, "ends in a slash; take it off: Neon's SDK puts one of its own behind it");
        }
        if path.ends_with("/get-session") || path.ends_with(JWKS_PATH) {
            faults.add(variable, "is one of the paths below the Auth URL; set it to the Auth URL itself");
        }
        for (url, variable) in [(Some(base), variable), (set.jwks_url.as_ref(), JWKS_URL)] {
            if url.is_some_and(|url| url.url().scheme() == "http" && !is_here(url)) {
                faults.add(variable, "must begin with https://: what is sent there are live sessions");
            }
        }
    }

    /// Whether a URL is of a host of Neon Auth's.
    pub(super) fn leads_to_neon(&self, url: &ServiceUrl) -> bool {
        let base = self.neon_auth.base();
        host(url).contains(HOSTS) || base.is_some_and(|(base, _)| is_same_place(base, url))
    }

    /// What is for a Better Auth of one's own, or for others, does not lead to Neon Auth: none of its rules would hold there,
    /// so that a token of whoever has not signed in, or is banned, would be a user's.
    fn check_places(&self, faults: &mut Faults) {
        let mut refuse = |name| {
            let why = format!(
                "is Neon Auth's, and this is for a Better Auth of your own: leave it out, and set {BASE_URL} to the Auth URL of Neon's \
                 console ({JWKS_URL}, if its keys moved)"
            );
            faults.add(name, why);
        };
        for (name, url) in [
            ("BETTER_AUTH_URL", &self.better_auth.url),
            ("AUTH_VERIFIER_JWKS_URL", &self.jwks_url),
            ("AUTH_VERIFIER_SESSION__URL", &self.session.url),
        ] {
            if url.as_ref().is_some_and(|url| self.leads_to_neon(url)) {
                refuse(name);
            }
        }
        let origin = self.neon_issuer();
        for (name, issuers) in
            [("AUTH_VERIFIER_ISSUERS", &self.issuers), ("AUTH_VERIFIER_OAUTH__ISSUERS", &self.oauth.issuers)]
        {
            if issuers.iter().any(|issuer| issuer.contains(HOSTS) || Some(issuer) == origin.as_ref()) {
                refuse(name);
            }
        }
    }

    /// Nothing may be both's: keys, a cookie, a secret. (Nor an issuer: [`Self::check_places`].)
    fn check_shared(&self, secrets: Option<&Secrets>, faults: &mut Faults) {
        let own_keys = match self.own_keys() {
            Some(KeySource::Endpoint { url, .. }) => Some(url),
            _ => None,
        };
        let others = self.trusted.iter().filter_map(|trusted| trusted.jwks_url.as_ref());
        let mut taken = own_keys.into_iter().chain(others.map(|url| url.join("")));
        if let Some(stated) = self.neon_auth.jwks_url.as_ref().map(|url| url.join(""))
            && taken.any(|url| url.trim_end_matches('/') == stated)
        {
            faults.add(
                JWKS_URL,
                "is where another issuer's keys are, who could then sign as Neon Auth: set it to where Neon's are, or leave it out",
            );
        }
        for (name, cookie) in [
            ("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", &format!("{}.", self.session.cookie_prefix)),
            ("AUTH_VERIFIER_SESSION__COOKIE", &self.session.cookie),
            ("AUTH_VERIFIER_COOKIE_CACHE__COOKIE", &self.cookie_cache.cookie),
        ] {
            if is_neons_cookie(cookie) {
                faults.add(name, "is Neon Auth's: each cookie must be of one of the two");
            }
        }
        let cookie_secret = self.neon_auth.cookie_secret.as_ref().map(Secret::expose);
        let same = |other: &str| cookie_secret == Some(other);
        if secrets.is_some_and(|secrets| secrets.all().any(same)) {
            faults.add(
                COOKIE_SECRET,
                "is Better Auth's secret, too: what Neon's SDK signs would be a token of your own Better Auth; make one of its own",
            );
        }
    }

    /// All ids live in one namespace.
    fn check_prefix(&self, own: bool, variable: &str, faults: &mut Faults) {
        let stated = &*self.neon_auth.user_prefix;
        if own && stated.is_empty() {
            faults.add(
                USER_PREFIX,
                format!(
                    "must be said where there is both {variable} and a Better Auth of your own (BETTER_AUTH_URL, BETTER_AUTH_SECRET): a \
                     prefix such as neon: keeps their users apart, {SAME_PEOPLE} says that a user of one is the user of that id in the \
                     other"
                ),
            );
        }
        let trusted = self.trusted.iter().map(|trusted| &*trusted.user_prefix);
        if let Some(reason) = prefix_fault(self.neon_auth.prefix(), trusted) {
            faults.add(USER_PREFIX, format!("{reason}; {SAME_PEOPLE} puts none"));
        }
    }

    /// What counts where there are two.
    pub(super) fn two_authorities(&self) -> Option<String> {
        let (base, variable) = self.neon_auth.base()?;
        if !self.accepts_own() {
            return None;
        }
        Some(format!(
            "there are two authorities: tokens of the issuer {} and cookies of the prefix {} are Neon Auth's ({variable}), all \
             others your own Better Auth's; where a request carries a session cookie of each, that of your own counts",
            base.origin(),
            COOKIE_PREFIXES[0],
        ))
    }

    /// The prefixes of the cookies that are Neon Auth's, where it is set.
    pub(super) fn neon_cookie_prefixes(&self) -> impl Iterator<Item = String> {
        let prefixes = self.neon_auth.base().map(|_| COOKIE_PREFIXES.map(|prefix| format!("{prefix}.")));
        prefixes.into_iter().flatten()
    }
}

/// What its cookies are called, in the order in which they are looked for. Over plain HTTP, as a stand-in on the same
/// machine is reached, either form may be meant; elsewhere only what a secure origin can set.
fn names(base: &ServiceUrl) -> Vec<CookieNames> {
    let secure: &[&str] = if base.url().scheme() == "https" { &[SECURE] } else { &[SECURE, ""] };
    let prefixes = secure.iter().flat_map(|secure| COOKIE_PREFIXES.map(|prefix| format!("{secure}{prefix}")));
    let names = |prefix| CookieNames {
        token: format!("{prefix}.session_token"),
        data: format!("{prefix}.local.session_data"),
    };
    prefixes.map(names).collect()
}

/// Whether a cookie of that name is Neon Auth's, or looks so: whatever browsers demand of it, in any case.
fn is_neons_cookie(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = ["__secure-", "__host-"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
    COOKIE_PREFIXES.iter().any(|prefix| bare.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')))
}

/// Its host, in the one spelling that counts.
fn host(url: &ServiceUrl) -> &str {
    url.url().host_str().unwrap_or_default().trim_end_matches('.')
}

/// Whether two URLs lead to one server. On this machine its port tells it from others, elsewhere its host does.
fn is_same_place(one: &ServiceUrl, other: &ServiceUrl) -> bool {
    let port = |url: &ServiceUrl| url.url().port_or_known_default();
    host(one) == host(other) && (!is_here(one) || port(one) == port(other))
}

/// Whether a URL leads to this machine.
fn is_here(url: &ServiceUrl) -> bool {
    match url.url().host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
