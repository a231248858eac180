//! What a service may do with its URL, and what nobody may do without one.

use std::{env, os::unix::process::CommandExt};

use super::*;

/// The code of the refusal.
fn refusal(client: &mut Client, statement: &str) -> String {
    let error = client.batch_execute(statement).expect_err(statement);
    let _ = client.batch_execute("rollback; reset role");
    error.code().unwrap_or_else(|| panic!("{statement}: {error}")).code().to_owned()
}

/// `insufficient_privilege`.
const FORBIDDEN: &str = "42501";

#[test]
fn a_service_does_what_it_likes_in_its_database_and_nothing_else() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    postgres.create_database("tasks").unwrap();
    postgres.create_database("others").unwrap();
    let mut service = Client::connect(&postgres.url("tasks"), NoTls).unwrap();
    service
        .batch_execute(
            "create schema s; create table s.t (v text); insert into s.t values ('x'); create table public.u ();
             create function f() returns int language plpgsql as 'begin return 1; end'; drop table public.u",
        )
        .unwrap();

    for (statement, code) in [
        ("copy s.t to program 'cat >/dev/null'", FORBIDDEN),
        ("copy s.t from program 'id'", FORBIDDEN),
        ("copy s.t to '/tmp/a-file-of-the-servers'", FORBIDDEN),
        ("copy s.t from '/etc/hostname'", FORBIDDEN),
        ("select pg_read_file('/etc/hostname')", FORBIDDEN),
        ("select pg_ls_dir('/')", FORBIDDEN),
        ("select lo_import('/etc/hostname')", FORBIDDEN),
        ("select pg_reload_conf()", FORBIDDEN),
        ("alter system set archive_command = 'id'", FORBIDDEN),
        ("set role postgres", FORBIDDEN),
        ("set session authorization postgres", FORBIDDEN),
        ("alter role tasks superuser", FORBIDDEN),
        ("grant pg_execute_server_program to tasks", FORBIDDEN),
        ("alter role postgres password 'x'", FORBIDDEN),
        ("create role r", FORBIDDEN),
        ("create database d", FORBIDDEN),
        ("drop database others", FORBIDDEN),
        ("alter database others owner to tasks", FORBIDDEN),
        ("create extension file_fdw", FORBIDDEN),
        ("create extension dblink", FORBIDDEN),
        ("create function g() returns int language c as 'libc', 'system'", FORBIDDEN),
        ("update pg_authid set rolsuper = true", FORBIDDEN),
        ("select rolpassword from pg_authid", FORBIDDEN),
        ("create event trigger e on ddl_command_end execute function f()", FORBIDDEN),
        ("create tablespace t location '/tmp'", FORBIDDEN),
        ("load '/tmp/x.so'", FORBIDDEN),
        ("set session_preload_libraries = 'x'", FORBIDDEN),
    ] {
        let refused = refusal(&mut service, statement);
        // An extension that isn't installed can't be refused for another reason.
        let is_missing = statement.starts_with("create extension") && ["0A000", "58P01"].contains(&&*refused);
        assert!(refused == code || is_missing, "{statement}: {refused}");
    }

    let mine = "select string_agg(r.rolname, ',') from pg_auth_members join pg_roles r on r.oid = roleid
                where member = 'tasks'::regrole";
    let mut superuser = Client::connect(&postgres.superuser_url("tasks"), NoTls).unwrap();
    assert_eq!(superuser.query_one(mine, &[]).unwrap().get::<_, Option<String>>(0), None);
}

#[test]
fn a_url_leads_to_one_database() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    postgres.create_database("tasks").unwrap();
    postgres.create_database("others").unwrap();
    let url = postgres.url("tasks");
    assert!(answers(&url));
    let (login, _) = url.split_once('@').unwrap();
    for database in ["others", "postgres", "template1"] {
        let superuser = postgres.superuser_url(database);
        let (_, host) = superuser.split_once('@').unwrap();
        assert!(!answers(&format!("{login}@{host}")), "{database}");
    }
    for (part, instead) in [(login, "postgresql://tasks"), (login, "postgresql://tasks:x")] {
        assert!(!answers(&url.replace(part, instead)), "{instead}");
    }
    assert_ne!(
        url.replace("tasks", ""),
        postgres.url("others").replace("others", ""),
        "each has a password of its own"
    );
    assert!(!format!("{postgres:?}").contains(login.rsplit(':').next().unwrap()));
}

/// A role keeps what was granted to it by mistake no longer than to the next start.
#[test]
fn a_role_with_too_many_rights_loses_them() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    let superuser = postgres.superuser_url("postgres");
    execute(&superuser, "create role tasks superuser createrole; grant pg_read_server_files to tasks");
    postgres.create_database("tasks").unwrap();
    let rights = "select rolsuper::text || rolcreaterole::text || (select count(*) from pg_auth_members
                  where member = r.oid)::text from pg_roles r where rolname = 'tasks'";
    assert_eq!(query(&superuser, rights), ["falsefalse0"]);
    assert!(answers(&postgres.url("tasks")));
}

#[test]
fn the_names_of_the_servers_own_databases_are_refused() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    for name in ["postgres", "template0", "template1", "pg_x"] {
        assert!(postgres.create_database(name).is_err(), "{name}");
    }
    let odd = r#"o"d'd $$; %I"#;
    postgres.create_database(odd).unwrap();
    postgres.create_database(odd).unwrap();
    execute(&postgres.url(odd), "create table t ()");
}

/// What an earlier version made for the superuser.
#[test]
fn a_database_of_the_superusers_is_handed_over_whole() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    execute(&postgres.superuser_url("postgres"), "create database tasks");
    execute(
        &postgres.superuser_url("tasks"),
        r#"create schema task_service;
           create table task_service.tasks (id int generated always as identity, n serial, title text primary key);
           insert into task_service.tasks (title) values ('kept');
           create table task_service."Odd Name" (v text) partition by list (v);
           create table task_service.part partition of task_service."Odd Name" default;
           create sequence task_service.counter;
           create view task_service.titles as select title from task_service.tasks;
           create materialized view copies as select title from task_service.tasks;
           create type mood as enum ('ok'); create domain short as text; create type pair as (a int, b int);
           create function f(a text) returns text language sql security definer as 'select a';
           create procedure p() language sql as 'select 1';
           create aggregate total (int) (sfunc = int4pl, stype = int);
           select lo_create(4711)"#,
    );
    // Interrupted and done again, it is done all the same.
    postgres.create_database("tasks").unwrap();
    postgres.create_database("tasks").unwrap();

    let url = postgres.url("tasks");
    assert_eq!(query(&url, "select title from task_service.titles"), ["kept"]);
    let left = "select c::text from (
                    select relname as c, relowner as o, oid from pg_class where relnamespace <> 'pg_toast'::regnamespace
                    union all select proname, proowner, oid from pg_proc
                    union all select typname, typowner, oid from pg_type
                    union all select nspname, nspowner, oid from pg_namespace
                    union all select oid::text::name, lomowner, oid from pg_largeobject_metadata
                    union all select datname, datdba, 16384 from pg_database where datname = 'tasks'
                ) all_of_it where oid >= 16384 and o <> 'tasks'::regrole";
    assert_eq!(query(&url, left), [""; 0]);
    execute(
        &url,
        r#"alter table task_service.tasks add column more text; alter table task_service."Odd Name" add column w text;
           alter sequence task_service.counter restart; drop view task_service.titles; refresh materialized view copies;
           alter type mood add value 'well'; drop function f(text); drop procedure p(); drop aggregate total (int);
           select lo_unlink(4711); create table task_service.next (); drop schema task_service cascade"#,
    );
    assert!(answers(&postgres.url("tasks")));
}

const OTHER_USERS_URL: &str = "DEV_POSTGRES_OTHER_USERS_URL";

/// Not a test: what the next one runs as another user.
#[test]
#[ignore = "run by another test, as another user"]
fn as_another_user() {
    execute(&env::var(OTHER_USERS_URL).unwrap(), "select 1");
}

#[test]
fn another_user_gets_in_with_a_url_that_has_a_password_and_in_no_other_way() {
    if !rustix::process::geteuid().is_root() {
        return test::skip("only root can be another user");
    }
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    postgres.create_database("tasks").unwrap();
    let program = root.path().join("program");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let gets_in = |user: u32, url: String| {
        let mut command = Command::new(&program);
        command.args(["--exact", "--ignored", "roles::as_another_user"]).env(OTHER_USERS_URL, url);
        command.uid(user).gid(user).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    let servers_user = fs::metadata(home(root.path()).join("data"))
        .map(|found| std::os::unix::fs::MetadataExt::uid(&found))
        .unwrap();
    for user in [65534, 12345, servers_user] {
        assert!(gets_in(user, postgres.url("tasks")), "{user}");
        assert!(!gets_in(user, postgres.superuser_url("tasks")), "{user}");
        assert!(!gets_in(user, postgres.superuser_url("postgres")), "{user}");
    }
    assert!(gets_in(0, postgres.superuser_url("postgres")));
}
