//! The role that serves: it owns nothing, may do no more than read and write rows, and is bound by row-level security.
//!
//! Two roles then: one migrates, and the other serves. [`grants`] is the SQL for both.

use chassis::outbound::database::RoleName;
use tokio_postgres::{GenericClient, types::Type};
use tracing::warn;

use super::migrations::PrepareError;

const LOOK: &str = include_str!("role/look.sql");
const ROLES: &str = include_str!("role/roles.sql");
const GRANTS: &str = include_str!("role/grants.sql");

/// A role by which somebody has connected.
pub(super) struct Role {
    pub(super) name: String,
    /// Who owns the schema.
    owner: String,
    /// Whether row-level security binds it.
    is_bound: bool,
    /// Whether it never does, whatever the tables say.
    is_exempt: bool,
    /// Why it doesn't.
    why: String,
    /// What serving takes and it may not do.
    missing: Vec<String>,
}

impl Role {
    /// What it is and may do. Asks the catalogs alone, which everybody may read.
    pub(super) async fn of(client: &impl GenericClient) -> Result<Self, tokio_postgres::Error> {
        let row = client.query_typed_one(LOOK, &[]).await?;
        Ok(Self {
            name: row.try_get("name")?,
            owner: row.try_get("owner")?,
            is_bound: row.try_get("is_bound")?,
            is_exempt: row.try_get("is_exempt")?,
            why: row.try_get("why")?,
            missing: row.try_get("missing")?,
        })
    }

    /// Whether it may read which migrations were applied.
    pub(super) fn may_look(&self) -> bool {
        !self.missing.iter().any(|what| what.ends_with("task_service") || what.ends_with(".migrations"))
    }

    /// An error unless it may do all that serving takes.
    pub(super) fn may_serve(&self) -> Result<(), PrepareError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let (role, missing) = (self.name.clone(), self.missing.join(", "));
        Err(PrepareError::Ungranted { role, missing, mend: self.mend(&self.name) })
    }

    /// Tells whoever looks whether row-level security binds it; an error where that is `required` and it doesn't.
    pub(super) fn show(&self, required: bool) -> Result<(), PrepareError> {
        metrics::gauge!(crate::metrics::ROW_LEVEL_SECURITY.name).set(f64::from(u8::from(self.is_bound)));
        if self.is_bound {
            return Ok(());
        }
        let serving = match &*self.name {
            // Where it is only switched off, that is switched on.
            own if !self.is_exempt => own,
            "task_service" => "task_service_app",
            _ => "task_service",
        };
        let (role, why, mend) = (self.name.clone(), self.why.clone(), self.mend(serving));
        let unbound = PrepareError::Unbound { role, why, mend };
        if required {
            return Err(unbound);
        }
        warn!(cause = %unbound, "only each statement's own condition keeps users apart");
        Ok(())
    }

    /// The command that mends it, with `serving` as the role that serves.
    fn mend(&self, serving: &str) -> String {
        let shell = |name: &str| format!("'{}'", name.replace('\'', r"'\''"));
        // Who serves now migrates from then on, if they own what is there.
        let migrating = if self.owner == serving { "task_service_migrate" } else { &self.owner };
        format!("task-service grants --serve {} --migrate {}", shell(serving), shell(migrating))
    }
}

/// The SQL that makes two roles what they should be, whatever is there already.
///
/// # Errors
///
/// Names that can't be those of two roles.
pub(crate) fn grants(serving: &str, migrating: &str) -> Result<String, String> {
    for name in [serving, migrating] {
        RoleName::parse(name)?;
    }
    if serving == migrating {
        return Err(
            "the role that serves must not be the one that migrates: what it owned it could change".into()
        );
    }
    let literal = |name: &str| format!("'{}'", name.replace('\'', "''"));
    Ok(format!(
        "-- Lets {serving} serve and {migrating} migrate. Run it again at any time; it is done as a whole or not at all.
--
-- Run by a superuser, or by whoever owns the database, may make roles, and can be the owner of what is there (at Neon:
-- neondb_owner).
begin;
set local standard_conforming_strings = on;
set local task_service.serving_role = {serving_text};
set local task_service.migrating_role = {migrating_text};

{ROLES}
{GRANTS}commit;
",
        serving = commented(serving),
        migrating = commented(migrating),
        serving_text = literal(serving),
        migrating_text = literal(migrating),
    ))
}

/// A name on a line of its comment's own.
fn commented(name: &str) -> String {
    format!("{name:?}")
}

/// Lets `serving` serve, within the transaction of the role that migrates; unless they are one.
pub(super) async fn grant(client: &impl GenericClient, serving: &str) -> Result<(), tokio_postgres::Error> {
    let settings = "select set_config('task_service.serving_role', $1, true),
        set_config('task_service.migrating_role', current_user::text, true),
        current_user::text = $1 as are_one";
    let row = client.query_typed_one(settings, &[(&serving, Type::TEXT)]).await?;
    if row.try_get("are_one")? { Ok(()) } else { client.batch_execute(GRANTS).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_stand() {
        let sql = grants("o'brien\"; drop table x; --", "a\nb$roles$").unwrap();
        assert!(sql.contains("\nset local task_service.serving_role = 'o''brien\"; drop table x; --';\n"));
        assert!(sql.lines().next().unwrap().ends_with("as a whole or not at all."), "a comment is one line");
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let long = "x".repeat(64);
        for (serving, migrating) in [
            ("", "m"),
            ("s", ""),
            (&*long, "m"),
            ("pg_s", "m"),
            ("a\0", "m"),
            ("public", "m"),
            ("s", "none"),
            ("m", "m"),
        ] {
            assert!(grants(serving, migrating).is_err(), "{serving} {migrating}");
        }
        assert!(grants(&"x".repeat(63), "m").is_ok());
    }
}
