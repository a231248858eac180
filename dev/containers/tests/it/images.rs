//! What is in an image, and what isn't.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use dev_containers::engine::{answer, docker, inspect, try_docker};

use crate::world::{CHANGE, NEWER, SERVICES, VERSION, built, image, turn};

/// The most that an image may take.
const BYTES_MAX: u64 = 25_000_000;

/// The files of an image, from its root.
fn files(service: &str) -> (tempfile::TempDir, BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let container = docker(["create", &image(service)]);
    let unpack =
        format!("docker export {container} | tar --extract --directory '{}'", folder.path().display());
    answer(Command::new("bash").args(["-o", "pipefail", "-c", &unpack]));
    docker(["rm", &container]);
    let list = answer(Command::new("find").arg(folder.path()).args(["-type", "f", "-printf", "%P\n"]));
    (folder, list.lines().map(Into::into).collect())
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn an_image_holds_the_program_what_it_needs_their_licences_and_nothing_else() {
    let _turn = turn();
    built();
    for service in SERVICES {
        let image = image(service);
        let bytes: u64 = inspect(&image, "{{.Size}}").parse().unwrap();
        let (root, files) = files(service);
        println!("{service}: {bytes} bytes, {} files", files.len());
        assert!(bytes <= BYTES_MAX, "{service}: {bytes} bytes");

        let program = fs::read(root.path().join("service")).unwrap();
        let has = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
        assert_eq!(has(b"tokio-postgres"), service != "gateway", "{service}: a PostgreSQL client");

        // What the engine itself lays into every container.
        let of_engine = [".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console"];
        let others: Vec<_> = files
            .iter()
            .filter(|file| !of_engine.contains(&file.as_str()))
            .filter(|file| !["service", "etc/nsswitch.conf"].contains(&file.as_str()))
            .filter(|file| !file.starts_with("licenses/"))
            .filter(|file| !is_library(file))
            .collect();
        assert_eq!(others, Vec::<&String>::new(), "{service}");

        for text in ["LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY.txt", "debian/libc6"] {
            let text = root.path().join("licenses").join(text);
            assert!(fs::metadata(&text).is_ok_and(|file| file.len() > 500), "{service}: {}", text.display());
        }
        let texts = fs::read_to_string(root.path().join("licenses/THIRD-PARTY.txt")).unwrap();
        for (name, is_in) in [("hyper", true), ("tokio-postgres", service != "gateway"), ("proptest", false)]
        {
            let is_named = texts.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
            assert_eq!(is_named, is_in, "{service}: the licence of {name}");
        }
    }
}

/// Whether a file is the C library's, its loader or the compiler's own.
fn is_library(file: &str) -> bool {
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    ["ld-linux", "libc.so", "libm.so", "libgcc_s.so", "libdl.so", "libpthread.so"]
        .iter()
        .any(|library| name.starts_with(library))
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn an_image_runs_as_nobody_in_particular_has_no_shell_and_says_what_it_is() {
    let _turn = turn();
    built();
    for service in SERVICES {
        let image = image(service);
        assert_eq!(inspect(&image, "{{.Config.User}}"), "65532:65532");
        assert_eq!(inspect(&image, "{{json .Config.Entrypoint}}"), r#"["/service"]"#);
        assert_eq!(inspect(&image, "{{json .Config.Healthcheck.Test}}"), r#"["CMD","/service","--probe"]"#);
        let label = |name: &str| {
            inspect(&image, &format!("{{{{index .Config.Labels \"org.opencontainers.image.{name}\"}}}}"))
        };
        assert_eq!(label("version"), VERSION);
        assert_eq!(label("title"), format!("Usher {service}"));
        assert_eq!(label("licenses"), "MIT OR Apache-2.0");
        assert_ne!(label("revision"), "");
        for shell in ["/bin/sh", "sh", "/bin/bash", "/busybox/sh"] {
            let (runs, said) = try_docker(["run", "--rm", "--entrypoint", shell, &image, "-c", "exit"]);
            assert!(
                !runs && said.contains("no such file or directory") || said.contains("not found"),
                "{service}: {shell}: {said}"
            );
        }
        let hardened = ["run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", &image];
        let version = docker(hardened.into_iter().chain(["--version"]));
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{service}: {version}");
    }
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn an_older_checkout_makes_an_image_of_its_own_code() {
    let _turn = turn();
    built();
    let default = |version: &str| {
        let (_, shown) =
            try_docker(["run", "--rm", &format!("localhost/usher/gateway:{version}"), "--check", "--show"]);
        shown.lines().find(|line| line.contains("CORS__MAX_AGE_SECS")).unwrap_or(&shown).to_owned()
    };
    for (version, change) in [(NEWER, CHANGE.2), (VERSION, CHANGE.1)] {
        let value = change.rsplit(' ').next().unwrap();
        let shown = default(version);
        assert!(shown.contains(&format!("CORS__MAX_AGE_SECS={value}")), "{version}: {shown}");
    }
}
