//! What is asked of Better Auth's tables, and what may be asked: all SQL stands here.
//!
//! Some columns are a plugin's, or came with a later version, and so may not be there. Such a column stands without its
//! table's name, and where the table lacks it, it is looked for further out, and then means that of `absent`: nothing
//! has to be found out before, and nothing that was found out can be outdated. When a column comes or goes, the server
//! reads the prepared statement anew. One that is there but not granted is an error: a ban must not go unseen. So is
//! any other column that is not there.

use chassis::outbound::database::{Idempotency, RoleName, Statement};
use tokio_postgres::types::Type;

use super::tables::{Model, Reads, Tables};
use crate::jwt::keys::KEYS_MAX;

/// By a text, and with the time zone of timestamps that have none.
const BY_TEXT: &[Type] = &[Type::TEXT, Type::TEXT];

/// By an id, whose type the server knows; the same; and the id once more as its text.
const BY_ID: &[Type] = &[Type::UNKNOWN, Type::TEXT, Type::TEXT];

/// The last moment that is read; a row may also have `infinity`, which is no number of seconds.
const LATEST: &str = "'9999-12-31 23:59:59Z'::timestamptz";

impl Tables {
    /// A living session with its user: `$2` is its token, `$3` the time zone of timestamps that have none.
    pub fn session_by_token(&self) -> Statement {
        read("session_by_token", &self.session_by("token", ""), BY_TEXT)
    }

    /// The same, by the session's id, which is `$4` again as text.
    pub fn session_by_id(&self) -> Statement {
        let spelled = format!(" and {}::text = $4", self.required("s", Model::Session, "id"));
        read("session_by_id", &self.session_by("id", &spelled), BY_ID)
    }

    fn session_by(&self, field: &str, and: &str) -> String {
        let session = |field| self.required("s", Model::Session, field);
        let owner = self.owner("living.owner_id");
        format!(
            "select true as found, owner.id, owner.email, owner.email_verified, owner.banned,
    floor(extract(epoch from least(living.expires, {LATEST})))::bigint as expires
from {absent},
    lateral (
        select {user_id} as owner_id, {expires} as expires
        from {table} as s
        where {key} = $2{and}
    ) as living,
    {owner}
where living.expires > now()",
            absent = self.absent(),
            user_id = session("userId"),
            expires = moment(&session("expiresAt")),
            table = self.table(Model::Session),
            key = session(field),
        )
    }

    /// The token of the living session that lives longest; `$1` is the time zone of timestamps that have none.
    pub fn living_session(&self) -> String {
        let session = |field| self.required("s", Model::Session, field);
        format!(
            "select living.token from (
    select {token}::text as token, {expires} as expires from {table} as s
) as living
where living.expires > now() order by living.expires desc limit 1",
            token = session("token"),
            expires = moment(&session("expiresAt")).replace("$3", "$1"),
            table = self.table(Model::Session),
        )
    }

    /// A user, by id: `$2`; `$3` and `$4` as above.
    pub fn user_by_id(&self) -> Statement {
        let id = self.required("u", Model::User, "id");
        let select = format!(
            "select true as found, owner.id, owner.email, owner.email_verified, owner.banned, null::bigint as expires
from {},
    {}",
            self.absent(),
            self.owner(&format!("$2 and {id}::text = $4")),
        );
        read("user_by_id", &select, BY_ID)
    }

    /// A living OAuth access token with its user, by the token's hash: `$2`; `$3` as above. As Better Auth's
    /// introspection has it (`oauth-provider`, `validateOpaqueAccessToken`): not revoked, its client not disabled, its
    /// session alive if it has one. One that is bound to a key (RFC 9449) is no bearer token.
    pub fn access_token(&self) -> Statement {
        let token = |field| self.column(Model::OauthAccessToken, field);
        let (session, client) =
            (|field| self.column(Model::Session, field), |field| self.column(Model::OauthClient, field));
        let select = format!(
            "select true as found, owner.id, owner.email, owner.email_verified, owner.banned,
    floor(extract(epoch from least(living.expires, {LATEST})))::bigint as expires,
    living.scopes, living.resources
from {absent},
    lateral (
        select t.{user_id} as owner_id, {expires} as expires,
            to_jsonb(t.{scopes})::text as scopes, to_jsonb(t.{resources})::text as resources
        from {table} as t
        where t.{key} = $2
            and t.{revoked} is null
            and coalesce(to_jsonb(t.{confirmation}), 'null') = 'null'
            and exists (
                select from {clients} as c
                where c.{client_id} = t.{tokens_client} and not coalesce(c.{disabled}, false)
            )
            and (t.{session_id} is null or exists (
                select from {sessions} as s where s.{id} = t.{session_id} and {session_expires} > now()
            ))
    ) as living,
    {owner}
where living.expires > now()",
            absent = self.absent(),
            user_id = token("userId"),
            expires = moment(&format!("t.{}", token("expiresAt"))),
            scopes = token("scopes"),
            resources = token("resources"),
            table = self.table(Model::OauthAccessToken),
            key = token("token"),
            revoked = token("revoked"),
            confirmation = token("confirmation"),
            clients = self.table(Model::OauthClient),
            client_id = client("clientId"),
            tokens_client = token("clientId"),
            disabled = client("disabled"),
            session_id = token("sessionId"),
            sessions = self.table(Model::Session),
            id = session("id"),
            session_expires = moment(&format!("s.{}", session("expiresAt"))),
            owner = self.owner("living.owner_id"),
        );
        read("access_token", &select, BY_TEXT)
    }

    /// All keys that still count: `$2` is for how many seconds one does after it expired, `$3` as above. Tables from
    /// before 1.4 have no `expiresAt`, from before 1.7 no `alg`. The private halves are never read, nor are more keys
    /// than it takes to see that there are too many.
    pub fn keys(&self) -> Statement {
        let key = |field| self.column(Model::Jwks, field);
        let select = format!(
            "select true as found, key.id, key.public_key, key.alg
from (values (null::timestamptz, null::text)) as absent ({expires_at}, {alg}),
    lateral (
        select {id}::text as id, {public_key}::text as public_key, {stated_alg}::text as alg, {expires} as expires
        from {table} as k
    ) as key
where key.expires is null or key.expires > now() - make_interval(secs => $2)
limit {limit}",
            limit = KEYS_MAX + 1,
            expires_at = key("expiresAt"),
            alg = key("alg"),
            id = self.required("k", Model::Jwks, "id"),
            public_key = self.required("k", Model::Jwks, "publicKey"),
            stated_alg = self.optional("k", Model::Jwks, "alg"),
            expires = moment(&self.optional("k", Model::Jwks, "expiresAt")),
            table = self.table(Model::Jwks),
        );
        read("keys", &select, &[Type::FLOAT8, Type::TEXT])
    }

    /// Stand-ins for the columns of the user that may not be there, such as those of the admin plugin.
    fn absent(&self) -> String {
        let [verified, banned, ban_expires] =
            ["emailVerified", "banned", "banExpires"].map(|field| self.column(Model::User, field));
        format!(
            "(values (null::boolean, null::boolean, null::timestamptz)) as absent ({verified}, {banned}, {ban_expires})"
        )
    }

    /// The user whose id is `by`.
    fn owner(&self, by: &str) -> String {
        let required = |field| self.required("u", Model::User, field);
        let optional = |field| self.optional("u", Model::User, field);
        format!(
            "lateral (
        select {id}::text as id, {email}::text as email, to_jsonb({verified})::text as email_verified,
            coalesce({banned}, false) and coalesce({ban_ends} >= now(), true) as banned
        from {table} as u
        where {id} = {by}
    ) as owner",
            id = required("id"),
            email = required("email"),
            verified = optional("emailVerified"),
            banned = optional("banned"),
            ban_ends = moment(&optional("banExpires")),
            table = self.table(Model::User),
        )
    }

    /// A column that must be there, of the table that goes by `alias`.
    fn required(&self, alias: &str, model: Model, field: &str) -> String {
        format!("{alias}.{}", self.column(model, field))
    }

    /// One that may not be there, unless the settings say what it is called.
    fn optional(&self, alias: &str, model: Model, field: &str) -> String {
        match self.stated(model, field) {
            Some(_) => self.required(alias, model, field),
            None => self.column(model, field).to_string(),
        }
    }

    /// What `role` must be granted for what is read, and no more.
    pub fn grants(&self, role: &RoleName, reads: Reads) -> String {
        let head = format!(
            "\
-- The least that auth-verifier needs, set as it is. Run it as the owner of the tables, then give the role a
-- password: \\password {in_comment:?}. Where row level security is on, the role needs a policy, too. It may be run again at any time.
",
            in_comment = role.text(),
        );
        // Roles are a server's, and may have been made for another database, or by somebody else at this moment.
        let made = block(&format!("create role {role} login;"), "duplicate_object or unique_violation");
        head + &made + &self.further_grants(role, reads)
    }

    /// The same, for a role that is there.
    pub fn further_grants(&self, role: &RoleName, reads: Reads) -> String {
        let columns = |model, fields: &[&str]| {
            let columns: Vec<_> = fields.iter().map(|field| self.column(model, field).to_string()).collect();
            let (columns, table) = (columns.join(", "), self.table(model));
            format!("grant select ({columns}) on {table} to {role};\n")
        };
        // What may not be there is granted where it is.
        let optional = |what: &str, model, fields: &[&str]| {
            let grant = block(columns(model, fields).trim_end(), "undefined_column");
            format!("-- {what} Run this part again when that changes.\n{grant}")
        };
        let mut sql = format!("grant usage on schema {} to {role};\n", self.schema());
        let read: Vec<_> = Model::ALL.into_iter().filter(|model| model.is_read(reads)).collect();
        for model in &read {
            sql += &columns(*model, &model.required(reads));
        }
        for model in read {
            for (what, fields) in model.optional() {
                sql += &optional(what, model, fields);
            }
        }
        sql.trim_end().to_owned()
    }
}

/// A statement that may fail by `condition` and then is as if it had not been sent. No name in it ends its quotes.
fn block(statement: &str, condition: &str) -> String {
    let mut tag = "sql".to_owned();
    while statement.contains(&format!("${tag}")) {
        tag.push('_');
    }
    format!("do ${tag}$\nbegin\n    {statement}\nexception\n    when {condition} then null;\nend\n${tag}$;\n")
}

/// The columns of all tables but the system's own, those of schema `$1` first, at most `$2`: whether each is a
/// timestamp without time zone, whether we may read it, and whether row level security hides rows of its table from us.
pub const COLUMNS: &str = "\
select n.nspname::text as schema, c.relname::text as table, a.attname::text as column,
    a.atttypid = 'timestamp'::regtype as zoneless, format_type(a.atttypid, null) as type,
    has_schema_privilege(n.oid, 'usage') and has_column_privilege(c.oid, a.attnum, 'select') as granted,
    row_security_active(c.oid) as filtered
from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid
where c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
    and n.nspname <> 'information_schema' and not starts_with(n.nspname, 'pg_')
order by n.nspname <> $1, n.nspname, c.relname, a.attnum
limit $2";

/// The server's clock, in seconds since 1970.
pub const CLOCK: &str = "select extract(epoch from clock_timestamp())::float8 as now";

/// Fails where the server doesn't know the time zone `$1`.
pub const TIME_ZONE: &str = "select now() at time zone $1::text";

/// The rows of `select`, under a name of their own: the answer to another question must never say who somebody is.
fn read(name: &'static str, select: &str, types: &'static [Type]) -> Statement {
    let sql = format!(
        "select '{name}' as ran, it.* from (select 1) as one left join lateral (\n{select}\n) as it on $1 = '{name}'"
    );
    Statement::new(name, Idempotency::ReadOnly, sql.into(), types)
}

/// The moment that a column means, whichever kind of timestamp it is.
fn moment(column: &str) -> String {
    format!(
        "case when pg_typeof({column}) = 'timestamptz'::regtype then {column}::timestamptz \
         else {column}::timestamp at time zone $3::text end"
    )
}
