//! What Neon's variables set, and what they may not stand beside.

use auth_verifier::settings::Settings;

use super::stand_in::COOKIE_SECRET;
use crate::world::SECRET;

const URL: &str = "https://ep-quiet-sun-1.neonauth.us-east-1.aws.neon.tech/neondb/auth";
const BASE: (&str, &str) = ("NEON_AUTH_BASE_URL", URL);
const COOKIE: (&str, &str) = ("NEON_AUTH_COOKIE_SECRET", COOKIE_SECRET);
const OWN: (&str, &str) = ("BETTER_AUTH_SECRET", SECRET);
const PREFIX: (&str, &str) = ("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX", "neon:");

fn load(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let loaded = chassis::settings::load::<Settings>(&variables.iter().copied().collect());
    loaded
        .map(|plan| chassis::settings::Settings::remarks(plan.settings()))
        .map_err(|error| error.to_string())
}

#[test]
fn an_app_of_neons_quick_start_is_all_that_has_to_be_set() {
    // As Neon's pages have it, with what else stands in such a file.
    let vite = ("VITE_NEON_AUTH_URL", URL);
    let database =
        ("DATABASE_URL", "postgresql://neondb_owner:hunter2@ep-quiet-sun-1.us-east-1.aws.neon.tech/neondb");
    let seed = ("AUTH_VERIFIER_IDENTITY__SEED", SECRET);
    for env in [
        &[BASE, COOKIE][..],
        &[BASE, COOKIE, database, ("NEXT_PUBLIC_NEON_AUTH_URL", URL)],
        &[vite, seed, database],
        &[BASE, vite, COOKIE],
        &[BASE, seed, ("NEON_AUTH_JWKS_URL", "https://keys.neon.test/jwks.json")],
    ] {
        assert_eq!(load(env).unwrap(), [""; 0], "{env:?}");
    }
    // Whoever has no secret at all must make one, or replicas would not believe one another.
    for env in [&[BASE][..], &[vite]] {
        assert!(load(env).unwrap_err().starts_with("AUTH_VERIFIER_IDENTITY__SEED: set it"));
    }
}

#[test]
fn a_base_url_that_is_none_does_not_start() {
    for (bad, want) in [
        ("https://a.test/neondb/auth/", "ends in a slash"),
        ("https://a.test/neondb/auth//", "ends in a slash"),
        ("http://a.test/neondb/auth", "must begin with https://"),
        ("http://neon:3000/neondb/auth", "must begin with https://"),
        ("http://127.0.0.1.evil.test/auth", "must begin with https://"),
        ("https://u:hunter2@a.test/neondb/auth", "must be scheme, host, port and path alone"),
        ("https://a.test/neondb/auth?x=hunter2", "must be scheme, host, port and path alone"),
        ("https://a.test/neondb/auth#x", "must be scheme, host, port and path alone"),
        ("a.test/neondb/auth", "is not a URL"),
        ("https://a.test/neondb/auth/get-session", "is one of the paths below the Auth URL"),
        ("https://a.test/neondb/auth/.well-known/jwks.json", "is one of the paths below the Auth URL"),
    ] {
        for variable in ["NEON_AUTH_BASE_URL", "VITE_NEON_AUTH_URL"] {
            let error = load(&[(variable, bad), COOKIE]).unwrap_err();
            assert!(error.starts_with(&format!("{variable}: ")) && error.contains(want), "{bad}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
    for good in [
        "http://localhost:3000/neondb/auth",
        "http://127.0.0.1:1/auth",
        "http://[::1]:1/auth",
        "https://a.test",
    ] {
        load(&[("NEON_AUTH_BASE_URL", good), COOKIE]).unwrap();
    }
}

#[test]
fn what_contradicts_it_does_not_start() {
    let keys = format!("{URL}/.well-known/jwks.json");
    for (variables, want) in [
        (
            &[("NEON_AUTH_COOKIE_SECRET", &COOKIE_SECRET[..31]), BASE][..],
            "NEON_AUTH_COOKIE_SECRET: must be at least 32 bytes",
        ),
        (&[COOKIE, OWN], "NEON_AUTH_BASE_URL: set it to the Auth URL"),
        (&[("NEON_AUTH_JWKS_URL", &keys), OWN], "NEON_AUTH_BASE_URL: set it to the Auth URL"),
        (&[PREFIX, OWN], "NEON_AUTH_BASE_URL: set it to the Auth URL"),
        (&[("AUTH_VERIFIER_NEON_AUTH__SCHEMA", "other"), OWN], "NEON_AUTH_BASE_URL: set it to the Auth URL"),
        (&[("AUTH_VERIFIER_NEON_AUTH__MEMBERSHIP", "on"), OWN], "NEON_AUTH_BASE_URL: set it to the Auth URL"),
        (
            &[BASE, COOKIE, ("VITE_NEON_AUTH_URL", "https://ep-other.test/neondb/auth")],
            "VITE_NEON_AUTH_URL: is another one",
        ),
        (
            &[BASE, COOKIE, ("NEON_AUTH_JWKS_URL", "http://a.test/jwks")],
            "NEON_AUTH_JWKS_URL: must begin with https://",
        ),
        // Two authorities.
        (&[BASE, COOKIE, OWN], "AUTH_VERIFIER_NEON_AUTH__USER_PREFIX: must be said"),
        (
            &[BASE, COOKIE, ("BETTER_AUTH_URL", "https://app.test")],
            "AUTH_VERIFIER_NEON_AUTH__USER_PREFIX: must be said",
        ),
        (
            &[BASE, COOKIE, OWN, ("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX", "neon")],
            "AUTH_VERIFIER_NEON_AUTH__USER_PREFIX: must end in",
        ),
        (
            &[BASE, OWN, PREFIX, ("NEON_AUTH_COOKIE_SECRET", SECRET)],
            "NEON_AUTH_COOKIE_SECRET: is Better Auth's secret, too",
        ),
        (
            &[BASE, COOKIE, OWN, PREFIX, ("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", "neon-auth")],
            "AUTH_VERIFIER_SESSION__COOKIE_PREFIX: is Neon Auth's",
        ),
        (
            &[BASE, COOKIE, OWN, PREFIX, ("AUTH_VERIFIER_SESSION__COOKIE", "neon-auth.session_token")],
            "AUTH_VERIFIER_SESSION__COOKIE: is Neon Auth's",
        ),
        (
            &[BASE, COOKIE, ("AUTH_VERIFIER_NEON_AUTH__DANGEROUS_UNSIGNED_COOKIES", "on")],
            "needs AUTH_VERIFIER_DATABASE__URL",
        ),
        (&[BASE, COOKIE, ("AUTH_VERIFIER_JWT__REVOCATION", "user")], "AUTH_VERIFIER_DATABASE__URL: set it"),
        (
            &[
                BASE,
                COOKIE,
                ("AUTH_VERIFIER_JWT__REVOCATION", "session"),
                ("AUTH_VERIFIER_DATABASE__URL", "postgresql://u@localhost/a"),
            ],
            "AUTH_VERIFIER_JWT__REVOCATION: must be off or user",
        ),
        (
            &[BASE, COOKIE, ("AUTH_VERIFIER_NEON_AUTH__SCHEMA", &"x".repeat(64))],
            "AUTH_VERIFIER_NEON_AUTH__SCHEMA: must be a name",
        ),
    ] {
        let error = load(variables).unwrap_err();
        assert!(error.contains(want), "{error}");
        assert!(
            !error.contains(SECRET) && !error.contains(&COOKIE_SECRET[..31]),
            "no secret is shown: {error}"
        );
        let mut lines: Vec<_> = error.lines().collect();
        lines.dedup();
        assert_eq!(lines.len(), error.lines().count(), "said once: {error}");
    }
}

#[test]
fn neon_auth_is_not_set_up_by_what_is_for_ones_own() {
    let origin = "https://ep-quiet-sun-1.neonauth.us-east-1.aws.neon.tech";
    let keys = format!("{URL}/.well-known/jwks.json");
    let app = ("BETTER_AUTH_URL", "https://app.test");
    let opaque = ("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "opaque");
    let test_base = ("NEON_AUTH_BASE_URL", "https://auth.test/x");
    let here = ("NEON_AUTH_BASE_URL", "http://localhost:4400/neondb/auth");
    for (variables, name) in [
        (&[OWN, ("BETTER_AUTH_URL", origin), ("AUTH_VERIFIER_JWKS_URL", &keys)][..], "BETTER_AUTH_URL"),
        (&[OWN, app, ("AUTH_VERIFIER_JWKS_URL", &keys)], "AUTH_VERIFIER_JWKS_URL"),
        (&[OWN, app, ("AUTH_VERIFIER_SESSION__URL", URL)], "AUTH_VERIFIER_SESSION__URL"),
        (&[OWN, app, ("AUTH_VERIFIER_ISSUERS", origin)], "AUTH_VERIFIER_ISSUERS"),
        // One authority, said twice.
        (&[BASE, COOKIE, PREFIX, ("BETTER_AUTH_URL", URL)], "BETTER_AUTH_URL"),
        (&[BASE, COOKIE, OWN, PREFIX, ("AUTH_VERIFIER_ISSUERS", origin)], "AUTH_VERIFIER_ISSUERS"),
        (&[BASE, COOKIE, OWN, PREFIX, ("AUTH_VERIFIER_JWKS_URL", &keys)], "AUTH_VERIFIER_JWKS_URL"),
        (&[BASE, COOKIE, OWN, PREFIX, ("AUTH_VERIFIER_SESSION__URL", URL)], "AUTH_VERIFIER_SESSION__URL"),
        (
            &[BASE, COOKIE, OWN, PREFIX, opaque, ("AUTH_VERIFIER_OAUTH__ISSUERS", origin)],
            "AUTH_VERIFIER_OAUTH__ISSUERS",
        ),
        (&[test_base, COOKIE, PREFIX, ("BETTER_AUTH_URL", "https://auth.test:8443")], "BETTER_AUTH_URL"),
        (&[here, COOKIE, PREFIX, ("BETTER_AUTH_URL", "http://localhost:4400/x")], "BETTER_AUTH_URL"),
        // Of another branch, or of another port.
        (
            &[BASE, COOKIE, PREFIX, ("BETTER_AUTH_URL", "https://ep-b.neonauth.aws.neon.tech")],
            "BETTER_AUTH_URL",
        ),
        (&[BASE, COOKIE, PREFIX, ("BETTER_AUTH_URL", &format!("{origin}:8443/x"))], "BETTER_AUTH_URL"),
        (&[BASE, COOKIE, PREFIX, ("BETTER_AUTH_URL", &format!("{origin}./x"))], "BETTER_AUTH_URL"),
    ] {
        let error = load(variables).unwrap_err();
        let said = format!("{name}: is Neon Auth's, and this is for a Better Auth of your own");
        assert!(error.lines().any(|line| line.starts_with(&said)), "{error}");
        assert!(error.contains("set NEON_AUTH_BASE_URL to the Auth URL of Neon's console"), "{error}");
    }
    // On one machine a port tells one from the other.
    load(&[here, COOKIE, OWN, PREFIX, ("BETTER_AUTH_URL", "http://localhost:3000")]).unwrap();
}

#[test]
fn all_that_is_ones_own_has_to_say_whose_its_ids_are() {
    let database = ("AUTH_VERIFIER_DATABASE__URL", "postgresql://u@localhost/a");
    let opaque = ("AUTH_VERIFIER_OAUTH__ACCESS_TOKENS", "opaque");
    for own in [
        &[database, opaque][..],
        &[
            database,
            opaque,
            ("BETTER_AUTH_URL", "https://app.test"),
            ("AUTH_VERIFIER_JWKS__ENABLED", "false"),
        ],
        // Then its keys are read of its table.
        &[
            database,
            ("AUTH_VERIFIER_ISSUERS", "https://a.test"),
            ("AUTH_VERIFIER_AUDIENCES", "https://a.test"),
        ],
    ] {
        let error = load(&[&[BASE, COOKIE], own].concat()).unwrap_err();
        assert!(error.starts_with("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX: must be said"), "{error}");
        let remarks = load(&[&[BASE, COOKIE, PREFIX], own].concat()).unwrap();
        assert!(remarks.iter().any(|remark| remark.contains("two authorities")), "{remarks:?}");
    }
    assert_eq!(load(&[BASE, COOKIE, database]).unwrap(), [""; 0], "which reads nothing of it");
}

#[test]
fn neither_keys_nor_cookies_are_both_authorities() {
    let app = ("BETTER_AUTH_URL", "https://app.test");
    let with = |variables: &[(&str, &str)]| load(&[&[BASE, COOKIE, OWN, PREFIX, app], variables].concat());
    let keys = "https://app.test/api/auth/jwks";
    for variables in [
        &[("NEON_AUTH_JWKS_URL", keys)][..],
        &[("NEON_AUTH_JWKS_URL", "https://APP.test:443/api/auth/jwks/")],
        &[("NEON_AUTH_JWKS_URL", "https://k.test/jwks"), ("AUTH_VERIFIER_JWKS_URL", "https://k.test/jwks")],
    ] {
        let error = with(variables).unwrap_err();
        assert!(error.starts_with("NEON_AUTH_JWKS_URL: is where another issuer's keys are"), "{error}");
    }
    with(&[("NEON_AUTH_JWKS_URL", "https://app.test/neons/jwks")]).unwrap();
    for prefix in
        ["neon-auth", "neonauth", "__Secure-neon-auth", "__Host-neonauth", "Neon-Auth", "neon-auth.local"]
    {
        let error = with(&[("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", prefix)]).unwrap_err();
        assert!(error.starts_with("AUTH_VERIFIER_SESSION__COOKIE_PREFIX: is Neon Auth's"), "{error}");
    }
    for name in ["AUTH_VERIFIER_SESSION__COOKIE", "AUTH_VERIFIER_COOKIE_CACHE__COOKIE"] {
        let error = with(&[(name, "Neon-auth.sid")]).unwrap_err();
        assert!(error.starts_with(&format!("{name}: is Neon Auth's")), "{error}");
    }
    for prefix in ["neon", "neon-auth-of-ours", "my-neon-auth"] {
        with(&[("AUTH_VERIFIER_SESSION__COOKIE_PREFIX", prefix)]).unwrap();
    }
}

#[test]
fn a_trusted_issuer_is_neither_neons_nor_are_its_users() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let with = |issuer: &str, prefix: &str| {
        let listed =
            format!("issuers = \"{issuer}\"\naudiences = \"api\"\njwks_url = \"https://a.test/jwks\"");
        std::fs::write(file.path(), format!("[[trusted]]\n{listed}\nuser_prefix = \"{prefix}\"\n")).unwrap();
        load(&[BASE, COOKIE, PREFIX, ("AUTH_VERIFIER_CONFIG", file.path().to_str().unwrap())])
    };
    with("https://a.test", "a:").unwrap();
    let origin = "https://ep-quiet-sun-1.neonauth.us-east-1.aws.neon.tech";
    assert!(with(origin, "a:").unwrap_err().contains("is accepted already, with other keys"));
    assert!(with("https://a.test", "neon:x:").unwrap_err().contains("must not be told from"));
    let branch = with("https://ep-b.neonauth.us-east-1.aws.neon.tech", "b:").unwrap_err();
    assert!(
        branch.contains("trusted[0].issuers: ") && branch.contains("NEON_AUTH_BASE_URL alone"),
        "{branch}"
    );
}

#[test]
fn whoever_has_both_is_told_which_counts() {
    for prefix in ["neon:", "none"] {
        let remarks = load(&[BASE, COOKIE, OWN, ("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX", prefix)]).unwrap();
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].contains("two authorities") && remarks[0].contains("neon.tech"), "{remarks:?}");
    }
}
