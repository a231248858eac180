//! What stands in the services' files, and what a platform asks for, is what the launcher does.

use std::{fs, path::Path};

use super::{ADDRESSES, Launcher, database, folder, free_ports, is_ready};

const SECRET: &str = "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn";

/// Writes a file of settings into `folder`.
fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_the_files_of_the_services_say_is_used_and_nothing_is_made_beside_it() {
    let Some(folder) = folder() else { return };
    let (_postgres, url) = database::given(folder.path());
    let ports = free_ports();
    let listens = |traffic: usize| {
        format!(
            "listen = \"127.0.0.1:{}\"\nops_listen = \"127.0.0.1:{}\"\n",
            ports[traffic],
            ports[traffic + 3]
        )
    };
    let gateway = file(folder.path(), "gateway.toml", &listens(0));
    let verifier =
        format!("{}[better_auth]\nsecret = \"{SECRET}\"\nurl = \"https://app.example.com\"", listens(1));
    let verifier = file(folder.path(), "verifier.toml", &verifier);
    let tasks = format!("{}[database]\nurl = \"{url}\"", listens(2));
    let tasks = file(folder.path(), "tasks.toml", &tasks);
    let by_files = [
        ("GATEWAY_CONFIG", &*gateway),
        ("AUTH_VERIFIER_CONFIG", &*verifier),
        ("TASK_SERVICE_CONFIG", &*tasks),
    ];
    let unset = ADDRESSES.map(|name| (name, ""));
    let launcher = Launcher::ready(folder.path(), &[&by_files[..], &unset].concat());

    assert!(ports[3..].iter().all(|ops| is_ready(*ops)));
    let printed = launcher.printed();
    for want in [
        format!("database       using TASK_SERVICE_CONFIG {tasks}: [database] url"),
        format!("secret         using AUTH_VERIFIER_CONFIG {verifier}: [better_auth] secret"),
        format!("For your frontend   http://localhost:{}", ports[0]),
        format!("http://127.0.0.1:{}/metrics  (task-service)", ports[5]),
        "https://app.example.com/api/auth/jwks".to_owned(),
    ] {
        assert!(printed.contains(&want), "{want}: {printed}");
    }
    assert!(!printed.contains(SECRET) && !printed.contains(&url), "{printed}");
    // The token is signed with the file's secret, and the task is in the file's database.
    assert!(launcher.curl_with(0, &by_files).contains("Buy milk"));
    assert!(!database::has_database(folder.path()));
    assert!(!folder.path().join("data/better-auth-secret").exists());
}

#[test]
fn a_platforms_port_moves_the_gateway_alone() {
    let Some(folder) = folder() else { return };
    let port = free_ports()[0].to_string();
    // A frontend's own port, in a file that is linked here, moves nobody.
    fs::write(folder.path().join(".env"), "PORT=3000\n").unwrap();
    let launcher = Launcher::ready(folder.path(), &[("PORT", &port), ("GATEWAY_LISTEN", "")]);
    let printed = launcher.printed();
    assert!(printed.contains(&format!("For your frontend   http://localhost:{port}\n")), "{printed}");
    assert!(launcher.curl(0).contains("Buy milk"), "the others are where they were");
}
