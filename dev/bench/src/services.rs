//! The services under measurement: what they are started with.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    net::SocketAddr,
    path::Path,
};

use crate::{
    server::{Server, Under, free},
    world::World,
};

/// Starts services in a [`World`].
pub struct Services<'a> {
    /// The keys and databases that they use.
    pub world: &'a World,
    /// This program, which can be each of them.
    pub exe: &'a OsStr,
    /// A folder with programs to start instead of this one.
    pub programs: Option<&'a Path>,
}

impl Services<'_> {
    /// Starts auth-verifier.
    pub fn auth_verifier(&self, under: Under<'_>, further: &[(&str, &str)]) -> io::Result<Server> {
        self.start(under, "auth-verifier", "AUTH_VERIFIER", self.world.variables(further))
    }

    /// Starts a gateway whose `/api` belongs to those who are signed in, and `/pub` to everybody.
    pub fn gateway(
        &self,
        under: Under<'_>,
        verifier: SocketAddr,
        upstream: SocketAddr,
        further: &[(&str, &str)],
    ) -> io::Result<Server> {
        let file = self.world.folder().join("gateway.toml");
        let route = |path: &str, access: &str| {
            format!("[[routes]]\npath = \"{path}/**\"\nupstream = \"task-service\"\naccess = \"{access}\"\n")
        };
        fs::write(&file, route("/pub", "public") + &route("/api", "authenticated"))?;
        let mut variables = owned([
            ("GATEWAY_CONFIG", file.to_string_lossy().into_owned()),
            ("GATEWAY_AUTH_VERIFIER_URL", format!("http://{verifier}")),
            ("GATEWAY_TASK_SERVICE_URL", format!("http://{upstream}")),
            // A busy machine is no failure.
            ("GATEWAY_VERIFIER__CONNECT_MS", "20000".into()),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000".into()),
        ]);
        variables.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.start(under, "gateway", "GATEWAY", variables)
    }

    /// Starts task-service on the database at `url`.
    pub fn task_service(
        &self,
        under: Under<'_>,
        verifier: SocketAddr,
        url: &str,
        further: &[(&str, &str)],
    ) -> io::Result<Server> {
        let mut variables = owned([
            ("DATABASE_URL", url.to_owned()),
            ("TASK_SERVICE_IDENTITY_JWKS_URL", format!("http://{verifier}/.well-known/jwks.json")),
            // A busy machine is no failure.
            ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "60000".into()),
            ("TASK_SERVICE_DATABASE__CONNECT_MS", "60000".into()),
            ("TASK_SERVICE_DATABASE__QUERY_MS", "60000".into()),
        ]);
        variables.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.start(under, "task-service", "TASK_SERVICE", variables)
    }

    fn start(
        &self,
        under: Under<'_>,
        name: &str,
        prefix: &str,
        mut variables: Vec<(String, String)>,
    ) -> io::Result<Server> {
        let (address, ops) = (free()?, free()?);
        variables.extend([
            (format!("{prefix}_LISTEN"), address.to_string()),
            (format!("{prefix}_OPS_LISTEN"), ops.to_string()),
            ("RUST_LOG".into(), "info".into()),
        ]);
        let (program, arguments) = match self.programs {
            Some(folder) => (folder.join(name).into_os_string(), &[][..]),
            None => (OsString::from(self.exe), &[name][..]),
        };
        Server::start(under, &program, arguments, variables, self.world.folder(), address)?.ready(ops)
    }
}

fn owned<const N: usize>(variables: [(&str, String); N]) -> Vec<(String, String)> {
    variables.map(|(name, value)| (name.to_owned(), value)).to_vec()
}
