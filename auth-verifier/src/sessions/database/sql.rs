//! What is asked of Better Auth's tables, and what may be asked: all SQL stands here.

use chassis::settings::SettingsError;

use crate::settings::{Columns, SessionTables};

/// The longest name that PostgreSQL doesn't cut off, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The role that is granted what [`Tables::look_up`] needs.
const ROLE: &str = "auth_verifier";

/// How Better Auth's tables and their columns are called; each name quoted.
pub struct Tables {
    schema: String,
    session: String,
    user: String,
    user_id: &'static str,
    expires_at: &'static str,
    ban_expires: &'static str,
}

impl Tables {
    /// Reads the names; an error says which one can't be one.
    pub fn parse(settings: &SessionTables) -> Result<Self, SettingsError> {
        let schema = quoted("SCHEMA", &settings.schema)?;
        let session = format!("{schema}.{}", quoted("SESSION", &settings.session)?);
        let user = format!("{schema}.{}", quoted("USER", &settings.user)?);
        let [user_id, expires_at, ban_expires] = match settings.columns {
            Columns::Camel => [r#""userId""#, r#""expiresAt""#, r#""banExpires""#],
            Columns::Snake => ["user_id", "expires_at", "ban_expires"],
        };
        Ok(Self { schema, session, user, user_id, expires_at, ban_expires })
    }

    /// A living session with its user: `$1` is its token, `$2` the time zone of timestamps that have none.
    ///
    /// The columns for bans are the admin plugin's, and mostly not there. A column that a table lacks is looked for
    /// further out, and then means that of `absent`: nothing has to be found out before, and nothing that was found
    /// out can be outdated. When a column comes or goes, the server reads the prepared statement anew. One that is
    /// there but not granted is an error: a ban must not go unseen.
    pub fn look_up(&self) -> String {
        let Self { session, user, user_id, expires_at, ban_expires, .. } = self;
        let (expires, ban_ends) = (moment(expires_at), moment(ban_expires));
        format!(
            "select owner.id, owner.email, owner.banned, floor(extract(epoch from living.expires))::bigint as expires
from (values (null::boolean, null::timestamptz)) as absent (banned, {ban_expires}),
    lateral (
        select {user_id} as owner_id, {expires} as expires
        from {session} as s
        where token = $1
    ) as living,
    lateral (
        select id::text as id, email::text as email,
            coalesce(banned, false) and coalesce({ban_ends} >= now(), true) as banned
        from {user} as u
        where id = living.owner_id
    ) as owner
where living.expires > now()"
        )
    }

    /// What a role must be granted for [`look_up`](Self::look_up), and no more.
    pub fn grants(&self) -> String {
        let Self { schema, session, user, user_id, expires_at, ban_expires } = self;
        format!(
            "\
-- The least that auth-verifier needs to look sessions up. Run it as the owner of the tables, then give the role a
-- password: \\password {ROLE}. Where row level security is on, the role needs a policy, too.
create role {ROLE} login;
grant usage on schema {schema} to {ROLE};
grant select (token, {user_id}, {expires_at}) on {session} to {ROLE};
grant select (id, email) on {user} to {ROLE};
-- The columns of the admin plugin, if there are any. Run this part again when you add the plugin.
do $grant$
begin
    grant select (banned, {ban_expires}) on {user} to {ROLE};
exception
    when undefined_column then null;
end
$grant$;"
        )
    }
}

/// The moment that a column means, whichever kind of timestamp it is.
fn moment(column: &str) -> String {
    format!(
        "case when pg_typeof({column}) = 'timestamptz'::regtype then {column}::timestamptz \
         else {column}::timestamp at time zone $2::text end"
    )
}

/// A name as an identifier, whatever is in it.
fn quoted(key: &str, name: &str) -> Result<String, SettingsError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        let variable = format!("{}{key}", SessionTables::PREFIX);
        return Err(SettingsError::new(variable, format!("must be a name of 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name_whatever_is_in_it() {
        for (name, want) in [
            ("session", r#""session""#),
            ("Session", r#""Session""#),
            ("my sessions", r#""my sessions""#),
            (r#"a" union select"#, r#""a"" union select""#),
            (&"x".repeat(63), &format!("\"{}\"", "x".repeat(63))),
        ] {
            assert_eq!(quoted("SCHEMA", name).unwrap(), want);
        }
        for bad in ["", "a\0b", &"x".repeat(64), &"ü".repeat(32)] {
            let error = quoted("SCHEMA", bad).unwrap_err().to_string();
            let want = "AUTH_VERIFIER_SESSION__TABLES__SCHEMA: must be a name of 1 to 63 bytes";
            assert_eq!(error, want);
        }
    }
}
