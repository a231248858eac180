//! Root, and a server's user who has been taken over and lays traps for it.

use std::{
    os::unix::{
        fs::{MetadataExt, chown, symlink},
        process::CommandExt,
    },
    path::Path,
};

use super::*;

const NOBODY: u32 = 65534;

/// A server's folder with data in it, that was stopped; `None` where this can't be tried.
fn stopped(root: &Path) -> Option<(PathBuf, Owner)> {
    if !rustix::process::geteuid().is_root() {
        test::skip("only root has another user's folders to fall into");
        return None;
    }
    let postgres = start(root)?;
    postgres.create_database("tasks").unwrap();
    execute(&postgres.url("tasks"), "create table t (v text); insert into t values ('kept')");
    postgres.stop();
    let home = home(root);
    let owner = Owner::of(&home.join("data"));
    Some((home, owner))
}

fn is_kept(root: &Path) -> bool {
    let postgres = Postgres::start(root, &mut |_| {}).unwrap();
    postgres.create_database("tasks").unwrap();
    query(&postgres.url("tasks"), "select v from t") == ["kept"]
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn of(path: &Path) -> Self {
        let found = fs::symlink_metadata(path).unwrap();
        Self { uid: found.uid(), gid: found.gid() }
    }

    /// Runs a shell command as this user.
    fn does(self, command: &str) -> bool {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).uid(self.uid).gid(self.gid).current_dir("/").stderr(Stdio::null());
        shell.status().unwrap().success()
    }
}

/// As the versions before had it: all of it the server's.
fn make_it_theirs(home: &Path, uid: u32, gid: u32) {
    let status = Command::new("chown").arg("-hR").arg(format!("{uid}:{gid}")).arg(home).status().unwrap();
    assert!(status.success());
    fs::set_permissions(home, fs::Permissions::from_mode(0o700)).unwrap();
}

/// A file and a folder of root's that nobody may change.
struct Victim(tempfile::TempDir);

impl Victim {
    fn new() -> Self {
        let victim = Self(folder());
        fs::write(victim.file(), "precious").unwrap();
        fs::create_dir(victim.folder()).unwrap();
        fs::write(victim.folder().join("file"), "precious").unwrap();
        for path in victim.all() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o750)).unwrap();
        }
        victim
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("file")
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("folder")
    }

    fn all(&self) -> [PathBuf; 3] {
        [self.file(), self.folder(), self.folder().join("file")]
    }

    fn is_whole(&self) {
        for path in self.all() {
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 0, 0o750), "{}", path.display());
            assert!(found.is_dir() || fs::read_to_string(&path).unwrap() == "precious", "{}", path.display());
        }
        assert_eq!(fs::read_dir(self.folder()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 2);
    }
}

const OPENED: [&str; 8] = [
    "owner.lock",
    "server.log",
    "guard.sh",
    "pg_hba.conf",
    "pg_ident.conf",
    "role-secret",
    "socket",
    "data.new",
];

/// Puts a trap where root will pass.
type Trap = fn(&Victim, &Path);

#[test]
fn traps_in_a_folder_that_was_the_servers_catch_nobody() {
    let root = folder();
    let Some((home, owner)) = stopped(root.path()) else { return };
    let traps: [(&str, Trap); 6] = [
        ("a link to a file", |victim, trap| symlink(victim.file(), trap).unwrap()),
        ("a link to a folder", |victim, trap| symlink(victim.folder(), trap).unwrap()),
        ("a link to what is not there", |victim, trap| symlink(victim.0.path().join("new"), trap).unwrap()),
        ("another name of a file", |victim, trap| fs::hard_link(victim.file(), trap).unwrap()),
        ("a named pipe", |_, trap| assert!(Command::new("mkfifo").arg(trap).status().unwrap().success())),
        ("a folder with a link", |victim, trap| {
            fs::create_dir(trap).unwrap();
            symlink(victim.folder(), trap.join("link")).unwrap();
        }),
    ];
    for (what, set) in traps {
        let victim = Victim::new();
        for name in OPENED {
            let path = home.join(name);
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir_all(&path);
            set(&victim, &path);
        }
        chown(&home, Some(owner.uid), Some(owner.gid)).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(is_kept(root.path()), "{what}");
        victim.is_whole();
        assert_eq!(Owner::of(&home), Owner { uid: 0, gid: 0 }, "{what}");
        for name in ["server.log", "role-secret", "owner.lock"] {
            assert_eq!(fs::metadata(home.join(name)).unwrap().mode() & 0o777, 0o600, "{what}: {name}");
        }
    }
}

#[test]
fn the_servers_user_can_lay_no_trap() {
    let root = folder();
    let Some((home, owner)) = stopped(root.path()) else { return };
    let postgres = start(root.path()).unwrap();
    let victim = Victim::new();
    let (home, target) = (home.display(), victim.file());
    let target = target.display();
    for name in OPENED.into_iter().chain(["data"]) {
        for command in [
            format!("ln -sfn {target} {home}/{name}"),
            format!("mv -T {home}/{name} {home}/x"),
            format!("rm -rf {home}/{name} && ln -s {target} {home}/{name}"),
            format!("echo x >>{home}/{name}"),
        ] {
            // The two that are its own it may empty.
            assert!(!owner.does(&format!("{command} && ! [ -d {home}/{name} ]")), "{command}");
        }
    }
    assert!(!owner.does(&format!("cat {home}/role-secret")));
    assert!(!owner.does(&format!("ls {home}")));
    drop(postgres);
    victim.is_whole();
}

#[test]
fn traps_in_what_is_the_servers_catch_nobody() {
    let root = folder();
    let Some((home, owner)) = stopped(root.path()) else { return };
    let victim = Victim::new();
    let (home, file, folder) = (home.display(), victim.file(), victim.folder());
    for name in
        ["socket/.s.PGSQL.5432", "socket/.s.PGSQL.5432.lock", "data/postmaster.opts", "data/pg_hba.conf"]
    {
        let target = file.display();
        assert!(owner.does(&format!("rm -f {home}/{name}; ln -s {target} {home}/{name}")), "{name}");
    }
    assert!(
        owner.does(&format!(
            "rmdir {home}/data/pg_replslot; ln -s {} {home}/data/pg_replslot",
            folder.display()
        ))
    );
    let _ = Postgres::start(root.path(), &mut |_| {});
    victim.is_whole();
}

#[test]
fn data_that_are_a_link_are_refused() {
    let root = folder();
    let Some((home, owner)) = stopped(root.path()) else { return };
    let victim = Victim::new();
    fs::rename(home.join("data"), home.join("moved")).unwrap();
    symlink(victim.folder(), home.join("data")).unwrap();
    make_it_theirs(&home, owner.uid, owner.gid);
    let error = Postgres::start(root.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, StartError::Foreign(path) if path.ends_with("data")), "{error}");
    victim.is_whole();
    fs::remove_file(home.join("data")).unwrap();
    fs::rename(home.join("moved"), home.join("data")).unwrap();
    assert!(is_kept(root.path()));
}

#[test]
fn a_folder_of_a_third_user_is_refused_and_stays_theirs() {
    let root = folder();
    let Some((home, _)) = stopped(root.path()) else { return };
    chown(&home, Some(12345), Some(12345)).unwrap();
    let error = Postgres::start(root.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, StartError::Foreign(_)), "{error}");
    assert_eq!(Owner::of(&home).uid, 12345);
}

#[test]
fn what_nobody_had_is_named_and_handed_to_nobody() {
    let root = folder();
    let Some((home, owner)) = stopped(root.path()) else { return };
    let nobody = Owner { uid: NOBODY, gid: NOBODY };
    for folder in [&home, &home.join("data")] {
        make_it_theirs(&home, owner.uid, owner.gid);
        make_it_theirs(folder, NOBODY, NOBODY);
        let error = Postgres::start(root.path(), &mut |_| {}).unwrap_err();
        assert!(matches!(&error, StartError::Nobodys { folder: named, .. } if named == folder), "{error}");
        assert!(error.to_string().contains(&format!("`chown -hR postgres {}`", folder.display())), "{error}");
        for path in [folder, &home.join("data"), &home.join("data/base")] {
            assert_eq!(Owner::of(path), nobody, "{}", path.display());
        }
    }
    make_it_theirs(&home, owner.uid, owner.gid);
    assert!(is_kept(root.path()), "the advice helps");
}

/// Where root keeps what it can't keep in `root`.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn of(root: &Path) -> Self {
        let mut said = Vec::new();
        Postgres::start(root, &mut |note| said.push(note.to_owned())).unwrap();
        let sentence = said.iter().find_map(|note| note.strip_prefix("the data are kept in "));
        let sentence = sentence.unwrap_or_else(|| panic!("{said:?}"));
        Self(sentence.split(',').next().unwrap().into())
    }

    fn former(&self) -> PathBuf {
        Path::new("/var/tmp").join(self.0.file_name().unwrap())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_dir_all(self.former());
    }
}

#[test]
fn data_that_the_system_would_clean_away_are_moved_and_that_is_said() {
    if !rustix::process::geteuid().is_root() {
        return test::skip("only root keeps data elsewhere");
    }
    let closed = folder();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let root = closed.path().join(".data");
    let Some(postgres) = start(&root) else { return };
    postgres.create_database("tasks").unwrap();
    execute(&postgres.url("tasks"), "create table t (v text); insert into t values ('kept')");
    postgres.stop();
    let elsewhere = Elsewhere::of(&root);
    assert!(elsewhere.0.starts_with("/var/lib/usher"), "{}", elsewhere.0.display());
    let home = home(&elsewhere.0);
    let owner = Owner::of(&home.join("data"));

    // As it was: all of it the server's, under /var/tmp.
    let former = elsewhere.former();
    let _ = fs::remove_dir_all(&former);
    fs::create_dir(&former).unwrap();
    fs::set_permissions(&former, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(&home, former.join(home.file_name().unwrap())).unwrap();
    make_it_theirs(&former, owner.uid, owner.gid);

    let mut said = Vec::new();
    let postgres = Postgres::start(&root, &mut |note| said.push(note.to_owned())).unwrap();
    postgres.create_database("tasks").unwrap();
    assert_eq!(query(&postgres.url("tasks"), "select v from t"), ["kept"]);
    assert!(
        said.iter().any(|note| note.contains("moved the data") && note.contains("/var/tmp/")),
        "{said:?}"
    );
    assert!(home.join("data").exists());
    assert!(!former.exists());
    drop(postgres);

    // Somebody else's folder of that name is nothing to us.
    fs::remove_dir_all(&home).unwrap();
    fs::create_dir_all(former.join("pg15/data")).unwrap();
    make_it_theirs(&former, 12345, 12345);
    let postgres = start(&root).unwrap();
    assert!(former.join("pg15/data").exists());
    assert!(postgres.socket_dir().starts_with("/var/lib/usher"));
    drop(postgres);

    // What is `nobody`'s may have been planted by anybody's program.
    fs::rename(former.join("pg15"), former.join("pg99")).unwrap();
    make_it_theirs(&former, NOBODY, NOBODY);
    let mut said = Vec::new();
    drop(Postgres::start(&root, &mut |note| said.push(note.to_owned())).unwrap());
    let sentence = said.iter().find(|note| note.contains("belongs to `nobody`")).unwrap();
    assert!(sentence.starts_with(former.to_str().unwrap()), "{sentence}");
    assert_eq!(Owner::of(&former.join("pg99/data")).uid, NOBODY);
    assert!(!elsewhere.0.join("pg99").exists());
}

/// Data that were never used.
fn older(folder: &Path, major: u32, owner: Owner) {
    let home = folder.join(format!("pg{major}"));
    fs::create_dir_all(home.join("data")).unwrap();
    make_it_theirs(&home, owner.uid, owner.gid);
}

#[test]
fn of_several_data_to_be_moved_those_used_last_are_not_left_behind_by_an_interrupted_move() {
    let root = folder();
    let Some((home, owner)) = stopped(root.path()) else { return };
    make_it_theirs(&home, owner.uid, owner.gid);
    let name = home.file_name().unwrap();
    // Another disk, to which nothing can be renamed, where there is one.
    for base in ["/dev/shm", "/tmp"] {
        let Ok(open) = tempfile::tempdir_in(base) else { continue };
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let elsewhere = Elsewhere::of(open.path());
        fs::remove_dir_all(elsewhere.0.join(name)).unwrap();
        let copied = Command::new("cp").arg("-a").arg(&home).arg(open.path()).status().unwrap();
        assert!(copied.success());
        older(open.path(), 96, owner);
        // One was moved before; of another the half was copied.
        older(&elsewhere.0, 97, owner);
        fs::create_dir(elsewhere.0.join("pg96.new")).unwrap();

        let mut said = Vec::new();
        let postgres = Postgres::start(open.path(), &mut |note| said.push(note.to_owned())).unwrap();
        postgres.create_database("tasks").unwrap();
        assert_eq!(query(&postgres.url("tasks"), "select v from t"), ["kept"], "{base}: {said:?}");
        let moved: Vec<_> = said.iter().filter(|note| note.starts_with("moved the data")).collect();
        assert_eq!(moved.len(), 2, "{said:?}");
        assert!(moved[1].contains("PostgreSQL 96"), "the last used first: {said:?}");
        let mut names: Vec<_> =
            fs::read_dir(&elsewhere.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| name.to_str().unwrap().starts_with("pg"));
        names.sort();
        assert_eq!(names, [name, "pg96".as_ref(), "pg97".as_ref()]);
    }
}

#[test]
fn a_folder_whose_place_is_not_roots_is_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        return test::skip("only root has more to lose than those others");
    }
    for (owner, mode) in [(12345, 0o755), (0, 0o777), (0, 0o775)] {
        let above = folder();
        let root = above.path().join("project/.data");
        fs::create_dir_all(&root).unwrap();
        chown(above.path(), Some(owner), None).unwrap();
        fs::set_permissions(above.path(), fs::Permissions::from_mode(mode)).unwrap();
        let Some(_) = start(&root) else { return };
        let elsewhere = Elsewhere::of(&root);
        assert!(elsewhere.0.starts_with("/var/lib/usher"), "{owner} {mode:o}");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{owner} {mode:o}");
    }
}

#[test]
fn a_folder_that_others_write_to_is_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        return test::skip("only root has more to lose than those others");
    }
    let root = folder();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let Some(_) = start(root.path()) else { return };
    let elsewhere = Elsewhere::of(root.path());
    assert!(elsewhere.0.starts_with("/var/lib/usher"));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn the_server_can_not_read_what_roots_variables_say() {
    let root = folder();
    if stopped(root.path()).is_none() {
        return;
    }
    let held = Holder::start(root.path(), &[("BETTER_AUTH_SECRET", "open sesame")]);
    // The system may tell of each process in another way; this is Linux's.
    let pid = server_pid(root.path());
    for process in [pid, parent_of(pid)] {
        let Ok(variables) = fs::read(format!("/proc/{process}/environ")) else { continue };
        let variables = String::from_utf8_lossy(&variables).into_owned();
        assert!(variables.contains("PATH=") && !variables.contains("sesame"), "{variables}");
        assert_ne!(session(&process.to_string()), session("self"), "it could type into root's terminal");
    }
    held.stop();
}

/// The session of a process, from `/proc/PID/stat`; 0 where its leader is in another PID namespace, or nobody began one.
fn session(process: &str) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().nth(3).unwrap().parse().unwrap()
}
