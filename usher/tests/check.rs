//! What `--check` of the real programs says of an environment, a `.env` and a file as they come.
#![expect(clippy::unwrap_used, reason = "a test fails where it can't go on")]

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    process::{Command, Output},
};

const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn";

/// What a program is run with.
#[derive(Default)]
struct Setting<'a> {
    service: &'a str,
    variables: &'a [(&'a str, &'a [u8])],
    dotenv: Option<&'a [u8]>,
    routes: Option<&'a str>,
}

impl Setting<'_> {
    fn check(&self) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        command.args([self.service, "--check"]).env_clear().current_dir(folder.path());
        if let Some(dotenv) = self.dotenv {
            fs::write(folder.path().join(".env"), dotenv).unwrap();
        }
        if let Some(routes) = self.routes {
            fs::write(folder.path().join("routes.toml"), routes).unwrap();
            command.env("GATEWAY_CONFIG", "routes.toml");
        }
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        command.envs(self.variables.iter().map(|(name, value)| (name, os(value))));
        command.output().unwrap()
    }

    #[track_caller]
    fn is_good(&self) {
        let output = self.check();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("{}: the settings are good\n", self.service));
    }

    #[track_caller]
    fn is_refused(&self, wants: &[&str]) {
        let output = self.check();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for want in wants {
            assert!(said.contains(want), "{want}: {said}");
        }
        assert!(!said.contains("hunter2") && !said.contains(SECRET), "{said}");
    }
}

fn usher(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir(folder.path());
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn the_launcher_checks_all_services_and_says_what_is_wrong_last() {
    assert_eq!(usher(&[], &["--check"]), (Some(0), "settings       good\n".into(), String::new()));
    let (code, _, said) = usher(&[("GATEWAY_LOG", "loud"), ("TASK_SERVICE_MIGRATE", "true")], &["--check"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "usher: GATEWAY_LOG: must be auto, text or json (the default is auto)\n\
         usher: TASK_SERVICE_MIGRATE: must be on or off (the default is on)\n"
    );
    assert_eq!(usher(&[], &["--chekc"]).0, Some(2));
    assert_eq!(usher(&[], &["--check", "--shwo"]).0, Some(2));
}

#[test]
fn what_is_in_force_is_shown_without_a_secret() {
    let url = "postgresql://hunter2:hunter2@db/tasks?sslmode=require";
    let seed = "hunter2hunter2hunter2hunter2hunter2hunter2";
    let variables = [
        ("BETTER_AUTH_SECRET", SECRET),
        ("BETTER_AUTH_SECRETS", &format!("1:{SECRET}")),
        ("DATABASE_URL", url),
        ("AUTH_VERIFIER_DATABASE__URL", url),
        ("AUTH_VERIFIER_IDENTITY__SEED", seed),
        ("AUTH_VERIFIER_IDENTITY__NEXT_SEED", seed),
        ("GATEWAY_LIMITS__BODY_BYTES", "1000"),
        ("RUST_LOG", "debug"),
    ];
    let (code, shown, said) = usher(&variables, &["--check", "--show"]);
    assert_eq!((code, &*said), (Some(0), ""), "{shown}");
    for want in [
        "RUST_LOG=debug  # environment",
        "DATABASE_URL=***  # environment",
        "AUTH_VERIFIER_DATABASE__URL=***  # environment",
        "AUTH_VERIFIER_IDENTITY__SEED=***  # environment",
        "AUTH_VERIFIER_IDENTITY__PREVIOUS_SEED=  # default",
        "BETTER_AUTH_URL=http://localhost:3000  # usher",
        "GATEWAY_LIMITS__BODY_BYTES=1000  # environment",
        "GATEWAY_LIMITS__TARGET_BYTES=8192  # default",
        "TASK_SERVICE_MIGRATE=on  # default",
        "# routes: default",
        "#   path = \"/api/**\"",
    ] {
        assert!(shown.lines().any(|line| line == want), "{want}: {shown}");
    }
    assert!(!shown.contains("hunter2") && !shown.contains(SECRET), "{shown}");
    let (_, shown, _) = usher(&[("BETTER_AUTH_SECRET", SECRET)], &["auth-verifier", "--check", "--show"]);
    assert!(shown.contains("\nBETTER_AUTH_SECRET=***  # environment\n"), "{shown}");
    assert!(shown.ends_with("auth-verifier: the settings are good\n"), "{shown}");
    let (code, shown, _) = usher(&variables[..1], &["gateway", "--show"]);
    assert_eq!((code, &*shown), (Some(2), ""), "it goes with --check");
}

#[test]
fn what_a_start_would_refuse_is_not_called_good() {
    let (code, _, said) = usher(&[("APP_ENV", "production")], &["--check"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("usher: DATABASE_URL: names no database"), "{said}");
    let named = [("APP_ENV", "production"), ("DATABASE_URL", "postgresql://u:p@db/tasks")];
    assert_eq!(usher(&named, &["--check"]).0, Some(0));

    let least = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    let least: u16 = least.and_then(|port| port.trim().parse().ok()).unwrap_or(1024);
    let (code, said, error) = usher(&[("PORT", "80")], &["--check"]);
    if rustix::process::geteuid().is_root() && least > 80 {
        assert_eq!(code, Some(1));
        assert_eq!(
            error,
            format!(
                "usher: PORT: port 80 is for root alone, and the services don't run as root: take one from {least} on\n"
            )
        );
    } else {
        assert_eq!(code, Some(0), "{error}");
    }
    assert!(said.contains("the gateway listens on all addresses, because PORT is set\n"), "{said}");
}

#[test]
fn the_launcher_shows_what_it_will_do_where_files_and_a_platform_have_a_say() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(files.path().join(name), text).unwrap();
        files.path().join(name).to_str().unwrap().to_owned()
    };
    let tasks = file(
        "tasks.toml",
        "listen = \"127.0.0.1:8112\"\n[database]\nurl = \"postgresql://hunter2:hunter2@db/tasks\"",
    );
    let verifier = file(
        "verifier.toml",
        &format!(
            "ops_listen = \"127.0.0.1:9111\"\n[better_auth]\nsecret = \"{SECRET}\"\nurl = \"https://a.test\""
        ),
    );
    let variables =
        [("TASK_SERVICE_CONFIG", &*tasks), ("AUTH_VERIFIER_CONFIG", &*verifier), ("PORT", "8080")];
    let (code, shown, said) = usher(&variables, &["--check", "--show"]);
    assert_eq!((code, &*said), (Some(0), ""), "{shown}");
    for want in [
        &format!("DATABASE_URL=***  # {tasks}"),
        &format!("TASK_SERVICE_LISTEN=127.0.0.1:8112  # {tasks}"),
        &format!("BETTER_AUTH_SECRET=***  # {verifier}"),
        &format!("BETTER_AUTH_URL=https://a.test  # {verifier}"),
        &format!("AUTH_VERIFIER_OPS_LISTEN=127.0.0.1:9111  # {verifier}"),
        "GATEWAY_LISTEN=0.0.0.0:8080  # PORT, environment",
        "AUTH_VERIFIER_LISTEN=127.0.0.1:8001  # default",
        "GATEWAY_TASK_SERVICE_URL=http://127.0.0.1:8112  # usher",
        "GATEWAY_AUTH_VERIFIER_URL=http://127.0.0.1:8001  # usher",
        "TASK_SERVICE_IDENTITY_JWKS_URL=http://127.0.0.1:8001/.well-known/jwks.json  # usher",
    ] {
        assert!(shown.lines().any(|line| line == want), "{want}: {shown}");
    }
    assert!(!shown.contains("hunter2") && !shown.contains(SECRET), "{shown}");
    let (code, _, said) = usher(&[("PORT", "http")], &["--check"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "usher: PORT: must be 1 to 65535, in digits alone; GATEWAY_LISTEN takes an address instead\n"
    );
}

#[test]
fn a_service_by_itself_follows_a_platforms_port_too_but_not_that_of_a_dotenv_file() {
    for (service, needed) in [
        ("gateway", None),
        ("auth-verifier", Some(("BETTER_AUTH_SECRET", SECRET))),
        ("task-service", Some(("DATABASE_URL", "postgresql://u:p@localhost/tasks"))),
    ] {
        let listen = format!("{}_LISTEN=", service.replace('-', "_").to_uppercase());
        let variables: Vec<_> = needed.into_iter().chain([("PORT", "8080")]).collect();
        let (_, shown, _) = usher(&variables, &[service, "--check", "--show"]);
        assert!(shown.contains(&format!("\n{listen}0.0.0.0:8080  # PORT, environment\n")), "{shown}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "PORT=3000\nGATEWAY_LOG=json\n").unwrap();
    for arguments in [&["--check", "--show"][..], &["gateway", "--check", "--show"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        let output = command.args(arguments).env_clear().current_dir(folder.path()).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains("\nGATEWAY_LOG=json  # .env\n"), "{shown}");
        assert!(shown.contains("\nGATEWAY_LISTEN=127.0.0.1:8000  # default\n"), "{shown}");
    }
}

#[test]
fn what_neons_console_gives_is_enough_and_nothing_of_it_is_shown_that_is_secret() {
    let url = "https://ep-x.neonauth.c-2.eu-central-1.aws.neon.tech/neondb/auth";
    let database = (
        "DATABASE_URL",
        "postgresql://neondb_owner:hunter2@ep-x-pooler.eu.aws.neon.tech/neondb?sslmode=require",
    );
    for variables in [
        &[("NEON_AUTH_BASE_URL", url), ("NEON_AUTH_COOKIE_SECRET", SECRET), database][..],
        // A Vite app has no cookie secret.
        &[("VITE_NEON_AUTH_URL", url), database],
    ] {
        let (code, said, error) = usher(variables, &["--check", "--show"]);
        assert_eq!(code, Some(0), "{error}");
        let shown = format!("\n{}={url}  # environment\n", variables[0].0);
        assert_eq!(said.matches(&shown).count(), 2, "auth-verifier's, and the gateway's: {said}");
        assert!(said.contains("\nGATEWAY_VERIFIER__TIMEOUT_MS=5000  # usher\n"), "{said}");
        assert!(!said.contains("localhost:3000/api/auth"), "there is no Better Auth of one's own: {said}");
        assert!(!said.contains("hunter2") && !said.contains(SECRET), "{said}");
    }
    // Both, and nobody has said whether their users are the same people.
    let both = [("NEON_AUTH_BASE_URL", url), ("BETTER_AUTH_SECRET", SECRET), database];
    let (code, _, said) = usher(&both, &["--check"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("AUTH_VERIFIER_NEON_AUTH__USER_PREFIX: must be said"), "{said}");
}

#[test]
fn a_slip_in_a_well_known_name_is_remarked_on() {
    let (code, said, _) = usher(
        &[
            ("CORS_ALLOWED_ORIGIN", "hunter2"),
            ("BETTER_AUTH_SECERT", "hunter2"),
            ("DATABASE_URL_UNPOOLED", "x"),
        ],
        &["--check"],
    );
    assert_eq!(code, Some(0), "it stops nobody");
    assert_eq!(
        said,
        "settings       CORS_ALLOWED_ORIGIN is not read by gateway; did you mean CORS_ALLOWED_ORIGINS?\n\
         settings       BETTER_AUTH_SECERT is not read by auth-verifier; did you mean BETTER_AUTH_SECRET?\n\
         settings       good\n"
    );
    let missing = "BETTER_AUTH_SECERT is not read by auth-verifier; did you mean BETTER_AUTH_SECRET?";
    let (code, _, said) = usher(&[("BETTER_AUTH_SECERT", "hunter2")], &["auth-verifier"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with(&format!("auth-verifier: {missing}\n")) && !said.contains("hunter2"), "{said}");
}

fn gateway<'a>(variables: &'a [(&'a str, &'a [u8])]) -> Setting<'a> {
    Setting { service: "gateway", variables, ..Setting::default() }
}

fn verifier(dotenv: &[u8]) -> Setting<'_> {
    Setting { service: "auth-verifier", dotenv: Some(dotenv), ..Setting::default() }
}

#[test]
fn a_trap_is_found_before_it_shuts() {
    gateway(&[]).is_good();
    gateway(&[("CORS_ALLOWED_ORIGINS", b"")]).is_good();
    gateway(&[("SOMEBODY_ELSES", b"\xff")]).is_good();
    for (name, value, want) in [
        ("GATEWAY_LIMITS__BODY_BYTES", &b"off"[..], "GATEWAY_LIMITS__BODY_BYTES: must be 1 to 1099511627776"),
        ("GATEWAY_LIMITS__BODY_BYTES", b"yes", "GATEWAY_LIMITS__BODY_BYTES: must be 1 to 1099511627776"),
        ("GATEWAY_SERVER__HEAD_FIELDS", b"18446744073709551615", "GATEWAY_SERVER__HEAD_FIELDS: must be"),
        (
            "GATEWAY_AUTH_VERIFIER_URL",
            b"http://${VERIFIER}:8001",
            "GATEWAY_AUTH_VERIFIER_URL: has a ${…} in it",
        ),
        ("GATEWAY_AUTH_VERIFIER_URL", b"http://{verifier}:8001", "GATEWAY_AUTH_VERIFIER_URL: names a host"),
        (
            "CORS_ALLOWED_ORIGINS",
            b"https://caf\xe9.test",
            "CORS_ALLOWED_ORIGINS: has a value that is not UTF-8",
        ),
        ("RUST_LOG", b"\xff", "RUST_LOG: has a value that is not UTF-8"),
        ("GATEWAY_PORT", b"8080", "GATEWAY_PORT: is not a setting of gateway"),
    ] {
        gateway(&[(name, value)]).is_refused(&[want]);
    }
    let shadowed = "[[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\"\n\
                    [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"";
    let answer = "[[routes]]\npath = \"/health\"\nanswer = \"health\"\naccess = \"authenticated\"";
    for (routes, want) in [(shadowed, "routes[1].path: "), (answer, "routes[0].access: ")] {
        Setting { service: "gateway", routes: Some(routes), ..Setting::default() }.is_refused(&[want]);
    }
}

#[test]
fn all_faults_are_told_at_once() {
    gateway(&[
        ("GATEWAY_LISTN", b"x"),
        ("GATEWAY_LISTEN", b"8000"),
        ("GATEWAY_LIMITS__BODY_BYTES", b"1e6"),
        ("CORS_ALLOWED_ORIGINS", b"\xff"),
    ])
    .is_refused(&[
        "GATEWAY_LISTN: ",
        "GATEWAY_LISTEN: ",
        "GATEWAY_LIMITS__BODY_BYTES: ",
        "CORS_ALLOWED_ORIGINS: ",
    ]);
}

#[test]
fn a_dotenv_file_of_the_frontend_serves_here_too() {
    let file = format!(
        "\u{feff}# The frontend's.\r\nAPP_NAME=My Todo App\r\nwhat is this\r\nAPP_TITLE='Bob's\r\n\
         export BETTER_AUTH_URL = \"http://localhost:3000\" # where it runs\r\n\
         BETTER_AUTH_SECRET=`{SECRET}`#tail\r\nNEXT_PUBLIC_X=$Y\r\n"
    );
    verifier(file.as_bytes()).is_good();
}

#[test]
fn a_line_of_ours_that_can_not_be_read_is_told_by_its_number() {
    for (line, want) in [
        (&b"BETTER_AUTH_SECRET hunter2"[..], "BETTER_AUTH_SECRET: .env, line 2: is not assigned"),
        (
            b"BETTER_AUTH_SECRET='hunter2",
            "BETTER_AUTH_SECRET: .env, line 2: opens a quote that nothing closes",
        ),
        (b"BETTER_AUTH_SECRET=hunter2\xff", "BETTER_AUTH_SECRET: .env, line 2: is not UTF-8"),
        (b"APP='\nBETTER_AUTH_SECRET=hunter2\n'", "BETTER_AUTH_SECRET: .env, line 3: stands inside quotes"),
    ] {
        verifier(&[b"APP_NAME=My Todo App\n", line].concat()).is_refused(&[want]);
    }
}

#[test]
fn a_secret_with_what_a_copy_brought_along_is_told() {
    for value in [format!("\"{SECRET}\""), format!("{SECRET}\n"), format!("\u{feff}{SECRET}")] {
        let variables = [("BETTER_AUTH_SECRET", value.as_bytes())];
        Setting { service: "auth-verifier", variables: &variables, ..Setting::default() }
            .is_refused(&["BETTER_AUTH_SECRET: "]);
    }
    verifier(format!("BETTER_AUTH_SECRET=\"'{SECRET}'\"").as_bytes())
        .is_refused(&["BETTER_AUTH_SECRET: has quotes"]);
    verifier(format!("BETTER_AUTH_SECRET=\"{SECRET}\\n\"").as_bytes())
        .is_refused(&["BETTER_AUTH_SECRET: begins or ends with a line break"]);
}

#[test]
fn what_kubernetes_says_of_its_services_stops_nobody() {
    let url: (&str, &[u8]) = ("DATABASE_URL", b"postgresql://u:p@localhost/tasks");
    let links: [(&str, &[u8]); 4] = [
        ("TASK_SERVICE_HOST", b"10.96.0.7"),
        ("TASK_SERVICE_PORT", b"8002"),
        ("TASK_PORT_8002_TCP", b"tcp://10.96.0.7:8002"),
        ("TASK_SERVICE_SERVICE_HOST", b"10.96.0.8"),
    ];
    let variables: Vec<_> = links.into_iter().chain([url]).collect();
    Setting { service: "task-service", variables: &variables, ..Setting::default() }.is_good();
}
