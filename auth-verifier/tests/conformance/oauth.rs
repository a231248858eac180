//! Access tokens of the OAuth provider: its introspection (RFC 7662) is the judge.

use dev_better_auth::{OAuthClient, Person, Setup, Version};
use serde_json::{Value, json};

use crate::{
    mutations::{Depth, mutations},
    pair::{Pair, Sent, Tokens, Who, ours, variables, verifier},
};

const API: &str = "https://api.example.com";
const OTHER: &str = "https://other.example.com";

/// A Better Auth with the provider, judged by its introspection; Ada, whose client asks; and Bob.
struct Provider {
    pair: Pair,
    client: OAuthClient,
    ada: Person,
    bob: Person,
}

/// Further options of the provider.
fn setup(further: Value) -> Setup {
    let mut provider = json!({
        "loginPage": "/login", "consentPage": "/consent", "enforcePerClientResources": false,
        "resources": [API, OTHER], "scopes": ["openid", "profile", "email", "offline_access", "work"],
    });
    provider.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    Setup::new(Version::V1_7, json!({"plugins": {"oauthProvider": provider}}))
}

impl Provider {
    /// `accepted` are the forms that we accept, for [`API`].
    async fn start(accepted: &str, further: Value, settings: &[(&str, &str)]) -> Option<Self> {
        let own = [(variables::ACCESS_TOKENS, accepted), (variables::OAUTH_AUDIENCES, API)];
        Self::beside(setup(further), &[&own, settings].concat()).await
    }

    async fn beside(setup: Setup, settings: &[(&str, &str)]) -> Option<Self> {
        // Without the plugin nobody can be told of a sign-out.
        let untold = setup.options["plugins"]["oauthProvider"]["disableJwtPlugin"] == true;
        let metadata = if untold { json!({"backchannel_logout_uri": null}) } else { json!({}) };
        let pair = Pair::start(setup, settings).await?;
        let (ada, bob) = (pair.better_auth.sign_up("ada").await, pair.better_auth.sign_up("bob").await);
        let client = pair.better_auth.oauth_client_with(&ada, metadata).await;
        let pair = pair.judging_by(Tokens::Introspection(client.clone()));
        Some(Self { pair, client, ada, bob })
    }

    async fn granted(&self, person: &Person, resource: Option<&str>) -> String {
        self.pair.better_auth.grant(&self.client, person, resource).await.access
    }

    /// Whose access token it is, by common consent.
    async fn check(&self, token: &str) -> Who {
        self.pair.check(&Sent::bearer(token)).await
    }

    /// Another client of Ada's, which may act for itself.
    async fn own_client(&self) -> OAuthClient {
        let grants = json!({"grant_types": ["authorization_code", "client_credentials"]});
        let client = self.pair.better_auth.oauth_client_with(&self.ada, grants).await;
        self.pair.run(r#"update "oauthClient" set "clientCredentialsScopes" = '["work"]'"#).await;
        client
    }

    /// How it is changed makes no difference, for neither of the two forms.
    async fn changed(&self, resource: Option<&str>) {
        let (good, other) =
            (self.granted(&self.ada, resource).await, self.granted(&self.bob, resource).await);
        let each = mutations(&good, &other, Depth::Many(6));
        let each = each.iter().map(|changed| Sent::bearer(changed));
        let differences = self.pair.differences(&Sent::bearer(&good), each).await;
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_for_us_is_good_and_nothing_else_that_the_keys_sign() {
    let Some(provider) = Provider::start("jwt", json!({}), &[]).await else { return };
    let Provider { pair, client, ada, bob } = &provider;
    let (adas, bobs) = (provider.granted(ada, Some(API)).await, provider.granted(bob, Some(API)).await);
    assert_eq!(provider.check(&adas).await, Who::user(&ada.id));
    assert_eq!(provider.check(&bobs).await, Who::user(&bob.id));
    provider.changed(Some(API)).await;

    // Better Auth speaks for all resources, we for one.
    let other = Sent::bearer(&provider.granted(ada, Some(OTHER)).await);
    assert_eq!(pair.theirs(&other).await, Who::user(&ada.id));
    assert_eq!(pair.ours(&other).await, Who::Nobody);

    let own = pair.better_auth.grant_own(&provider.own_client().await, Some(API)).await;
    assert_eq!(own.matches('.').count(), 2);
    assert_eq!(provider.check(&own).await, Who::Nobody, "a client that acts for itself is no user");

    let id = pair.better_auth.grant(client, ada, Some(API)).await.id;
    let opaque = provider.granted(ada, None).await;
    assert_eq!(provider.check(&id).await, Who::Nobody, "an ID token");
    assert_eq!(pair.ours(&Sent::bearer(&opaque)).await, Who::Nobody, "the other form");
    let granted = pair.scopes(&Sent::bearer(&adas)).await.unwrap();
    assert!(granted.split(' ').any(|scope| scope == "openid"), "{granted}");
    assert_eq!(pair.scopes(&Sent::bearer(&ada.jwt)).await, None);
    // An API token is no access token, and yet good.
    assert_eq!(pair.theirs(&Sent::bearer(&ada.jwt)).await, Who::Nobody);
    assert_eq!(pair.ours(&Sent::bearer(&ada.jwt)).await, Who::user(&ada.id));

    let strict = Pair::beside(
        pair.better_auth.again(setup(json!({}))).await,
        Some(&pair.better_auth.url),
        &[
            (variables::ACCESS_TOKENS, "jwt"),
            (variables::OAUTH_AUDIENCES, API),
            (variables::OAUTH_SCOPES, "email work"),
        ],
    );
    assert_eq!(strict.ours(&Sent::bearer(&adas)).await, Who::NotAllowed, "it lacks a scope");

    pair.better_auth.sign_out(ada).await;
    let logout = pair.better_auth.logout_token().await;
    assert_eq!(provider.check(&logout).await, Who::Nobody, "a logout token");
    // Introspection looks the session up; a JWT says what was so when it was signed.
    assert_eq!(pair.theirs(&Sent::bearer(&adas)).await, Who::Nobody, "signed out");
    assert_eq!(pair.ours(&Sent::bearer(&adas)).await, Who::user(&ada.id), "signed out");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_and_api_tokens_may_have_one_issuer() {
    let mut setup = setup(json!({}));
    setup.options["plugins"]["jwt"] = json!({"jwt": {"issuer": "https://issuer.example.com"}});
    let settings = [
        (variables::ACCESS_TOKENS, "jwt"),
        (variables::ISSUERS, "https://issuer.example.com"),
        ("AUTH_VERIFIER_OAUTH__ISSUERS", "https://issuer.example.com"),
        (variables::OAUTH_AUDIENCES, API),
    ];
    let Some(provider) = Provider::beside(setup, &settings).await else { return };
    let Provider { pair, client, ada, .. } = &provider;
    let granted = pair.better_auth.grant(client, ada, Some(API)).await;
    assert_eq!(provider.check(&granted.access).await, Who::user(&ada.id));
    assert_eq!(pair.ours(&Sent::bearer(&ada.jwt)).await, Who::user(&ada.id));
    // Nothing but its audience tells it from an API token now.
    assert_eq!(provider.check(&granted.id).await, Who::Nobody, "an ID token");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_sessions_are_asked_for_an_access_token_ends_as_introspection_has_it() {
    let revocation = [(variables::JWT_REVOCATION, "session")];
    let Some(provider) = Provider::start("jwt", json!({}), &revocation).await else { return };
    let Provider { pair, ada, bob, .. } = &provider;
    let (adas, bobs) = (provider.granted(ada, Some(API)).await, provider.granted(bob, Some(API)).await);
    assert_eq!(provider.check(&adas).await, Who::user(&ada.id));
    pair.better_auth.sign_out(ada).await;
    assert_eq!(provider.check(&adas).await, Who::Nobody, "signed out");
    assert_eq!(provider.check(&bobs).await, Who::user(&bob.id), "nobody else is");
    pair.run(r#"delete from "user" where name = 'bob'"#).await;
    assert_eq!(provider.check(&bobs).await, Who::Nobody, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_over_when_it_says() {
    let short = json!({"accessTokenExpiresIn": 1});
    for (form, resource) in [("jwt", Some(API)), ("opaque", None)] {
        let Some(provider) = Provider::start(form, short.clone(), &[]).await else { return };
        let token = provider.granted(&provider.ada, resource).await;
        while provider.pair.theirs(&Sent::bearer(&token)).await != Who::Nobody {
            tokio::task::yield_now().await;
        }
        assert_eq!(provider.check(&token).await, Who::Nobody, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_bears_a_token_that_is_bound_to_a_key_is_nobody() {
    for (form, resource) in [("jwt", Some(API)), ("opaque", None)] {
        let Some(provider) = Provider::start(form, json!({}), &[]).await else { return };
        let bound = json!({"dpop_bound_access_tokens": true});
        let client = provider.pair.better_auth.oauth_client_with(&provider.ada, bound).await;
        let token = provider.pair.better_auth.grant(&client, &provider.ada, resource).await.access;
        let pair = provider.pair.judging_by(Tokens::Introspection(client));
        assert_eq!(pair.check(&Sent::bearer(&token)).await, Who::Nobody, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_access_token_is_good_until_it_its_client_or_its_session_ends() {
    let Some(provider) = Provider::start("opaque", json!({}), &[]).await else { return };
    let Provider { pair, client, ada, bob } = &provider;
    let (ada_is, bob_is) = (Who::user(&ada.id), Who::user(&bob.id));
    let token = provider.granted(ada, None).await;
    assert_eq!(provider.check(&token).await, ada_is);
    let granted = pair.scopes(&Sent::bearer(&token)).await.unwrap();
    assert!(granted.split(' ').any(|scope| scope == "openid"), "{granted}");
    provider.changed(None).await;

    let own = pair.better_auth.grant_own(&provider.own_client().await, None).await;
    assert!(!own.contains('.'));
    assert_eq!(provider.check(&own).await, Who::Nobody, "a client that acts for itself is no user");
    let jwt = provider.granted(ada, Some(API)).await;
    assert_eq!(pair.ours(&Sent::bearer(&jwt)).await, Who::Nobody, "the other form");

    pair.better_auth.revoke(client, &token).await;
    assert_eq!(provider.check(&token).await, Who::Nobody, "revoked");

    let token = provider.granted(ada, None).await;
    for (end, who) in [("-1 second", &Who::Nobody), ("1 minute", &ada_is)] {
        pair.run(&format!(r#"update "oauthAccessToken" set "expiresAt" = now() + interval '{end}'"#)).await;
        assert_eq!(provider.check(&token).await, *who, "over in {end}");
    }
    for (disabled, who) in [("true", &Who::Nobody), ("false", &ada_is), ("null", &ada_is)] {
        // Nor may such a client introspect what it was granted.
        pair.run(&format!(r#"update "oauthClient" set disabled = {disabled}"#)).await;
        assert_eq!(provider.check(&token).await, *who, "disabled is {disabled}");
    }
    for (end, who) in [("-1 second", &Who::Nobody), ("1 minute", &ada_is)] {
        pair.run(&format!(r#"update session set "expiresAt" = now() + interval '{end}'"#)).await;
        assert_eq!(provider.check(&token).await, *who, "the session is over in {end}");
    }
    let bobs = provider.granted(bob, None).await;
    pair.better_auth.sign_out(ada).await;
    assert_eq!(provider.check(&token).await, Who::Nobody, "signed out");
    assert_eq!(provider.check(&bobs).await, bob_is, "nobody else is");
    // Nobody is told of a session whose row goes by another way, and the token forgets it.
    pair.run("delete from session").await;
    assert_eq!(provider.check(&bobs).await, bob_is, "the session is gone");
    pair.run(r#"update "user" set banned = true"#).await;
    assert_eq!(pair.theirs(&Sent::bearer(&bobs)).await, bob_is, "Better Auth doesn't look");
    assert_eq!(pair.ours(&Sent::bearer(&bobs)).await, Who::NotAllowed);
    pair.run(r#"delete from "user" where name = 'bob'"#).await;
    assert_eq!(provider.check(&bobs).await, Who::Nobody, "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_access_tokens_may_have_a_prefix_and_need_the_scopes_that_are_demanded() {
    let prefix = json!({"prefix": {"opaqueAccessToken": "my_at_"}});
    let settings = [(variables::OPAQUE_PREFIX, "my_at_"), (variables::OAUTH_SCOPES, "openid,email")];
    let Some(provider) = Provider::start("both", prefix.clone(), &settings).await else { return };
    let Provider { pair, ada, bob, .. } = &provider;
    let (opaque, jwt) = (provider.granted(ada, None).await, provider.granted(bob, Some(API)).await);
    let bare = opaque.strip_prefix("my_at_").unwrap();
    assert_eq!(provider.check(&opaque).await, Who::user(&ada.id));
    assert_eq!(provider.check(&jwt).await, Who::user(&bob.id));
    for bad in [bare, &format!("my_at_{opaque}"), &format!("other_{bare}"), &format!("{bare}my_at_")] {
        assert_eq!(provider.check(bad).await, Who::Nobody, "{bad}");
    }
    // Beside access tokens, sessions and API tokens are what they were.
    for sent in [Sent::bearer(&ada.bearer), Sent::bearer(ada.token()), Sent::cookie(&ada.session_cookie())] {
        assert_eq!(pair.ours(&sent).await, Who::user(&ada.id), "{sent:?}");
    }
    let again = pair.better_auth.again(setup(prefix)).await;
    let forms = [(variables::ACCESS_TOKENS, "both"), (variables::OPAQUE_PREFIX, "my_at_")];
    let audience = [(variables::OAUTH_AUDIENCES, API), (variables::OAUTH_SCOPES, "work")];
    let strict = Pair::beside(again, Some(&pair.better_auth.url), &[forms, audience].concat());
    for token in [&opaque, &jwt] {
        assert_eq!(strict.ours(&Sent::bearer(token)).await, Who::NotAllowed, "it lacks a scope");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_is_granted_while_nobody_is_there_is_good_but_where_it_must_name_a_session() {
    let metadata = json!({
        "scope": "openid offline_access", "grant_types": ["authorization_code", "refresh_token"],
    });
    for (form, resource) in [("jwt", Some(API)), ("opaque", None)] {
        let Some(provider) = Provider::start(form, json!({}), &[]).await else { return };
        let Provider { pair, ada, .. } = &provider;
        let client = pair.better_auth.oauth_client_with(ada, metadata.clone()).await;
        let first = pair.better_auth.grant(&client, ada, resource).await;
        pair.better_auth.sign_out(ada).await;
        let second = pair.better_auth.refresh(&client, first.refresh.as_deref().unwrap(), resource).await;
        let refresh = second.refresh.unwrap();
        assert_eq!(pair.ours(&Sent::bearer(&refresh)).await, Who::Nobody, "{form}: a refresh token");

        let settings = [
            (variables::ACCESS_TOKENS, form),
            (variables::OAUTH_AUDIENCES, API),
            (variables::JWT_REVOCATION, "session"),
        ];
        let strict = verifier(&pair.better_auth, None, &settings);
        let names_one = ours(&strict, &Sent::bearer(&second.access)).await;
        assert_eq!(names_one, if form == "jwt" { Who::Nobody } else { Who::user(&ada.id) }, "{form}");

        let ada = Who::user(&ada.id);
        let pair = provider.pair.judging_by(Tokens::Introspection(client));
        assert_eq!(pair.check(&Sent::bearer(&second.access)).await, ada, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_jwt_plugin_an_opaque_access_token_is_for_its_resource() {
    let Some(provider) = Provider::start("both", json!({"disableJwtPlugin": true}), &[]).await else {
        return;
    };
    let Provider { pair, client, ada, .. } = &provider;
    let ours = pair.better_auth.grant(client, ada, Some(API)).await;
    assert!(!ours.access.contains('.'));
    assert_eq!(provider.check(&ours.access).await, Who::user(&ada.id));
    let other = Sent::bearer(&provider.granted(ada, Some(OTHER)).await);
    assert_eq!(pair.theirs(&other).await, Who::user(&ada.id), "Better Auth speaks for all resources");
    assert_eq!(pair.ours(&other).await, Who::Nobody, "we speak for one");
    // Its key is the client's secret here.
    assert_eq!(provider.check(&ours.id).await, Who::Nobody, "an ID token");
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_access_tokens_are_found_however_their_tables_are_made() {
    let snake = json!({
        "oauthAccessToken": {"modelName": "oauth_access_token", "fields": {
            "clientId": "client_id", "sessionId": "session_id", "userId": "user_id", "expiresAt": "expires_at",
            "scopes": "allowed",
        }},
        "oauthClient": {"modelName": "oauth_client", "fields": {"clientId": "client_id"}},
    });
    let fields = "oauthAccessToken.clientId=client_id, oauthAccessToken.sessionId=session_id, \
                  oauthAccessToken.userId=user_id, oauthAccessToken.expiresAt=expires_at, \
                  oauthAccessToken.scopes=allowed, oauthClient.clientId=client_id";
    let names = [
        ("AUTH_VERIFIER_TABLES__OAUTH_ACCESS_TOKEN", "oauth_access_token"),
        ("AUTH_VERIFIER_TABLES__OAUTH_CLIENT", "oauth_client"),
        (variables::TABLES_FIELDS, fields),
    ];
    let zoneless = r#"
        alter table "oauthAccessToken" alter "expiresAt" type timestamp using "expiresAt" at time zone 'UTC';
        alter table session alter "expiresAt" type timestamp using "expiresAt" at time zone 'UTC'"#;
    for (what, ids, schema, names, sql) in [
        ("uuid", "uuid", json!({}), &[][..], ""),
        ("serial", "serial", json!({}), &[], ""),
        ("renamed", "", snake, &names, ""),
        ("timestamp", "", json!({}), &[], zoneless),
    ] {
        let mut setup = setup(json!({"schema": schema}));
        setup.alone = what == "renamed";
        if !ids.is_empty() {
            setup.options["advanced"] = json!({"database": {"generateId": ids}});
        }
        let own = [
            (variables::ACCESS_TOKENS, "opaque"),
            (variables::OAUTH_AUDIENCES, API),
            (variables::OAUTH_SCOPES, "email"),
        ];
        let Some(provider) = Provider::beside(setup, &[&own, names].concat()).await else { return };
        provider.pair.run(sql).await;
        let Provider { pair, ada, bob, .. } = &provider;
        let (adas, bobs) = (provider.granted(ada, None).await, provider.granted(bob, None).await);
        assert_eq!(provider.check(&adas).await, Who::user(&ada.id), "{what}");
        assert_eq!(provider.check(&bobs).await, Who::user(&bob.id), "{what}");
        pair.better_auth.sign_out(ada).await;
        assert_eq!(provider.check(&adas).await, Who::Nobody, "{what}: signed out");
        assert_eq!(provider.check(&bobs).await, Who::user(&bob.id), "{what}: nobody else is");
    }
}
