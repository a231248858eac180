//! Data that were made before: by another PostgreSQL, or by an earlier version of this.

use super::*;

#[test]
fn data_of_another_major_version_are_not_passed_over() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    postgres.stop();
    fs::rename(home(root.path()), root.path().join("pg99")).unwrap();

    let error = Postgres::start(root.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, StartError::OtherMajor { made_by: 99, .. }), "{error}");
    let sentence = error.to_string();
    for part in [
        root.path().join("pg99").to_str().unwrap(),
        "PostgreSQL 99",
        "apt install postgresql-99",
        "pg_upgrade",
    ] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn of_two_versions_data_those_used_last_are_used() {
    let root = folder();
    let Some(postgres) = start(root.path()) else { return };
    let used = postgres.major();
    execute(&postgres.superuser_url("postgres"), "create table t (v text); insert into t values ('kept')");
    postgres.stop();
    let older = root.path().join("pg99");
    fs::create_dir_all(older.join("data")).unwrap();
    fs::write(older.join("server.log"), "").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(86_400);
    fs::File::options().write(true).open(older.join("server.log")).unwrap().set_modified(long_ago).unwrap();

    let mut said = Vec::new();
    let postgres = Postgres::start(root.path(), &mut |note| said.push(note.to_owned())).unwrap();
    assert_eq!(postgres.major(), used);
    assert_eq!(query(&postgres.superuser_url("postgres"), "select v from t"), ["kept"]);
    assert!(
        said.iter().any(|note| note.contains("PostgreSQL 99") && note.contains(older.to_str().unwrap())),
        "{said:?}"
    );
}
