//! Where we answer otherwise than Better Auth, on purpose. Any other difference fails the tests.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use dev_better_auth::Version;
use http::header;

use crate::pair::{Sent, Who};

/// A request that was judged twice.
pub struct Case<'a> {
    pub version: Version,
    pub sent: &'a Sent,
    /// What `sent` is a change of.
    pub good: &'a Sent,
    pub theirs: &'a Who,
    pub ours: &'a Who,
}

/// A reason to answer otherwise, and when it holds.
struct Deviation {
    why: &'static str,
    holds: fn(&Case<'_>) -> bool,
}

/// We let nobody in whom Better Auth doesn't, and nobody as somebody else: but for 1.4, whose own mistakes were mended
/// later, and for what a program says that has no token, a deviation only ever makes us stricter.
const DEVIATIONS: &[Deviation] = &[
    Deviation {
        why: "one spelling: base64 as it was written, with no padding, white space or bits added",
        holds: |case| case.stricter() && case.sent != case.good && loosely(case.sent) == loosely(case.good),
    },
    Deviation {
        why: "after `Bearer` stand one space and a token, once; anything else is no good, and no cookie makes it so",
        holds: |case| {
            let mut given = case.sent.0.get_all(header::AUTHORIZATION).iter();
            case.stricter()
                && given
                    .next()
                    .is_some_and(|value| !value.to_str().is_ok_and(plain) || given.next().is_some())
        },
    },
    Deviation {
        why: "a JWT that is no good does not give way to a cookie, which may be somebody else's",
        holds: |case| case.stricter() && case.has_both() && jwt(case.sent).is_some(),
    },
    Deviation {
        why: "`Bearer null` says that there is no token, so that the cookie counts, as it does without the bearer plugin",
        holds: |case| {
            case.has_both()
                && *case.theirs == Who::Nobody
                && matches!(bearer(case.sent), Some("null" | "undefined"))
        },
    },
    Deviation {
        why: "1.4 takes a bearer token only after `Bearer`, percent-encoded, less a `=`, and behind all cookies",
        holds: |case| {
            let value = case.sent.get(header::AUTHORIZATION).unwrap_or_default();
            let odd = value.contains('=')
                || !value.starts_with("Bearer ")
                || loosely(case.sent) == loosely(case.good);
            case.version == Version::V1_4 && (case.has_both() || odd && !value.is_empty())
        },
    },
    Deviation {
        why: "before 1.7, Better Auth takes a cookie cache for any session, puts pieces together by any number, and \
              mostly knows nobody beside one that is no good",
        holds: |case| {
            let cookies = case.sent.0.get_all(header::COOKIE).iter();
            let cache =
                cookies.into_iter().any(|text| text.to_str().is_ok_and(|text| text.contains("session_data")));
            case.version < Version::V1_7 && cache
        },
    },
    Deviation {
        why: "a banned user is refused; Better Auth only ends the sessions that there are when it bans",
        holds: |case| *case.ours == Who::NotAllowed && matches!(case.theirs, Who::User(_)),
    },
];

/// Why we answer otherwise here; `None` if there is no reason.
pub fn reason(case: &Case<'_>) -> Option<&'static str> {
    DEVIATIONS.iter().find(|deviation| (deviation.holds)(case)).map(|deviation| deviation.why)
}

impl Case<'_> {
    /// Whether we turn somebody away whom Better Auth knows.
    fn stricter(&self) -> bool {
        *self.ours == Who::Nobody && matches!(self.theirs, Who::User(_))
    }

    fn has_both(&self) -> bool {
        self.sent.get(header::AUTHORIZATION).is_some() && self.sent.get(header::COOKIE).is_some()
    }
}

/// The bearer token.
pub fn bearer(sent: &Sent) -> Option<&str> {
    let value = sent.get(header::AUTHORIZATION)?;
    value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer ")).map(|_| &value[7..])
}

/// The bearer token, where it is a JWT by its shape.
pub fn jwt(sent: &Sent) -> Option<&str> {
    bearer(sent).filter(|token| token.matches('.').count() >= 2)
}

/// `Bearer`, one space, and characters that may stand in a token.
fn plain(value: &str) -> bool {
    let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=%".contains(&byte);
    token.is_some_and(|(_, token)| !token.is_empty() && token.bytes().all(allowed))
}

/// What is sent, as somebody reads it who doesn't care how base64 is spelled.
fn loosely(sent: &Sent) -> Vec<Vec<u8>> {
    const LOOSE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let part = |part: &str| {
        let bare: String = part.chars().filter(|char| !char.is_whitespace()).collect();
        let (bare, _) = bare.split_once('=').unwrap_or((&bare, ""));
        LOOSE.decode(bare.replace('+', "-").replace('/', "_")).unwrap_or_else(|_| part.into())
    };
    let values = sent.0.iter().flat_map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let text =
            if name == header::COOKIE { text } else { format!("={}", text.get(6..).unwrap_or_default()) };
        let values = text.split(';').map(|pair| pair.split_once('=').map_or("", |(_, value)| value.trim()));
        values
            .map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
            .collect::<Vec<_>>()
    });
    values.flat_map(|value| value.split('.').map(part).collect::<Vec<_>>()).collect()
}

mod tests {
    use dev_better_auth::Setup;
    use http::header::AUTHORIZATION;
    use serde_json::json;

    use super::{Case, DEVIATIONS, Sent, Version, Who, reason};
    use crate::pair::Pair;

    #[test]
    fn nothing_excuses_us_from_a_good_credential_as_it_was_made() {
        for sent in
            [Sent::bearer("a.b.c"), Sent::bearer("a.b"), Sent::cookie("better-auth.session_token=a.b")]
        {
            let (theirs, ours) = (&Who::user("ada"), &Who::Nobody);
            let case = Case { version: Version::V1_7, sent: &sent, good: &sent, theirs, ours };
            assert_eq!(reason(&case), None, "{sent:?}");
        }
    }

    /// A deviation that nothing shows any more is none: Better Auth has changed, or we have.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_deviation_is_still_one() {
        let mut shown = Vec::new();
        for version in [Version::V1_4, Version::V1_7] {
            let cache = json!({"session": {"cookieCache": {"enabled": true}}});
            let Some(pair) = Pair::start(Setup::new(version, cache), &[]).await else { return };
            let (ada, bob) = (pair.better_auth.sign_up("ada").await, pair.better_auth.sign_up("bob").await);
            let banned = pair.better_auth.sign_up("banned").await;
            pair.run(r#"update "user" set banned = true where name = 'banned'"#).await;
            let (jwt, signed) = (&ada.jwt, &ada.bearer);
            for (sent, good) in [
                (Sent::bearer(&format!("{jwt}==")), Sent::bearer(jwt)),
                (Sent::nothing().and(AUTHORIZATION, &format!("Bearer  {signed}")), Sent::nothing()),
                (Sent::bearer("a.b.c").and_cookie(&ada.session_cookie()), Sent::nothing()),
                (Sent::bearer(signed).and_cookie(&bob.session_cookie()), Sent::nothing()),
                (
                    Sent::cookie(&format!("{}; {}", ada.session_cookie(), bob.cookie("session_data"))),
                    Sent::nothing(),
                ),
                (Sent::bearer(banned.token()), Sent::nothing()),
                (Sent::bearer("null").and_cookie(&bob.session_cookie()), Sent::nothing()),
            ] {
                let (theirs, ours) = (pair.theirs(&sent).await, pair.ours(&sent).await);
                if theirs != ours {
                    shown.extend(reason(&Case {
                        version,
                        sent: &sent,
                        good: &good,
                        theirs: &theirs,
                        ours: &ours,
                    }));
                }
            }
        }
        let unseen: Vec<_> =
            DEVIATIONS.iter().map(|one| one.why).filter(|why| !shown.contains(why)).collect();
        assert!(unseen.is_empty(), "{unseen:#?}");
    }
}
