//! The headers around a credential.

use dev_better_auth::{Setup, Version};
use http::header;
use serde_json::json;

use crate::pair::{Pair, Sent, Who};

/// Asserts that there is no difference.
pub async fn alike(pair: &Pair, good: &Sent, each: Vec<Sent>) {
    let differences = pair.differences(good, each).await;
    assert!(differences.is_empty(), "{} differences:\n  {}", differences.len(), differences.join("\n  "));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_cookies_the_same_one_counts() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let (ada, bob) = (pair.better_auth.sign_up("ada").await, pair.better_auth.sign_up("bob").await);
        let (ours, other) = (ada.session_cookie(), bob.session_cookie());
        let (name, value) = ours.split_once('=').unwrap();
        let good = Sent::cookie(&ours);
        let first = Sent::cookie(&format!("{ours}; {other}"));
        assert_eq!(pair.check(&first).await, Who::user(&ada.id), "{version}");
        let two_headers = Sent::cookie(&other).and_cookie(&ours);
        assert_eq!(pair.check(&two_headers).await, Who::user(&bob.id), "{version}");

        let texts = [
            format!("{name}=; {ours}"),
            format!("{name}=broken; {ours}"),
            format!("{name}; {ours}"),
            format!("junk; {ours}; junk"),
            format!(";;; {ours};;"),
            format!("={value}; {ours}"),
            format!("a=1;{ours};b=2"),
            format!("a=1 ; {ours} ; b=2"),
            format!("\t{ours}\t"),
            format!("{name} = {value}"),
            format!("{name}\t=\t{value}"),
            format!("{name}=\"{value}\""),
            format!("{name}=\"{value}"),
            format!("{name}={value}\""),
            format!("{name}=\"{value}X"),
            format!("{name}=\" {value} \""),
            format!("{name}=\""),
            format!("a=\"x; {ours}"),
            format!("a=\"x; {ours}; y\""),
            format!("a=1, {ours}"),
            format!("{ours}, a=1"),
            format!("$Version=1; {ours}; $Path=/"),
            format!("{}={value}", name.to_uppercase()),
            format!("{}={value}", name.replace('.', "_")),
            format!("{}={value}", name.replace('.', "%2E")),
            format!("__Secure-{ours}"),
            format!("__Host-{ours}"),
            format!("__Secure-{other}; {ours}"),
            format!("session_token={value}"),
            format!("{name}.0={value}"),
            format!("{name}.0={}; {name}.1={}", &value[..20], &value[20..]),
            format!("{name}_multi-x={value}"),
            format!("a=ü; {ours}; b=\u{2028}"),
            format!("ü={value}; {ours}"),
            format!("a=%; {ours}; b=%ff"),
            format!("{ours}; better-auth.session_data=junk"),
            format!("{ours}; better-auth.session_data={value}"),
            value.to_owned(),
        ];
        let mut sent: Vec<Sent> = texts.iter().map(|text| Sent::cookie(text)).collect();
        sent.push(Sent::cookie("").and_cookie(&ours));
        sent.push(Sent::cookie("a=1").and_cookie(&ours).and_cookie(&other));
        sent.push(Sent::cookie(name).and_cookie(&format!("={value}")));
        alike(&pair, &good, sent).await;

        // Somebody else's cookie that is not text hides nobody's session.
        let odd = Sent::cookie(&format!("a=ü; {ours}"));
        assert_eq!(pair.check(&odd).await, Who::user(&ada.id), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_counts_before_a_cookie_however_its_scheme_is_written() {
    for version in Version::ALL {
        let Some(pair) = Pair::start(Setup::new(version, json!({})), &[]).await else { return };
        let (ada, bob) = (pair.better_auth.sign_up("ada").await, pair.better_auth.sign_up("bob").await);
        let (bare, signed) = (ada.token(), &*ada.bearer);
        let mut sent = vec![Sent::nothing()];
        for token in [bare, signed, &ada.jwt] {
            for text in [
                format!("bearer {token}"),
                format!("BEARER {token}"),
                format!("Bearer  {token}"),
                format!("Bearer {token} "),
                format!("Bearer\t{token}"),
                format!("Bearer{token}"),
                format!("Bearer: {token}"),
                format!("Bearer \"{token}\""),
                format!("Bearer {token}, Bearer {token}"),
                format!("Bearer Bearer {token}"),
                format!("Token {token}"),
                format!("Basic {token}"),
                format!("DPoP {token}"),
                token.to_owned(),
                "Bearer".to_owned(),
                "Bearer ".to_owned(),
                "Bearer undefined".to_owned(),
                "Bearer null".to_owned(),
                String::new(),
            ] {
                sent.push(Sent::nothing().and(header::AUTHORIZATION, &text));
            }
            sent.push(Sent::bearer(token).and(header::AUTHORIZATION, "Bearer x"));
            sent.push(Sent::bearer("x").and(header::AUTHORIZATION, &format!("Bearer {token}")));
        }
        let good = Sent::bearer(signed);
        alike(&pair, &good, sent.clone()).await;
        let beside = sent.into_iter().map(|sent| sent.and_cookie(&bob.cookies)).collect();
        alike(&pair, &good, beside).await;
        if version != Version::V1_4 {
            for token in [bare, signed, &ada.jwt] {
                let both = Sent::bearer(token).and_cookie(&bob.cookies);
                assert_eq!(pair.check(&both).await, Who::user(&ada.id), "{version}");
            }
            let lower = Sent::nothing().and(header::AUTHORIZATION, &format!("bearer {signed}"));
            assert_eq!(pair.check(&lower).await, Who::user(&ada.id), "{version}");
        }
        // A session that ended is not made good by somebody else's cookie.
        pair.better_auth.sign_out(&ada).await;
        for token in [bare, signed] {
            assert_eq!(
                pair.ours(&Sent::bearer(token).and_cookie(&bob.cookies)).await,
                Who::Nobody,
                "{version}"
            );
        }
    }
}
