//! What a pasted credential has to do with Neon Auth, by its looks: for `inspect` and `doctor`.

use serde::Deserialize;

use crate::{
    credential::jws::Jws,
    diagnostics::pasted::Pasted,
    loose::Loose,
    rejection::Untrusted,
    session::{carried::Carried, session_data::is_signed_with},
    settings::{HOSTS, Neon, Plan},
};

/// How the name of the SDK's cache ends.
const DATA: &str = ".local.session_data";

/// What was pasted, where it is Neon Auth's.
pub(crate) enum Pasting {
    /// A token of this Neon Auth's.
    Token,
    /// A token of another one: of another branch, most likely.
    OtherToken(Untrusted),
    /// The SDK's cache, sent as a bearer token.
    DataAsBearer,
    /// A session cookie.
    Session {
        /// What it is called.
        name: String,
        /// The SDK's cache beside it.
        data: Option<Data>,
    },
    /// What is called as a session cookie is none, or is there twice.
    Bad,
    /// The SDK's cache, and no session cookie beside it.
    DataAlone,
    /// Cookies, and none of Neon Auth's among them.
    NoCookie,
}

/// The SDK's cache beside a session cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// It is signed with our secret.
    Ours,
    /// It is signed with another one, or it is none.
    OtherSecret,
    /// There is no secret to check it by.
    NoSecret,
}

impl Pasting {
    /// What `pasted` is; `None` where it is no business of Neon Auth's.
    pub(crate) fn of(pasted: &Pasted, plan: &Plan) -> Option<Self> {
        match pasted.bearer() {
            Some(token) => Self::token(token, plan),
            None => Self::cookies(pasted, plan),
        }
    }

    fn token(token: &str, plan: &Plan) -> Option<Self> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Claims {
            iss: Loose,
        }
        let neon = plan.neon.as_ref();
        if signed(neon, token) == Data::Ours {
            return Some(Self::DataAsBearer);
        }
        let claims: Claims = Jws::parse(token).ok()?.claims().ok()?;
        let iss = claims.iss.text()?;
        if neon.is_some_and(|neon| neon.issuer.expected.issuers.iter().any(|ours| ours == iss)) {
            return Some(Self::Token);
        }
        let theirs = iss.contains(HOSTS) || neon.is_some_and(|neon| iss.starts_with(&neon.base.origin()));
        theirs.then(|| Self::OtherToken(Untrusted::new(iss)))
    }

    fn cookies(pasted: &Pasted, plan: &Plan) -> Option<Self> {
        let neon = plan.neon.as_ref()?;
        let cookies = pasted.cookies();
        match Carried::of(&pasted.headers, &neon.names) {
            Ok(Some((_, names))) => {
                let data = cookies.get(&names.data).map(|data| signed(Some(neon), data));
                Some(Self::Session { name: names.token.clone(), data })
            }
            Err(_) => Some(Self::Bad),
            Ok(None) if cookies.iter().any(|(name, _)| name.ends_with(DATA)) => Some(Self::DataAlone),
            // Then it is a cookie of our own Better Auth's that was meant.
            Ok(None) if plan.secrets.is_some() => None,
            Ok(None) => Some(Self::NoCookie),
        }
    }

    /// What it is, for a sentence that begins with "It is".
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Token => "a token of Neon Auth's (a JWT), sent as a bearer token".to_owned(),
            Self::OtherToken(issuer) => {
                format!("a token of another Neon Auth, {issuer}, sent as a bearer token")
            }
            Self::DataAsBearer => {
                "the cache of Neon's SDK (local.session_data), sent as a bearer token".to_owned()
            }
            Self::Session { name, data } => {
                let beside = match data {
                    None => "",
                    Some(Data::Ours) => ", with the cache of Neon's SDK beside it",
                    Some(Data::OtherSecret) => {
                        ", with a cache of Neon's SDK beside it that our NEON_AUTH_COOKIE_SECRET has not signed"
                    }
                    Some(Data::NoSecret) => ", with a cache of Neon's SDK beside it, which is not looked at",
                };
                format!("a session cookie of Neon Auth's, called {name}{beside}")
            }
            Self::Bad => "cookies, with one that is called as Neon Auth's session cookie".to_owned(),
            Self::DataAlone => {
                "the cache of Neon's SDK (local.session_data), without its session cookie".to_owned()
            }
            Self::NoCookie => "cookies, none of which is Neon Auth's".to_owned(),
        }
    }

    /// What to do about it; `None` where nothing is wrong with it by its looks.
    pub(crate) fn advice(&self, plan: &Plan) -> Option<String> {
        let base = plan.neon.as_ref().map(|neon| neon.base.origin());
        Some(match self {
            Self::OtherToken(issuer) => match base {
                Some(base) => format!(
                    "NEON_AUTH_BASE_URL is at {base}, and the token's issuer is {issuer}: each branch of a database has an Auth URL and \
                     users of its own. Set NEON_AUTH_BASE_URL to the Auth URL of that branch, with its path, or sign in again at this \
                     one."
                ),
                None => "Set NEON_AUTH_BASE_URL to the Auth URL of Neon's console, with its path.".to_owned(),
            },
            Self::DataAsBearer => {
                "It is worth something only beside its session cookie: send both as cookies, or the token (authClient.token())."
                    .to_owned()
            }
            Self::Session { data: Some(Data::OtherSecret), .. } => {
                "Set NEON_AUTH_COOKIE_SECRET to what the app has (cookies.secret of createNeonAuth), to the letter: until then the cache \
                 spares no look-up."
                    .to_owned()
            }
            Self::Session { data: Some(Data::NoSecret), .. } => {
                "Set NEON_AUTH_COOKIE_SECRET to what the app has: then the cache spares look-ups.".to_owned()
            }
            Self::DataAlone => "Send the session cookie beside it: the cache is nothing by itself.".to_owned(),
            Self::NoCookie => NEVER_ARRIVE.to_owned(),
            Self::Token | Self::Session { .. } | Self::Bad => return None,
        })
    }
}

/// Why the cookies of somebody who is signed in are not there.
const NEVER_ARRIVE: &str = "Neon's SDK sets them on the host of the app's own server, by its route handler (/api/auth): the gateway sees \
                            them on that host alone, or below the `domain` that the SDK is given. A page that signs in at Neon \
                            itself, as a Vite app does, has its cookies at Neon's host, and the gateway never sees them: let it \
                            send the token (authClient.token()) as Authorization: Bearer, or let the gateway lead /api/auth to Neon.";

fn signed(neon: Option<&Neon>, data: &str) -> Data {
    match neon.and_then(|neon| neon.cookie_secret.as_ref()) {
        None => Data::NoSecret,
        Some(secret) if is_signed_with(data, secret.expose()) => Data::Ours,
        Some(_) => Data::OtherSecret,
    }
}
