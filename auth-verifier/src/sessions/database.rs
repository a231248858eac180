//! Sessions looked up in Better Auth's own tables, which are only ever read.

pub mod sql;

use chassis::{
    database::{DatabaseError, DatabaseErrorKind, Dsn, Effect, Pool, described},
    identity::{Email, UserId},
    settings::SettingsError,
};
use tokio_postgres::Row;
use tracing::{error, warn};

use self::sql::Tables;
use super::Live;
use crate::{
    Unavailable,
    session::SessionToken,
    settings::{SESSION_DATABASE, Session},
};

/// Better Auth's tables.
pub struct Database {
    pool: Pool,
    look_up: String,
    time_zone: String,
}

/// A session as the database has it.
struct Found {
    user: String,
    email: Option<String>,
    expires: i64,
    banned: bool,
}

impl Database {
    /// Connects when it is first asked. Needs a Tokio runtime.
    pub fn new(settings: &Session) -> Result<Self, SettingsError> {
        let look_up = Tables::parse(&settings.tables)?.look_up();
        let pool = Pool::new(Dsn::parse(&settings.database, &SESSION_DATABASE)?, &settings.database);
        Ok(Self { pool, look_up, time_zone: settings.tables.time_zone.clone() })
    }

    /// The session of `token`; `None` if there is none, it is over, or its user is gone.
    pub async fn find(&self, token: &SessionToken) -> Result<Option<Live>, Unavailable> {
        let found = self.ask(token).await.map_err(|error| {
            match error.kind {
                // No waiting mends this: a table, a column or a grant is not what the settings say.
                DatabaseErrorKind::Fault => error!(%error, "look a session up in Better Auth's tables"),
                _ => warn!(%error, "look a session up in Better Auth's tables"),
            }
            Unavailable::Sessions
        })?;
        let Some(Found { user, email, expires, banned }) = found else { return Ok(None) };
        let Some(user) = UserId::parse(&user) else {
            warn!("a session's user has an id that can't stand in a header");
            return Ok(None);
        };
        let email = email.as_deref().and_then(Email::parse);
        Ok(Some(Live { user, email, expires: expires.try_into().unwrap_or(0), banned }))
    }

    async fn ask(&self, token: &SessionToken) -> Result<Option<Found>, DatabaseError> {
        let rows = self.pool.query(Effect::None, &self.look_up, &[&token.expose(), &self.time_zone]).await?;
        let found = rows.first().map(found).transpose();
        found.map_err(|error| DatabaseError::fault(described(&error)))
    }
}

fn found(row: &Row) -> Result<Found, tokio_postgres::Error> {
    Ok(Found {
        user: row.try_get("id")?,
        email: row.try_get("email")?,
        expires: row.try_get("expires")?,
        banned: row.try_get("banned")?,
    })
}
