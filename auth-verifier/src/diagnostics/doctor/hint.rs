//! Can a credential of some kind be accepted at all by the current settings?

use chassis::settings::Switch;

use crate::{
    credential::kind::{Kind, Strategy},
    settings::{AccessTokenForms, Lookup, Plan},
    verdict::sessions::BearerTokens,
};

/// What to set so that a credential of that kind can be accepted at all; what to send instead, where none can. `None`
/// if it can.
pub(crate) fn hint(kind: &Kind, plan: &Plan) -> Option<String> {
    let sessions = plan.lookup != Lookup::Off;
    let forms = plan.settings.oauth.access_tokens;
    let set = match kind {
        Kind::ApiToken if plan.own.is_none() && plan.settings.trusted.is_empty() && plan.neon.is_none() => {
            "Set BETTER_AUTH_URL, so that its public keys are known, or NEON_AUTH_BASE_URL where it is Neon Auth's."
        }
        Kind::Hs256 if !plan.settings.hs256.enabled => "Set AUTH_VERIFIER_HS256__ENABLED=true.",
        Kind::Hs256 if plan.hs256_secret().is_none() => "Set BETTER_AUTH_SECRET to what it is signed with.",
        Kind::AccessToken if !forms.jwt() => {
            let set = if forms == AccessTokenForms::Opaque { "both" } else { "jwt" };
            return Some(format!(
                "Set AUTH_VERIFIER_OAUTH__ACCESS_TOKENS={set}, and AUTH_VERIFIER_OAUTH__AUDIENCES to the resource that \
                 it is for."
            ));
        }
        Kind::OpaqueAccessToken if !forms.opaque() => {
            "Set AUTH_VERIFIER_OAUTH__ACCESS_TOKENS=opaque, and AUTH_VERIFIER_DATABASE__URL to where it is looked up."
        }
        Kind::IdToken => "Send an API token (/token) or an access token instead.",
        Kind::LogoutToken | Kind::Verification => "Send an API token (/token) or the session cookie instead.",
        Kind::Cache(Strategy::Jwt) if plan.settings.cookie_cache.bearer == Switch::On => return None,
        Kind::Cache(Strategy::Jwt) => {
            "Send the session cookie beside it, or an API token instead; AUTH_VERIFIER_COOKIE_CACHE__BEARER=on accepts it by \
             itself, sign-out or not."
        }
        Kind::Cache(_) => "Send the session cookie beside it: a cookie cache is nothing by itself.",
        Kind::OtherType(_) => "Send an API token (/token) instead.",
        Kind::Bare if !sessions && !forms.opaque() => {
            "Set BETTER_AUTH_SECRET and AUTH_VERIFIER_SESSION__LOOKUP to have sessions looked up; for access tokens, \
             AUTH_VERIFIER_OAUTH__ACCESS_TOKENS=opaque."
        }
        Kind::Bare if plan.settings.session.bearer_tokens() != BearerTokens::Any && !forms.opaque() => {
            "Send it with its signature, as set-auth-token hands it out. (AUTH_VERIFIER_SESSION__DANGEROUS_UNSIGNED_BEARER=on \
             accepts it without: then whoever has read Better Auth's table, or a log, is let in as anybody in it.)"
        }
        Kind::Signed if !sessions => {
            "Set BETTER_AUTH_SECRET and AUTH_VERIFIER_SESSION__LOOKUP to have sessions looked up."
        }
        Kind::Signed if plan.settings.session.bearer_tokens() == BearerTokens::Off => {
            "Set AUTH_VERIFIER_SESSION__BEARER=signed, or send it as a cookie."
        }
        Kind::Unknown => {
            "Paste the whole of it: a JWT has three parts, a session token 32 letters and digits; an API key (x-api-key) is \
             not accepted."
        }
        Kind::ApiToken
        | Kind::Hs256
        | Kind::AccessToken
        | Kind::OpaqueAccessToken
        | Kind::Bare
        | Kind::Signed => {
            return None;
        }
    };
    Some(set.to_owned())
}
