//! A statement: its name, whether it may be sent again, its parameters. It can't be mistaken for another, nor another
//! for it.
//!
//! Behind a pooler, the name of a prepared statement may stand for a statement that somebody else prepared. So each
//! statement takes its own name as its first parameter and does nothing under another, and each row of its answer says
//! what ran. There is always a row: one that was not `found` is not part of the answer.
//!
//! A statement about one owner's rows is an [`OwnedStatement`]. It is sent with its owner or not at all.

use std::{fmt, ops::Deref, pin::pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use tokio_postgres::{
    Client, Row, RowStream,
    error::SqlState,
    types::{Format, IsNull, ToSql, Type, to_sql_checked},
};

use super::error::DatabaseError;

/// The columns that each answer begins with: what ran, and whether the row is part of the answer.
const RAN: usize = 0;
const FOUND: usize = 1;

/// The SQLSTATE by which a function says that it can't do in this transaction what the statement does in one of its own.
pub const UNFIT: &str = "US001";

/// Whether a statement may be sent again when nobody knows whether it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// It changes nothing.
    ReadOnly,
    /// Sent twice, it changes what it changes once: an insert whose id was made before.
    Idempotent,
    /// Each time it is sent it may change something more.
    NotIdempotent,
}

impl Idempotency {
    /// A label for metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Idempotent => "idempotent",
            Self::NotIdempotent => "not_idempotent",
        }
    }
}

/// The text of a statement: written in the program, or put together once and shared from then on.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Sql {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Deref for Sql {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<String> for Sql {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

/// A statement. Its text takes its name as `$1` and compares it, and answers with `ran` and `found` before all else:
///
/// ```sql
/// select 'book.get' as ran, it.* from (select 1) as one
/// left join lateral (select true as found, title from books where id = $2) as it on $1 = 'book.get'
/// ```
///
/// Its columns are of the system's own types: to learn of another the driver would prepare statements with a name.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(super) name: &'static str,
    pub(super) idempotency: Idempotency,
    pub(super) sql: Sql,
    types: &'static [Type],
    /// The constraint by which it may lose against another.
    race: Option<&'static str>,
    /// Whether it may take the server long.
    pub(super) is_costly: bool,
    /// How many bytes of its rows are kept.
    bytes_max: usize,
}

impl Statement {
    /// `types` are those of its parameters but the first; the server infers `UNKNOWN`.
    pub const fn new(name: &'static str, idempotency: Idempotency, sql: Sql, types: &'static [Type]) -> Self {
        Self { name, idempotency, sql, types, race: None, is_costly: false, bytes_max: usize::MAX }
    }

    /// The same, for a statement that may take the server long: of those, one owner has fewer in flight.
    #[must_use]
    pub fn costly(self) -> Self {
        Self { is_costly: true, ..self }
    }

    /// The same, of whose rows no more than `bytes` are kept, and the first row that goes beyond. Those behind it are read off
    /// the connection and dropped: nobody waits for them, and they are never in memory at one time.
    #[must_use]
    pub fn within(self, bytes: usize) -> Self {
        Self { bytes_max: bytes, ..self }
    }

    /// The same, for a statement that looks for a row before it makes it: where this constraint says that somebody else has
    /// just made the same, another look finds it. A row that is there twice by any other constraint is a bug of ours.
    #[must_use]
    pub fn racing_for(self, constraint: &'static str) -> Self {
        Self { race: Some(constraint), ..self }
    }

    /// Whether it lost against another who has made the same row.
    pub(super) fn has_lost_the_race(&self, error: &tokio_postgres::Error) -> bool {
        let said = error.as_db_error().filter(|said| *said.code() == SqlState::UNIQUE_VIOLATION);
        self.race.is_some() && said.and_then(|said| said.constraint()) == self.race
    }

    /// The same, as a statement about the rows of one owner, whom the policies of the tables know by `setting`.
    #[must_use]
    pub const fn owned(self, setting: OwnerSetting) -> OwnedStatement {
        OwnedStatement { statement: self, setting, call: None, is_alone: false }
    }

    /// Its text.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The name that it takes as `$1`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sends it over a connection that is not the pool's.
    pub async fn ask(
        &self,
        client: &Client,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let parameters = self.encoded(parameters).map_err(DatabaseError::fault)?;
        let sent = client.query_typed_raw(&self.sql, parameters.into_iter().zip(self.all_types())).await;
        let rows = match sent {
            Ok(rows) => self.rows(rows).await,
            Err(error) => Err(error),
        };
        let rows = rows.map_err(|error| DatabaseError::of(&error, true))?;
        self.own(rows).ok_or_else(|| DatabaseError::foreign(self.name))
    }

    /// Reads the answer to its end, and keeps what its bound allows.
    pub(super) async fn rows(&self, answer: RowStream) -> Result<Vec<Row>, tokio_postgres::Error> {
        let mut answer = pin!(answer);
        let (mut rows, mut bytes) = (Vec::new(), 0_usize);
        while let Some(row) = answer.try_next().await? {
            if bytes <= self.bytes_max {
                bytes = bytes.saturating_add(row.raw_size_bytes());
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The types of all parameters.
    pub(super) fn all_types(&self) -> Vec<Type> {
        [Type::TEXT].iter().chain(self.types).cloned().collect()
    }

    /// Its name and `parameters`, as they are sent. They are owned: the statement goes on when its request is gone.
    pub(super) fn encoded(&self, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Encoded>, String> {
        if parameters.len() != self.types.len() {
            return Err(format!("{} takes {} parameters", self.name, self.types.len()));
        }
        let encode = |(parameter, kind): (&&(dyn ToSql + Sync), &Type)| Encoded::of(*parameter, kind);
        let name = Ok(Encoded::of_static(self.name));
        let all = std::iter::once(name).chain(parameters.iter().zip(self.types).map(encode));
        all.collect::<Result<_, _>>().map_err(|error| format!("{}: {error}", self.name))
    }

    /// The rows of its answer; `None` if that is the answer to another statement.
    pub(super) fn own(&self, mut rows: Vec<Row>) -> Option<Vec<Row>> {
        let is_own = |row: &Row| row.try_get::<_, &str>(RAN).is_ok_and(|ran| ran == self.name);
        if rows.is_empty() || !rows.iter().all(is_own) {
            return None;
        }
        rows.retain(|row| row.try_get::<_, Option<bool>>(FOUND).is_ok_and(|found| found == Some(true)));
        Some(rows)
    }
}

/// What the policies of row-level security call the owner of rows: a setting of the transaction, such as
/// `library.reader_id`. It is never set for longer than one transaction.
#[derive(Clone, Copy, Debug)]
pub struct OwnerSetting(pub &'static str);

/// A statement about the rows of one owner. It can be sent only by
/// [`Pool::query_of`](super::Pool::query_of), which tells the server the owner in the same transaction: forgetting that does
/// not compile.
#[derive(Clone, Debug)]
pub struct OwnedStatement {
    pub(super) statement: Statement,
    setting: OwnerSetting,
    /// The same as a call.
    pub(super) call: Option<Statement>,
    /// Whether the call is sent over a connection that nobody else uses meanwhile.
    pub(super) is_alone: bool,
}

/// Tells the server whose rows the transaction is about. It compares its name, as every statement does.
pub(super) static OWNER: Statement = Statement::new(
    "owner.set",
    Idempotency::ReadOnly,
    Sql::Static(
        "select 'owner.set' as ran, true as found, set_config($2, $3, true) as owner where $1 = 'owner.set'",
    ),
    &[Type::TEXT, Type::TEXT],
);

impl OwnedStatement {
    /// The same, as [`Statement::costly`].
    #[must_use]
    pub fn costly(self) -> Self {
        Self { statement: self.statement.costly(), ..self }
    }

    /// The same, as [`Statement::within`].
    #[must_use]
    pub fn within(self, bytes: usize) -> Self {
        let call = self.call.map(|call| call.within(bytes));
        Self { statement: self.statement.within(bytes), call, ..self }
    }

    /// The same, which the server also has as a function that is told the owner and sets it by itself. `sql` calls it, takes `name`
    /// as `$1` and behind it what the statement takes; the answer is the same. It needs no transaction around it, and reads
    /// among such are sent over connections that many share.
    ///
    /// Where the server doesn't have the function, or the function says [`UNFIT`], the statement itself is sent.
    #[must_use]
    pub fn called(self, name: &'static str, sql: Sql) -> Self {
        let call = Statement { name, sql, ..self.statement.clone() };
        Self { call: Some(call), ..self }
    }

    /// The same, whose call is not sent over a connection that others use meanwhile: its answer may be long.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    /// The call, where there is one.
    pub fn call(&self) -> Option<&Statement> {
        self.call.as_ref()
    }

    /// The parameters of [`OWNER`].
    pub(super) fn owner(&self, owner: &str) -> Vec<Encoded> {
        vec![
            Encoded::of_static(OWNER.name),
            Encoded::of_static(self.setting.0),
            Encoded { value: Some(Bytes::copy_from_slice(owner.as_bytes())), format: Format::Binary },
        ]
    }
}

impl Deref for OwnedStatement {
    type Target = Statement;

    fn deref(&self) -> &Statement {
        &self.statement
    }
}

/// A parameter, as it is sent.
pub(super) struct Encoded {
    /// `None` is null.
    value: Option<Bytes>,
    format: Format,
}

impl Encoded {
    /// A text of ours.
    fn of_static(text: &'static str) -> Self {
        Self { value: Some(Bytes::from_static(text.as_bytes())), format: Format::Binary }
    }

    fn of(
        parameter: &(dyn ToSql + Sync),
        kind: &Type,
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let mut out = BytesMut::new();
        let null = parameter.to_sql_checked(kind, &mut out)?;
        let value = matches!(null, IsNull::No).then(|| out.freeze());
        Ok(Self { value, format: parameter.encode_format(kind) })
    }
}

impl fmt::Debug for Encoded {
    /// Without the value: the driver logs parameters, and some are credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Encoded {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(value) = &self.value else { return Ok(IsNull::Yes) };
        out.extend_from_slice(value);
        Ok(IsNull::No)
    }

    /// The type was checked when the value was encoded.
    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        self.format
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_shown_to_nobody() {
        let encoded = Encoded::of(&"hunter2", &Type::TEXT).unwrap();
        assert_eq!(format!("{encoded:?}"), "…");
        let mut out = BytesMut::new();
        assert!(matches!(encoded.to_sql(&Type::TEXT, &mut out), Ok(IsNull::No)));
        assert_eq!(&out[..], b"hunter2");
    }

    #[test]
    fn a_parameter_that_does_not_fit_is_not_sent() {
        let statement = Statement::new("x", Idempotency::ReadOnly, Sql::Static("select"), &[Type::INT8]);
        assert!(statement.encoded(&[&7_i64]).is_ok());
        for wrong in [&[][..], &[&"7" as &(dyn ToSql + Sync)], &[&7_i64, &7_i64]] {
            assert!(statement.encoded(wrong).is_err());
        }
    }
}
