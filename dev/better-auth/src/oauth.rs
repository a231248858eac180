//! An OAuth client of a server with the OAuth provider's plugin, and the tokens that it gets.

use http::{Method, Request, header};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::{Answer, BetterAuth, Body, Person};

const REDIRECT: &str = "https://app.example.com/callback";

/// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A registered client.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct OAuthClient {
    pub id: String,
    pub secret: String,
    /// The scopes that it requests, separated by spaces.
    pub scope: String,
    /// Whether its tokens are bound to a key of its own (`DPoP`, RFC 9449).
    pub bound: bool,
}

/// The tokens that a client was granted.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The access token: a JWT for a resource, opaque without one.
    pub access: String,
    /// The ID token.
    pub id: String,
    /// The refresh token, if the client requested `offline_access`.
    pub refresh: Option<String>,
}

impl BetterAuth {
    /// Registers a client for somebody. It is notified of each sign-out ([`logout_token`](Self::logout_token)).
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn oauth_client(&self, owner: &Person) -> OAuthClient {
        self.oauth_client_with(owner, json!({})).await
    }

    /// The same, with more metadata (RFC 7591); null removes a member.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn oauth_client_with(&self, owner: &Person, metadata: Value) -> OAuthClient {
        let bound = metadata["dpop_bound_access_tokens"] == true;
        let mut body = json!({
            "redirect_uris": [REDIRECT], "scope": "openid profile email",
            "token_endpoint_auth_method": "client_secret_post",
            "backchannel_logout_uri": format!("https://app.example.com/logout?server={}", self.url),
        });
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        let fields = body.as_object_mut().expect("it is an object");
        fields.extend(metadata);
        fields.retain(|_, value| !value.is_null());
        let made = self.call(Method::POST, "/oauth2/create-client", &owner.cookies, Some(body)).await;
        let of_client = |name| text(&made, name);
        let (id, secret) = (of_client("client_id"), of_client("client_secret"));
        OAuthClient { id, secret, scope: of_client("scope"), bound }
    }

    /// Takes somebody through the code flow, for `resource` if one is named.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn grant(&self, client: &OAuthClient, person: &Person, resource: Option<&str>) -> Granted {
        let asked = [
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", REDIRECT),
            ("scope", &client.scope),
            ("state", "state"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let asked = form(asked.into_iter().chain(resource.map(|resource| ("resource", resource))));
        let asked =
            self.call(Method::GET, &format!("/oauth2/authorize?{asked}"), &person.cookies, None).await;
        let page = asked.headers.get(header::LOCATION).map(|page| page.to_str().expect("a place is text"));
        let page = page.unwrap_or_else(|| panic!("{}: {}", asked.status, asked.body));
        // Whoever consented before is not asked again.
        let back =
            if page.starts_with(REDIRECT) { page.to_owned() } else { self.consent(person, page).await };
        let back = Url::parse(&back).expect("a place is a URL");
        let code = back.query_pairs().find(|(name, _)| name == "code");
        let (_, code) = code.unwrap_or_else(|| panic!("{back}"));
        let given = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let given = given.into_iter().chain(resource.map(|resource| ("resource", resource)));
        let tokens = self.as_client(client, "/oauth2/token", given).await;
        granted(&tokens)
    }

    /// Grants a client the next tokens for a refresh token.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn refresh(&self, client: &OAuthClient, token: &str, resource: Option<&str>) -> Granted {
        let given = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let given = given.into_iter().chain(resource.map(|resource| ("resource", resource)));
        granted(&self.as_client(client, "/oauth2/token", given).await)
    }

    async fn consent(&self, person: &Person, page: &str) -> String {
        let (_, query) = page.split_once('?').expect("the page is told what was asked");
        let body = json!({"accept": true, "oauth_query": query});
        let answer = self.call(Method::POST, "/oauth2/consent", &person.cookies, Some(body)).await;
        text(&answer, "url")
    }

    /// An access token for the client itself, without a user (client credentials, RFC 6749 §4.4), for `resource` if one is
    /// named.
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn grant_own(&self, client: &OAuthClient, resource: Option<&str>) -> String {
        let resource = resource.map(|resource| ("resource", resource));
        let given = std::iter::once(("grant_type", "client_credentials")).chain(resource);
        text(&self.as_client(client, "/oauth2/token", given).await, "access_token")
    }

    /// The access token's user by Better Auth's own word (introspection, RFC 7662). A client's own token has none, nor has
    /// one that is bound to a key.
    ///
    /// # Panics
    ///
    /// Where there is no answer.
    pub async fn introspect(&self, client: &OAuthClient, token: &str) -> Option<String> {
        let Answer { body, .. } = self.as_client(client, "/oauth2/introspect", [("token", token)]).await;
        let of_a_user = body["sub"] != body["client_id"];
        let good = body["active"] == true && body["token_type"] == "Bearer" && of_a_user;
        body["sub"].as_str().filter(|_| good).map(str::to_owned)
    }

    /// Revokes an access token (RFC 7009).
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn revoke(&self, client: &OAuthClient, token: &str) {
        let answer = self.as_client(client, "/oauth2/revoke", [("token", token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// The logout token that clients got at the last sign-out, by back channel.
    ///
    /// # Panics
    ///
    /// Where nobody was.
    pub async fn logout_token(&self) -> String {
        let told = self.ask("told", json!({})).await;
        told.as_str().expect("somebody signed out").to_owned()
    }

    async fn as_client<'a>(
        &self,
        OAuthClient { id, secret, bound, .. }: &'a OAuthClient,
        path: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Answer {
        let own = [("client_id", &**id), ("client_secret", &**secret)];
        let body: Body = form(own.into_iter().chain(fields)).into();
        let url = format!("{}/api/auth{path}", self.url);
        let mut request =
            Request::post(&url).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if *bound {
            let proof = self.ask("proof", json!({"url": url})).await;
            request = request.header("dpop", proof.as_str().expect("it is a text"));
        }
        self.exchange(request, body).await
    }
}

fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn granted(tokens: &Answer) -> Granted {
    let refresh = tokens.body["refresh_token"].as_str().map(str::to_owned);
    Granted { access: text(tokens, "access_token"), id: text(tokens, "id_token"), refresh }
}

fn text(answer: &Answer, name: &str) -> String {
    let text = answer.body[name].as_str();
    text.unwrap_or_else(|| panic!("{name}: {} {}", answer.status, answer.body)).to_owned()
}
