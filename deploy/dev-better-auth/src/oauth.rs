//! An OAuth client of a server that has the OAuth provider's plugin, and what such a client is handed.

use http::{Method, Request, header};
use serde_json::json;
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
}

/// What a client was granted.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The access token: a JWT for a resource, opaque without one.
    pub access: String,
    /// The ID token.
    pub id: String,
}

impl BetterAuth {
    /// Registers a client that belongs to somebody. It is told of each sign-out ([`logout_token`](Self::logout_token)).
    ///
    /// # Panics
    ///
    /// Where Better Auth refuses.
    pub async fn oauth_client(&self, owner: &Person) -> OAuthClient {
        let body = json!({
            "redirect_uris": [REDIRECT], "scope": "openid profile email",
            "token_endpoint_auth_method": "client_secret_post",
            "backchannel_logout_uri": format!("https://app.example.com/logout?server={}", self.url),
        });
        let made = self.call(Method::POST, "/oauth2/create-client", &owner.cookies, Some(body)).await;
        OAuthClient { id: text(&made, "client_id"), secret: text(&made, "client_secret") }
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
            ("scope", "openid profile email"),
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
        Granted { access: text(&tokens, "access_token"), id: text(&tokens, "id_token") }
    }

    async fn consent(&self, person: &Person, page: &str) -> String {
        let (_, query) = page.split_once('?').expect("the page is told what was asked");
        let body = json!({"accept": true, "oauth_query": query});
        let answer = self.call(Method::POST, "/oauth2/consent", &person.cookies, Some(body)).await;
        text(&answer, "url")
    }

    /// Whose access token this is, by Better Auth's own word (RFC 7662).
    ///
    /// # Panics
    ///
    /// Where there is no answer.
    pub async fn introspect(&self, client: &OAuthClient, token: &str) -> Option<String> {
        let answer = self.as_client(client, "/oauth2/introspect", [("token", token)]).await;
        (answer.body["active"] == true).then(|| text(&answer, "sub"))
    }

    /// What the clients were told of the last sign-out, by back channel.
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
        OAuthClient { id, secret }: &'a OAuthClient,
        path: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Answer {
        let own = [("client_id", &**id), ("client_secret", &**secret)];
        let body: Body = form(own.into_iter().chain(fields)).into();
        let request = Request::post(format!("{}/api/auth{path}", self.url))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.exchange(request, body).await
    }
}

fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn text(answer: &Answer, name: &str) -> String {
    let text = answer.body[name].as_str();
    text.unwrap_or_else(|| panic!("{name}: {} {}", answer.status, answer.body)).to_owned()
}
