//! Where the launcher is root: what runs as whom, and what it does in folders of others.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use dev_postgres::test::skip;
use rustix::process::{Signal, geteuid};

use super::{Launcher, READY, folder, free_ports, processes, refusal};

/// Somebody without a name.
const SOMEBODY: u32 = 61_999;

/// A folder for a launcher of root's.
fn roots_folder() -> Option<tempfile::TempDir> {
    if geteuid().is_root() {
        return folder();
    }
    skip("only root can give up root's rights");
    None
}

/// The words of a line of `/proc/PID/status`, less its name.
fn status(pid: i32, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().map(ToOwned::to_owned).collect()
}

/// The session of a process, from `/proc/PID/stat`; 0 where its leader is in another PID namespace, or nobody began one.
fn session(process: &str) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn the_services_of_a_launcher_of_roots_have_no_rights() {
    let Some(folder) = roots_folder() else { return };
    let launcher = Launcher::ready(folder.path(), &[("AWS_SECRET_ACCESS_KEY", "open sesame")]);
    // Whoever shares root's session could type into its terminal, and any process of a user reads the variables of the others.
    let is_apart = |pid: i32| {
        let variables = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let variables = String::from_utf8_lossy(&variables).into_owned();
        assert_ne!(session(&pid.to_string()), session("self"), "{pid}");
        assert!(variables.contains("PATH=") && !variables.contains("sesame"), "{variables}");
        variables
    };
    let of_tasks = is_apart(launcher.service("task-service").unwrap().pid);
    assert!(of_tasks.contains("DATABASE_URL=") && !of_tasks.contains("BETTER_AUTH_SECRET"));
    for (name, user) in [("gateway", "61000"), ("auth-verifier", "61001"), ("task-service", "61002")] {
        let pid = launcher.service(name).unwrap().pid;
        is_apart(pid);
        // Real, effective, saved, and that of files.
        assert_eq!(status(pid, "Uid:"), [user; 4], "{name}");
        assert_eq!(status(pid, "Gid:"), [user; 4], "{name}");
        assert_eq!(status(pid, "Groups:"), [""; 0], "{name}");
        assert_eq!(status(pid, "NoNewPrivs:"), ["1"], "{name}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(status(pid, set), ["0000000000000000"], "{name}: {set}");
        }
        // Each of its threads: the system knows of nothing else.
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let task = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
            assert_eq!(status(task, "Uid:"), [user; 4], "{name}");
        }
    }
    let data = folder.path().canonicalize().unwrap();
    let of_postgres = processes().into_iter().filter(|one| one.command.contains(&*data.to_string_lossy()));
    let servers: Vec<_> = of_postgres.filter(|one| one.command.contains(" -D ")).collect();
    assert!(!servers.is_empty());
    for server in servers {
        is_apart(server.pid);
        let user = &status(server.pid, "Uid:")[0];
        assert!(!["0", "61000", "61001", "61002", "65534"].contains(&&**user), "{server:?}");
    }
    assert!(
        launcher.printed().contains("rights         the services have none of root's: gateway as user 61000")
    );
    assert!(launcher.curl(0).contains("Buy milk"));
}

#[test]
fn what_only_root_may_read_is_read_and_what_only_root_may_enter_is_entered() {
    let Some(folder) = roots_folder() else { return };
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let program = closed.join("usher");
    let built = env!("CARGO_BIN_EXE_usher");
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
    let secret = closed.join("secret");
    fs::write(&secret, "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn\n").unwrap();
    let settings = closed.join("gateway.toml");
    fs::write(&settings, "[limits]\nbody_bytes = 2000\n").unwrap();
    for file in [&secret, &settings] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let ports = free_ports();
    let files = [
        ("BETTER_AUTH_SECRET_FILE", secret.to_str().unwrap()),
        ("GATEWAY_CONFIG", settings.to_str().unwrap()),
    ];
    let prepared = Launcher::command(folder.path(), ports, &files);
    let mut command = Command::new(&program);
    command.envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(&closed);
    let launcher = Launcher::run(&mut command, ports);
    launcher.await_line(READY);
    assert!(launcher.curl_with(0, &files).contains("Buy milk"));
}

/// Whose a file is, who may do what with it, how long it is, and since when.
fn look(path: &Path) -> (u32, u32, u64, i64) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.mode(), found.len(), found.mtime())
}

#[test]
fn root_follows_no_link_in_a_folder_of_somebody_elses() {
    let Some(folder) = roots_folder() else { return };
    let [full, empty, home] = ["full", "empty", "home"].map(|name| folder.path().join(name));
    fs::write(&full, "root's, and long enough to be a secret\n").unwrap();
    fs::write(&empty, "").unwrap();
    fs::create_dir(&home).unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let plant = |name: &str, target: &Path| symlink(target, data.join(name)).unwrap();
    plant("running.lock", &full);
    plant("better-auth-secret", &empty);
    plant("better-auth-secret.new", &full);
    chown(&data, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let victims = [&full, &empty, &home];
    let were = victims.map(|path| look(path));

    let mut launcher = Launcher::ready(folder.path(), &[]);
    assert!(launcher.curl(0).contains("Buy milk"));
    let services = launcher.services();
    launcher.signal(Signal::TERM);
    assert!(launcher.end(folder.path(), &services).success());
    // Its own are in a folder of root's, which nobody needs after this.
    let printed = launcher.printed();
    let place = printed.lines().find_map(|line| line.strip_prefix("data           in ")).unwrap();
    assert!(!place.starts_with(data.to_str().unwrap()), "{place}");
    assert_eq!(look(Path::new(place)).0, 0);
    fs::remove_dir_all(place).unwrap();

    // One in the place of a database is a trap, and is named.
    for name in ["pg15", "pg16", "pg17", "pg18"] {
        plant(name, &home);
    }
    let sentence = refusal(folder.path(), &[]);
    assert!(sentence.starts_with(data.canonicalize().unwrap().join("pg").to_str().unwrap()), "{sentence}");
    assert!(sentence.contains("is a link"), "{sentence}");
    fs::remove_dir_all(place).unwrap();

    assert_eq!(victims.map(|path| look(path)), were);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
}
