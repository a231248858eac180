//! Makes databases, each with a role that owns it and may do nothing else.

use postgres::{Client, Error};
use postgres_protocol::password::scram_sha_256;

use crate::{
    DatabaseError,
    logins::Secret,
    session::{MAINTENANCE, SUPERUSER, Session},
};

/// Those who make a database take turns: "devpostg". Looking first then spares the server's log an error.
const LOCK: i64 = 0x6465_7670_6f73_7467;

/// What a role may not do; it is not a member of any other either.
const RIGHTS: &str = "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls";

/// Nobody but its owner gets into a database that is not everybody's: nor into those that come with the server.
const KEEP_OUT: &str = "
do $$
declare
    base name;
begin
    for base in select datname from pg_database where has_database_privilege('public', oid, 'connect') loop
        execute format('revoke all on database %I from public', base);
    end loop;
end
$$";

/// Hands the objects of a database to its new owner: `REASSIGN OWNED` refuses those of the first superuser. What belongs to an
/// extension stays with it. The rest, such as operators, can be used by everybody.
const HAND_OVER: &str = "
do $$
declare
    -- What is older came with the server.
    first_own constant oid := 16384;
    thing record;
begin
    for thing in
        select format('schema %I', nspname) as name from pg_namespace n
        where oid >= first_own and nspname !~ '^pg_'
            and not exists (select from pg_depend where classid = 'pg_namespace'::regclass and objid = n.oid and deptype = 'e')
        union all
        select format('table %s', oid::regclass) from pg_class c
        where oid >= first_own and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and not exists (
                select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid
                    -- A sequence that belongs to a column goes with the table.
                    and (deptype = 'e' or relkind = 'S' and refobjsubid > 0 and deptype in ('a', 'i'))
            )
        union all
        select format('routine %s', oid::regprocedure) from pg_proc p
        where oid >= first_own
            and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype in ('e', 'i'))
        union all
        select format('type %s', oid::regtype) from pg_type t
        where oid >= first_own
            and (typtype in ('d', 'e', 'r') or (select relkind = 'c' from pg_class where oid = t.typrelid))
            and not exists (select from pg_depend where classid = 'pg_type'::regclass and objid = t.oid and deptype = 'e')
        union all
        select format('large object %s', oid) from pg_largeobject_metadata
    loop
        execute format('alter %s owner to %I', thing.name, current_setting('dev_postgres.role'));
    end loop;
    execute format('alter database %I owner to %I', current_database(), current_setting('dev_postgres.role'));
end
$$";

/// Makes a database and the role of that name, or sees that both are as they should be.
pub(crate) fn create(session: &Session, secret: &Secret, name: &str) -> Result<(), DatabaseError> {
    if [MAINTENANCE, SUPERUSER, "template0", "template1"].contains(&name) {
        let reason = "the server has one of that name for itself".to_owned();
        return Err(DatabaseError { attempt: "create", name: name.to_owned(), reason });
    }
    // The server's log may show a statement that fails; nothing can be done with this.
    let verifier = scram_sha_256(secret.password(name).as_bytes());
    let make = |client: &mut Client| {
        client.query("select pg_advisory_lock($1)", &[&LOCK])?;
        client.batch_execute(KEEP_OUT)?;
        let is_there = client.query_opt("select from pg_roles where rolname = $1", &[&name])?.is_some();
        let role = quoted(name);
        let verb = if is_there { "alter" } else { "create" };
        client.batch_execute(&format!("{verb} role {role} {RIGHTS} password '{verifier}'"))?;
        let memberships =
            "select roleid::regrole::text from pg_auth_members where member = $1::text::regrole";
        for row in client.query(memberships, &[&role])? {
            client.batch_execute(&format!("revoke {} from {role}", row.get::<_, &str>(0)))?;
        }
        let owner = "select pg_get_userbyid(datdba)::text from pg_database where datname = $1";
        match client.query_opt(owner, &[&name])?.map(|row| row.get::<_, String>(0)) {
            None => client.batch_execute(&format!("create database {role} owner {role}")).map(|()| true),
            Some(owner) => Ok(owner == name),
        }
        .and_then(|is_owned| client.batch_execute(KEEP_OUT).map(|()| is_owned))
    };
    let is_owned = session.run(MAINTENANCE, make).map_err(failed("create", name))?;
    if is_owned {
        // We never go where its owner may have laid something out for a superuser.
        return Ok(());
    }
    let hand_over = |client: &mut Client| {
        let mut transaction = client.transaction()?;
        transaction.query("select pg_advisory_xact_lock($1)", &[&LOCK])?;
        transaction.query("select set_config('dev_postgres.role', $1, true)", &[&name])?;
        transaction.batch_execute(HAND_OVER)?;
        transaction.commit()
    };
    session.run(name, hand_over).map_err(failed("hand over", name))
}

/// Makes a database of the superuser's own.
pub(crate) fn create_for_superuser(session: &Session, name: &str) -> Result<(), DatabaseError> {
    let create = |client: &mut Client| client.batch_execute(&format!("create database {}", quoted(name)));
    session.run(MAINTENANCE, create).map_err(failed("create", name))
}

pub(crate) fn remove(session: &Session, name: &str) -> Result<(), DatabaseError> {
    let statement = format!("drop database if exists {} with (force)", quoted(name));
    session.run(MAINTENANCE, |client| client.batch_execute(&statement)).map_err(failed("drop", name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn failed(attempt: &'static str, name: &str) -> impl FnOnce(Error) -> DatabaseError {
    let name = name.to_owned();
    move |error| {
        let reason = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
        DatabaseError { attempt, name, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted() {
        assert_eq!(quoted(r#"a"b"#), r#""a""b""#);
    }
}
