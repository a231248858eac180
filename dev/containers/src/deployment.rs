//! The compose file, run as it is.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    checkout::Checkout,
    engine::{answer, docker, inspect, try_docker},
    http, wait_until,
};

/// What Better Auth and this deployment share.
pub const SECRET: &str = "PlantedSecretOfBetterAuth0123456789abc";

/// What the tests' deployments are called; not what somebody's own is.
const PROJECT: &str = "usher-test";

/// A deployment. It goes, with its data, when this is dropped.
pub struct Deployment {
    folder: PathBuf,
    env_file: PathBuf,
    files: Vec<&'static str>,
    variables: Vec<(&'static str, String)>,
}

impl Deployment {
    /// Starts the services of a checkout, of images that are there, and waits until all are healthy.
    ///
    /// `env` is what stands in `.env`, `files` are the compose files, `scale` says how many of which there are to be.
    pub fn start(
        checkout: &Checkout,
        version: &str,
        files: &[&'static str],
        env: &str,
        scale: &[&str],
    ) -> Self {
        let env_file = checkout.folder().join(".env");
        fs::write(&env_file, env).expect("the checkout can be written");
        let variables = vec![("USHER_VERSION", version.to_owned())];
        let deployment =
            Self { folder: checkout.folder().to_owned(), env_file, files: files.to_vec(), variables };
        // Of a run that was ended.
        deployment.remove();
        deployment.up(scale);
        deployment
    }

    /// Has as many as `scale` says of each service, and waits until all are healthy.
    #[track_caller]
    pub fn up(&self, scale: &[&str]) {
        let scale = scale.iter().flat_map(|scale| ["--scale", scale]);
        let args = ["up", "--detach", "--wait", "--no-build", "--no-recreate"].into_iter().chain(scale);
        self.compose(args);
    }

    /// Runs `docker compose` as the README does.
    #[track_caller]
    pub fn compose<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        answer(self.command().args(args))
    }

    /// The same, of which nothing has been run.
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["compose", "--ansi", "never", "--project-name", PROJECT, "--env-file"])
            .arg(&self.env_file);
        for file in &self.files {
            command.arg("--file").arg(Path::new("deploy").join(file));
        }
        command.current_dir(&self.folder).envs(self.variables.iter().map(|(name, value)| (name, value)));
        for name in ["BETTER_AUTH_SECRET", "BETTER_AUTH_URL", "DATABASE_URL", "POSTGRES_PASSWORD"] {
            command.env_remove(name);
        }
        command
    }

    /// The containers of a service that run.
    pub fn replicas(&self, service: &str) -> Vec<Replica> {
        let ids = self.compose(["ps", "--quiet", service]);
        ids.lines().map(|id| Replica { id: id.to_owned() }).collect()
    }

    /// Where a replica of the gateway is published.
    pub fn gateway(&self, index: usize) -> SocketAddr {
        let address = self.compose(["port", "--index", &index.to_string(), "gateway", "8000"]);
        address.parse().expect("compose names an address")
    }

    /// A token, made as the compose file says.
    pub fn token(&self, user: &str) -> String {
        self.compose(["exec", "auth-verifier", "/service", "token", "--sub", user])
    }

    /// Replaces every replica of a service: as many new ones first, then the old ones are stopped, one after the other.
    #[track_caller]
    pub fn replace(&self, service: &str) {
        let old = self.replicas(service);
        let scale = |count: usize| format!("{service}={count}");
        let args = ["up", "--detach", "--wait", "--no-build", "--no-recreate", "--no-deps", "--scale"];
        self.compose(args.into_iter().chain([&*scale(old.len() * 2), service]));
        for replica in &old {
            replica.stop();
            docker(["rm", "--volumes", &replica.id]);
        }
        self.compose(args.into_iter().chain([&*scale(old.len()), service]));
    }

    /// What the services have said.
    pub fn logs(&self) -> String {
        self.compose(["logs", "--no-color", "--timestamps"])
    }

    fn remove(&self) {
        let _ = self.command().args(["down", "--volumes", "--remove-orphans", "--timeout", "5"]).output();
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.command().args(["logs", "--no-color", "--tail", "40"]).output();
            eprintln!(
                "{}",
                output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
            );
        }
        self.remove();
    }
}

/// One container of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The engine's name for it.
    pub id: String,
}

impl Replica {
    /// Tells it to end, and waits until it has. It must have ended in order.
    #[track_caller]
    pub fn stop(&self) {
        docker(["stop", "--time", "60", &self.id]);
        assert_eq!(inspect(&self.id, "{{.State.ExitCode}}"), "0", "it ends in order");
    }

    /// Ends it without a word.
    pub fn kill(&self) {
        docker(["kill", "--signal", "KILL", &self.id]);
    }

    /// How many requests it has answered, by its own count.
    pub fn answered(&self, ops_port: u16) -> u64 {
        let format = "{{range $name, $network := .NetworkSettings.Networks}}{{$network.IPAddress}} {{end}}";
        let addresses = inspect(&self.id, format);
        let address = addresses.split_whitespace().next().and_then(|address| address.parse().ok());
        let address = SocketAddr::new(address.expect("a container has an address"), ops_port);
        let metrics =
            http::ask(address, &http::request("GET", "/metrics", "", "")).expect("it tells its metrics");
        let lines = metrics.body.lines().filter(|line| line.starts_with("http_requests_total{"));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }
}

/// Waits until each of some replicas has answered more than it had, and says how long that took in milliseconds.
///
/// # Panics
///
/// Where one gets nothing.
pub fn wait_until_all_answer(replicas: &[Replica], ops_port: u16) -> u128 {
    let before: Vec<_> = replicas.iter().map(|replica| replica.answered(ops_port)).collect();
    let took = wait_until("requests reach every replica", || {
        replicas.iter().zip(&before).all(|(replica, before)| replica.answered(ops_port) > *before)
    });
    took.as_millis()
}

/// Whether an engine shows a text in any of the properties of what it has.
pub fn shows(what: &[&str], text: &str) -> bool {
    let (_, said) = try_docker(["inspect"].iter().chain(what));
    said.contains(text)
}
