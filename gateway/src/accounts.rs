//! Where other backends sign people up and in. Here nobody does: accounts are Better Auth's, and a frontend that asks us all
//! the same is told so, where no route has an answer for it.

/// What stands before the last segment at most: `/api/v1/auth/login`.
const BEFORE: [&str; 8] = ["api", "v1", "v2", "auth", "user", "users", "account", "accounts"];

/// At what backends sign people up and in; `token` is where FastAPI's own way of signing in (OAuth's password grant) asks.
const LAST: [&str; 11] = [
    "register",
    "registration",
    "signup",
    "sign-up",
    "sign_up",
    "login",
    "signin",
    "sign-in",
    "sign_in",
    "token",
    "authenticate",
];

/// Better Auth's own, of a client whose base URL is ours: `/api/auth/sign-in/email`.
const BETTER_AUTHS: [&str; 2] = ["sign-in", "sign-up"];

/// Whether somebody who asks at this path wants an account, or to sign in to one. What a session is asked about afterwards (`me`,
/// `logout`, `refresh`) is not meant: there, who is not signed in hears that.
pub fn are_asked_for(path: &str) -> bool {
    let mut segments = path.strip_prefix('/').unwrap_or_default().trim_end_matches('/').split('/');
    let Some(last) = segments.next_back() else { return false };
    let is_before = |segment: &str| BEFORE.contains(&segment);
    if LAST.contains(&last) {
        return segments.all(is_before);
    }
    segments.next_back().is_some_and(|segment| BETTER_AUTHS.contains(&segment))
        && segments.next_back() == Some("auth")
        && segments.all(is_before)
}

/// Whether a route of this pattern is for all of an API, as `/api/**` is. One that is for accounts in particular is answered as
/// any other: its operator knows what is there.
pub fn are_not_meant_by(pattern: &str) -> bool {
    let base = pattern.strip_suffix("/**");
    base.is_some_and(|base| base.split('/').all(|segment| matches!(segment, "" | "api" | "v1" | "v2")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_for_accounts_is_told_from_one_for_all() {
        for pattern in ["/**", "/api/**", "/api/v1/**"] {
            assert!(are_not_meant_by(pattern), "{pattern}");
        }
        for pattern in ["/", "/api", "/api/auth/**", "/auth/**", "/login", "/api/token", "/api/users/**"] {
            assert!(!are_not_meant_by(pattern), "{pattern}");
        }
    }

    #[test]
    fn it_is_known_where_backends_sign_people_up_and_in() {
        for path in [
            "/login",
            "/signup",
            "/register/",
            "/token",
            "/auth/login",
            "/auth/register",
            "/users/register",
            "/api/login",
            "/api/token",
            "/api/register",
            "/api/signup",
            "/api/auth/register",
            "/api/auth/signup",
            "/api/auth/signin",
            "/api/auth/login",
            "/api/v1/auth/login",
            "/api/v1/users/signup",
            "/api/auth/sign-in/email",
            "/api/auth/sign-up/email",
            "/api/auth/sign-in/social/",
        ] {
            assert!(are_asked_for(path), "{path}");
        }
        for path in [
            "",
            "/",
            "*",
            "/api",
            "/api/auth",
            "/api/auth/me",
            "/api/auth/logout",
            "/api/auth/refresh",
            "/api/auth/get-session",
            "/api/auth/ok",
            "/api/tasks",
            // Tasks and users that happen to be called so.
            "/api/tasks/login",
            "/api/login/tasks",
            "/api/u1/tasks/login",
            "/api/notes/token",
            "/login/page",
            "/sign-in/email",
            "/blog/auth/login",
            "/api/auth/sign-in/email/x",
            "/api/Login",
        ] {
            assert!(!are_asked_for(path), "{path}");
        }
    }
}
