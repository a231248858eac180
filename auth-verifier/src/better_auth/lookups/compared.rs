//! Checks now and then whether Better Auth still uses its table of sessions. Where it moved them elsewhere
//! (`secondaryStorage`), the table stays behind: new sessions are not in it, and ended ones are.
//!
//! A session that was looked up in the table is also asked about over HTTP. No request waits for that;
//! all that comes of it is a line in the log.

use std::{sync::Arc, time::Duration};

use chassis::clock::UnixSeconds;
use tracing::{debug, error};

use super::{answered, http::Http, seldom::Seldom};
use crate::{better_auth::database::Database, session::token::SessionToken};

/// How often, at most: of those that the table has, and of those that it hasn't.
const EVERY: Duration = Duration::from_mins(10);

/// What the operator has to do.
pub(crate) const CURE: &str = "it keeps them elsewhere (secondaryStorage): set AUTH_VERIFIER_SESSION__LOOKUP=http, or let Better \
                               Auth keep them in its database too (session.storeSessionInDatabase)";

/// Compares the two.
pub(super) struct Compared {
    http: Http,
    database: Arc<Database>,
    alive: Seldom,
    gone: Seldom,
}

impl Compared {
    pub(super) fn new(http: Http, database: Arc<Database>) -> Self {
        Self { http, database, alive: Seldom::new(EVERY), gone: Seldom::new(EVERY) }
    }

    /// A signed `token` was looked up in the table at the time `now`, and was `alive` there or not.
    pub(super) fn note(self: &Arc<Self>, token: &SessionToken, alive: bool, now: UnixSeconds) {
        if !(if alive { &self.alive } else { &self.gone }).due() {
            return;
        }
        let (this, token) = (Arc::clone(self), token.clone());
        tokio::spawn(async move { this.compare(&token, alive, now).await });
    }

    async fn compare(&self, token: &SessionToken, alive: bool, now: UnixSeconds) {
        let result = match self.parted(token, alive, now).await {
            Ok(false) => "same",
            Ok(true) if alive => {
                error!(
                    "Better Auth has forgotten a session that its table still has, and that lets in: {CURE}"
                );
                "forgotten"
            }
            Ok(true) => {
                error!("Better Auth knows a session that its table hasn't, and that is refused: {CURE}");
                "missing"
            }
            // It needn't be within our reach, nor answer plainly, where its tables are.
            Err(why) => {
                debug!("compare a session of the table with what Better Auth says: {why}");
                "unknown"
            }
        };
        metrics::counter!(crate::metrics::SESSIONS_COMPARED.name, "result" => result).increment(1);
    }

    async fn parted(&self, token: &SessionToken, alive: bool, now: UnixSeconds) -> Result<bool, String> {
        let answer =
            self.http.ask(&self.http.cookie(token), None).await.map_err(|error| error.to_string())?;
        let found = answered::read(&answer, token, now).map_err(|odd| odd.to_string())?;
        if found.is_some() == alive {
            return Ok(false);
        }
        // It may have come or gone meanwhile.
        let again = self.database.session(token).await.map_err(|error| error.to_string())?;
        Ok(again.is_some() == alive)
    }
}
