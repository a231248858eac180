//! The tables and columns that the database has, to find out why a look-up fails.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use chassis::outbound::database::{ConnectError, DatabaseError, Statement, described, open};
use tokio::{task::AbortHandle, time::timeout};
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use crate::{
    better_auth::database::{
        Config,
        id::{Id, Text},
        jwk_set, sql,
        tables::{Model, Reads, Tables},
    },
    session::token::SessionToken,
};

/// The most columns that are looked through.
const COLUMNS_MAX: i64 = 20_000;

/// One connection, to look around by.
pub(crate) struct Catalog {
    client: Client,
    task: AbortHandle,
    wait: Duration,
    time_zone: String,
    key_grace_secs: f64,
}

/// A column that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its table's schema.
    pub(crate) schema: String,
    /// Its table.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: String,
    /// The name of its type.
    pub(crate) kind: String,
    /// Whether it is a timestamp without time zone.
    pub(crate) zoneless: bool,
    /// Whether we may read it.
    pub(crate) granted: bool,
    /// Whether row level security may hide rows of its table from us.
    pub(crate) filtered: bool,
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Catalog {
    /// Connects as the service would.
    pub(crate) async fn open(config: &Config) -> Result<Self, ConnectError> {
        let (client, task) = open(&config.dsn, config.pool.connect).await?;
        Ok(Self {
            client,
            task,
            wait: config.pool.query,
            time_zone: config.time_zone.clone(),
            key_grace_secs: config.key_grace.as_secs_f64(),
        })
    }

    /// How many seconds the server's clock is ahead of ours.
    pub(crate) async fn clock_ahead_secs(&self) -> Result<f64, String> {
        let (before, asked) = (now(), Instant::now());
        let rows = self.query(sql::CLOCK, &[]).await?;
        let between = before + asked.elapsed().as_secs_f64() / 2.0;
        let theirs: f64 = rows.first().ok_or("no row")?.try_get("now").map_err(|error| described(&error))?;
        Ok(theirs - between)
    }

    /// Whether the server knows the time zone that is set; why not.
    pub(crate) async fn time_zone(&self) -> Result<(), String> {
        self.query(sql::TIME_ZONE, &[(&self.time_zone, Type::TEXT)]).await.map(drop)
    }

    /// The columns, those of `schema` first.
    pub(crate) async fn columns(&self, schema: &str) -> Result<Vec<Column>, String> {
        let rows = self.query(sql::COLUMNS, &[(&schema, Type::TEXT), (&COLUMNS_MAX, Type::INT8)]).await?;
        let columns: Result<_, _> = rows.iter().map(column).collect();
        columns.map_err(|error| described(&error))
    }

    /// Runs every statement once, about no user; says what the first that fails is about, and why.
    pub(crate) async fn ask(&self, tables: &Tables, reads: Reads) -> Result<(), (Model, String)> {
        let by_text: [&(dyn ToSql + Sync); 2] = [&"", &self.time_zone];
        let by_id: [&(dyn ToSql + Sync); 3] = [&Id(""), &self.time_zone, &Text("")];
        for (asked, statement, parameters, model) in [
            (reads.session_tokens, tables.session_by_token(), &by_text[..], Model::Session),
            (reads.session_ids, tables.session_by_id(), &by_id, Model::Session),
            (reads.users, tables.user_by_id(), &by_id, Model::User),
            (reads.access_tokens, tables.access_token(), &by_text, Model::OauthAccessToken),
        ] {
            if asked {
                match self.ask_one(&statement, parameters).await {
                    // An empty id is no number, where ids are numbers.
                    Err(error) if error.is_misfit() => {}
                    answer => drop(answer.map_err(|error| (model, error.to_string()))?),
                }
            }
        }
        Ok(())
    }

    /// The keys, as `Database::keys` has them.
    pub(crate) async fn keys(&self, tables: &Tables) -> Result<Bytes, String> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.key_grace_secs, &self.time_zone];
        let rows = self.ask_one(&tables.keys(), &parameters).await.map_err(|error| error.to_string())?;
        jwk_set(&rows)
    }

    /// The token of a living session, of those the one that lives longest; never shown.
    pub(crate) async fn living_session(&self, tables: &Tables) -> Result<Option<SessionToken>, String> {
        let rows = self.query(&tables.living_session(), &[(&self.time_zone, Type::TEXT)]).await?;
        let token = rows.first().map(|row| row.try_get::<_, String>("token")).transpose();
        Ok(token.map_err(|error| described(&error))?.map(SessionToken::of_table))
    }

    async fn ask_one(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let late = || DatabaseError::fault(self.late());
        timeout(self.wait, statement.ask(&self.client, parameters)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn query(&self, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, String> {
        match timeout(self.wait, self.client.query_typed(sql, parameters)).await {
            Ok(answer) => answer.map_err(|error| described(&error)),
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> String {
        format!("no answer within {:?}", self.wait)
    }
}

fn column(row: &Row) -> Result<Column, tokio_postgres::Error> {
    Ok(Column {
        schema: row.try_get("schema")?,
        table: row.try_get("table")?,
        name: row.try_get("column")?,
        kind: row.try_get("type")?,
        zoneless: row.try_get("zoneless")?,
        granted: row.try_get("granted")?,
        filtered: row.try_get("filtered")?,
    })
}

/// In seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
