//! Better Auth's rate limit, as it is in production: a hundred questions, and each client by its address.

use dev_better_auth::{Setup, Version};
use serde_json::{Value, json};

use crate::pair::{self, Sent, variables};

const LIMIT: usize = 100;

/// Whom Better Auth counts, on which `/get-session` stands, with the limit on.
fn limited(version: Version, exempt: Value) -> Setup {
    // All servers of a process count in one memory, and those who sign up have a smaller share.
    let rules = json!({"/sign-up/email": false});
    let mut options =
        json!({"rateLimit": {"enabled": true, "window": 60, "max": LIMIT, "customRules": rules}});
    let rules = options["rateLimit"]["customRules"].as_object_mut().unwrap();
    rules.extend(exempt.as_object().unwrap().clone());
    Setup::new(version, options)
}

const BY_HTTP: [(&str, &str); 2] = [(variables::LOOKUP, "http"), (variables::UNSIGNED_BEARER, "off")];

async fn asked(verifier: &std::sync::Arc<auth_verifier::verdict::Verifier>, sent: &Sent) -> (u16, u32) {
    let verdict = verifier.verify(&sent.0).await;
    let secs = match &verdict {
        auth_verifier::verdict::Verdict::Unavailable(unavailable) => unavailable.retry_after_secs(),
        _ => 0,
    };
    match auth_verifier::transport::answer::to(verdict) {
        Ok(_) => (200, secs),
        Err(problem) => (problem.status().as_u16(), secs),
    }
}

fn from(sent: &Sent, client: &str) -> Sent {
    sent.clone().and(http::HeaderName::from_static("x-forwarded-for"), client)
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_tokens_use_up_nobodys_share() {
    for version in Version::ALL {
        let Some(better_auth) = dev_better_auth::BetterAuth::start(limited(version, json!({}))).await else {
            return;
        };
        let ada = better_auth.sign_up("ada").await;
        let verifier = pair::verifier(&better_auth, None, &BY_HTTP);
        for number in 0..2 * LIMIT {
            let made_up = Sent::bearer(&format!("AStrangersTokenNumber{number:011}"));
            assert_eq!(asked(&verifier, &made_up).await.0, 401, "{version}");
        }
        assert_eq!(asked(&verifier, &Sent::cookie(&ada.session_cookie())).await.0, 200, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_used_up_its_share_is_told_when_to_come_back_and_no_other_is_held_up() {
    for version in Version::ALL {
        let header = json!({"advanced": {"ipAddress": {"ipAddressHeaders": ["x-forwarded-for"]}}});
        let mut setup = limited(version, json!({}));
        setup.options.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let Some(better_auth) = dev_better_auth::BetterAuth::start(setup).await else { return };
        let ada = better_auth.sign_up("ada").await;
        let verifier = pair::verifier(&better_auth, None, &BY_HTTP);
        let (busy, other) = ("203.0.113.7", "203.0.113.8");
        let cookie = Sent::cookie(&ada.session_cookie());
        let mut answers = Vec::new();
        for _ in 0..LIMIT + 20 {
            answers.push(asked(&verifier, &from(&cookie, busy)).await);
        }
        assert!(answers[..LIMIT].iter().all(|(status, _)| *status == 200), "{version}: {answers:?}");
        for (status, secs) in &answers[LIMIT..] {
            assert_eq!(*status, 503, "{version}: {answers:?}");
            assert!((40..=60).contains(secs), "{version}: the rest of its window, {secs} s");
        }
        assert_eq!(asked(&verifier, &from(&cookie, other)).await.0, 200, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_says_lifts_the_limit() {
    for version in Version::ALL {
        let exempt = json!({"/get-session": false});
        let Some(better_auth) = dev_better_auth::BetterAuth::start(limited(version, exempt)).await else {
            return;
        };
        let ada = better_auth.sign_up("ada").await;
        let verifier = pair::verifier(&better_auth, None, &BY_HTTP);
        for _ in 0..LIMIT + 20 {
            assert_eq!(asked(&verifier, &Sent::cookie(&ada.session_cookie())).await.0, 200, "{version}");
        }
    }
}
