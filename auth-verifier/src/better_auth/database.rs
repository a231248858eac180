//! Better Auth's own tables, which are only ever read.

pub(crate) mod id;
pub(crate) mod sql;
pub(crate) mod tables;

use std::time::Duration;

use bytes::Bytes;
use chassis::{
    clock::UnixSeconds,
    json::{Raw, Shape},
    outbound::database::{
        DatabaseError, DatabaseErrorKind, DatabaseSettings, Dsn, Pool, Statement, described,
    },
};
use identity::{Email, UserId};
use serde_json::json;
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql},
};
use tracing::{error, warn};

use self::id::{Id, Text};
use self::tables::Tables;
use crate::{
    person::{Expiry, Person, UNNAMEABLE},
    rejection::Unavailable,
    session::token::SessionToken,
};

/// Better Auth's database, and how its tables are read.
#[derive(Clone)]
pub(crate) struct Config {
    /// Where it is.
    pub(crate) dsn: Dsn,
    /// The bounds of the pool.
    pub(crate) pool: DatabaseSettings,
    /// What the tables are called.
    pub(crate) tables: Tables,
    /// What a timestamp without time zone means: the name of a time zone.
    pub(crate) time_zone: String,
    /// How long a key of the table counts after it expired.
    pub(crate) key_grace: Duration,
}

/// Better Auth's tables.
pub struct Database {
    pool: Pool,
    statements: Statements,
    time_zone: String,
    key_grace_secs: f64,
}

/// The statements, made once.
struct Statements {
    session_by_token: Statement,
    session_by_id: Statement,
    user_by_id: Statement,
    access_token: Statement,
    keys: Statement,
}

/// What was found: the owner of a credential, and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Its owner.
    pub(crate) person: Person,
    /// What it allows.
    pub(crate) access: Access,
}

/// What a credential allows its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whatever its owner may do.
    Whole,
    /// What an access token was granted, and no more.
    Granted {
        /// Its scopes; none allow nothing that a scope is demanded for.
        scopes: Vec<String>,
        /// The resources that it is for (RFC 8707); none, where its client asked for none.
        resources: Vec<String>,
    },
}

impl Grant {
    /// All that the person may do.
    pub(crate) fn whole(person: Person) -> Self {
        Self { person, access: Access::Whole }
    }
}

impl Database {
    /// Connects when it is first asked. Needs a Tokio runtime.
    pub(crate) fn new(config: &Config) -> Self {
        let tables = &config.tables;
        Self {
            pool: Pool::new(config.dsn.clone(), &config.pool),
            statements: Statements {
                session_by_token: tables.session_by_token(),
                session_by_id: tables.session_by_id(),
                user_by_id: tables.user_by_id(),
                access_token: tables.access_token(),
                keys: tables.keys(),
            },
            time_zone: config.time_zone.clone(),
            key_grace_secs: config.key_grace.as_secs_f64(),
        }
    }

    /// The session of `token`; `None` if there is none, it has ended, or its user is gone.
    pub async fn session(&self, token: &SessionToken) -> Result<Option<Person>, Unavailable> {
        self.first(&self.statements.session_by_token, &[&token.expose(), &self.time_zone], person).await
    }

    /// The session of that id; `None` as above.
    pub async fn session_by_id(&self, id: &str) -> Result<Option<Person>, Unavailable> {
        self.by_id(&self.statements.session_by_id, id).await
    }

    /// The user of that id; `None` if there is none. Users don't end.
    pub async fn user(&self, user: &UserId) -> Result<Option<Person>, Unavailable> {
        self.by_id(&self.statements.user_by_id, user.as_str()).await
    }

    /// What the opaque access token of that hash was granted; `None` if there is none, or it is no user's.
    pub(crate) async fn access_token(&self, hash: &str) -> Result<Option<Grant>, Unavailable> {
        self.first(&self.statements.access_token, &[&hash, &self.time_zone], grant).await
    }

    /// The keys, as the JWK set that Better Auth would publish (`plugins/jwt/index.ts`, `getJwks`).
    pub async fn keys(&self) -> Result<Bytes, String> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.key_grace_secs, &self.time_zone];
        let rows = self.pool.query(&self.statements.keys, &parameters).await;
        jwk_set(&rows.map_err(|error| error.to_string())?)
    }

    async fn by_id(&self, statement: &Statement, id: &str) -> Result<Option<Person>, Unavailable> {
        self.first(statement, &[&Id(id), &self.time_zone, &Text(id)], person).await
    }

    async fn first<T>(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
        read: impl Fn(&Row) -> Result<Option<T>, String>,
    ) -> Result<Option<T>, Unavailable> {
        let rows = match self.pool.query(statement, parameters).await {
            // No row has an id that its column can't hold.
            Err(error) if error.is_misfit() => return Ok(None),
            rows => rows.map_err(|error| told(&error))?,
        };
        let found = rows.first().map(read).transpose().map(Option::flatten);
        found.map_err(|error| told(&DatabaseError::fault(error)))
    }
}

/// Says in the log why there is no answer.
fn told(error: &DatabaseError) -> Unavailable {
    match error.kind {
        // No waiting mends this: a table, a column or a grant is not what the settings say.
        DatabaseErrorKind::Fault => {
            error!(%error, "look into Better Auth's tables; `auth-verifier doctor` says what is not as it is set");
        }
        _ => warn!(%error, "look into Better Auth's tables; whoever needs that is answered 503"),
    }
    Unavailable::Sessions
}

fn field<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, String> {
    row.try_get(name).map_err(|error| described(&error))
}

/// `None` where the user's id can't be passed on.
fn person(row: &Row) -> Result<Option<Person>, String> {
    let Some(user) = UserId::parse(field(row, "id")?) else {
        warn!("look into Better Auth's tables: {UNNAMEABLE}");
        return Ok(None);
    };
    let email: Option<&str> = field(row, "email")?;
    let expires: Option<i64> = field(row, "expires")?;
    Ok(Some(Person {
        user,
        email: email.and_then(Email::parse),
        email_verified: truth(field(row, "email_verified")?),
        expires: expires.map_or(Expiry::Never, |secs| Expiry::At(UnixSeconds(secs.try_into().unwrap_or(0)))),
        banned: field(row, "banned")?,
    }))
}

/// What a column of whatever type says, as JSON, where it is true or false: some keep the moment instead.
fn truth(json: Option<&str>) -> Option<bool> {
    json?.parse().ok()
}

fn grant(row: &Row) -> Result<Option<Grant>, String> {
    // Scopes that can't be read allow nothing. Resources that can't be read are not the same as none: a token that is
    // for none is accepted.
    let scopes = listed(field(row, "scopes")?).unwrap_or_default();
    let resources = listed(field(row, "resources")?).ok_or("the resources of an access token are no list")?;
    let access = Access::Granted { scopes, resources };
    Ok(person(row)?.map(|person| Grant { person, access }))
}

/// The rows of the table of keys as a JWK set.
pub(crate) fn jwk_set(rows: &[Row]) -> Result<Bytes, String> {
    let keys: Vec<_> = rows.iter().map(jwk).collect::<Result<_, _>>()?;
    Ok(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into())
}

/// A row of the table as a JWK; whether it is any good is for the reader of the set to say, key by key.
fn jwk(row: &Row) -> Result<String, String> {
    let (id, alg): (String, Option<String>) = (field(row, "id")?, field(row, "alg")?);
    let public: &str = field(row, "public_key")?;
    Ok(named(public, &id, alg.as_deref()))
}

/// A public key by the id and the algorithm of its row, whatever it says itself; `null` if it is no object.
fn named(public: &str, id: &str, alg: Option<&str>) -> String {
    let Ok(Shape::Object(members)) = Raw::parse(public.as_bytes()).map(Raw::shape) else {
        return "null".to_owned();
    };
    let mut jwk = format!("{{\"kid\":{}", json!(id));
    if let Some(alg) = alg {
        jwk.extend([",\"alg\":", &json!(alg).to_string()]);
    }
    for (name, value) in members {
        let ours = name.text().is_some_and(|name| name == "kid" || (name == "alg" && alg.is_some()));
        if !ours {
            jwk.extend([",", name.as_str(), ":", value.as_str()]);
        }
    }
    jwk + "}"
}

/// A list as the adapters keep one: an array, or its JSON as text. One that is not there is empty; `None` if it is
/// something else.
fn listed(text: Option<&str>) -> Option<Vec<String>> {
    let kept = Raw::parse(text.unwrap_or("null").as_bytes()).ok()?;
    match kept.shape() {
        Shape::Null => Some(Vec::new()),
        Shape::Text(inner) if inner.is_empty() => Some(Vec::new()),
        Shape::Text(inner) => Raw::parse(inner.as_bytes()).ok()?.texts(),
        _ => kept.texts(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_id_and_the_algorithm_of_its_row() {
        for (public, alg, want) in [
            (r#"{"kty":"OKP","x":"A\u0041"}"#, None, r#"{"kid":"k\"1","kty":"OKP","x":"A\u0041"}"#),
            (r#"{ "kid" : "other", "a" : [ {} ] }"#, None, r#"{"kid":"k\"1","a":[ {} ]}"#),
            (r#"{"alg":"RS256","a":1}"#, Some("ES256"), r#"{"kid":"k\"1","alg":"ES256","a":1}"#),
            (r#"{"alg":"RS256","k\u0069d":1}"#, None, r#"{"kid":"k\"1","alg":"RS256"}"#),
            ("[]", None, "null"),
            (r#"{"a":1}x"#, None, "null"),
            ("", None, "null"),
        ] {
            assert_eq!(named(public, "k\"1", alg), want);
        }
    }

    #[test]
    fn a_list_is_read_in_whichever_way_it_is_kept() {
        let both = ["openid".to_owned(), "tasks".to_owned()];
        for list in [r#"["openid","tasks"]"#, r#""[\"openid\",\"tasks\"]""#] {
            assert_eq!(listed(Some(list)).as_deref(), Some(&both[..]), "{list}");
        }
        for none in [None, Some("null"), Some("[]"), Some(r#""[]""#), Some(r#""""#)] {
            assert_eq!(listed(none).as_deref(), Some(&[][..]), "{none:?}");
        }
        for odd in ["7", r#""openid""#, r#""{openid}""#, r#"["openid",7]"#, r#"{"0":"openid"}"#, ""] {
            assert_eq!(listed(Some(odd)), None, "{odd}");
        }
    }
}
