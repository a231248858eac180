//! Which services there are, where each listens, and what each is told of the others.
//!
//! A service reads its settings by itself, in all of their layers: the defaults, its TOML file, the environment. The plan reads the
//! same layers, follows what they say, and adds only what none of them sets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use chassis::settings::{Environment, Faults, PORT, Secret, Settings, Spec, Stated};

use crate::{
    demo::{self, Demo},
    secret,
};

pub(crate) const AUTH_VERIFIER: &str = "auth-verifier";
pub(crate) const TASK_SERVICE: &str = "task-service";
pub(crate) const GATEWAY: &str = "gateway";

/// Where Better Auth runs while a frontend is developed.
const BETTER_AUTH_URL: &str = "http://localhost:3000";

/// How long a look-up at Neon is waited for: it may be far away, and its database may sleep. Neon's SDK waits three seconds, and asks
/// nobody before.
const NEON_WAIT_MS: &str = "5000";

/// Variables that the launcher reads, besides those of the services.
const OWN: [&str; 5] = ["USHER_DATA_DIR", demo::LISTEN, "APP_ENV", "CARGO_MANIFEST_DIR", "RUST_LOG"];

/// What the services may see besides, where we are root: how to log and how to panic.
const HARMLESS: [&str; 2] = ["RUST_LOG", "RUST_BACKTRACE"];

/// Whether a variable of this name is the launcher's, or one of the services'.
pub(crate) fn is_ours(name: &str) -> bool {
    let specs: [Spec; 3] = [
        gateway::settings::Settings::SPEC,
        auth_verifier::settings::Settings::SPEC,
        task_service::settings::Settings::SPEC,
    ];
    OWN.contains(&name) || specs.iter().any(|spec| spec.claims(name))
}

/// What is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Services,
    ServicesAndDemo,
}

/// The services of this machine.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) auth_verifier: ServicePlan,
    pub(crate) task_service: ServicePlan,
    pub(crate) gateway: ServicePlan,
    /// Where the operator names a database; `None` where we have to start one.
    pub(crate) database: Option<String>,
    /// Where the operator gives the secret that Better Auth has, too, or whichever else identities are signed by; `None` where we
    /// have to make one.
    pub(crate) secret: Option<String>,
    /// What auth-verifier is told of it as, where we make it.
    pub(crate) secret_variable: &'static str,
    /// Where Neon's own Better Auth is, if it alone has the users.
    pub(crate) neon_auth: Option<String>,
    pub(crate) demo: Option<Demo>,
}

/// One service.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) name: &'static str,
    /// Which variables are its own.
    spec: Spec,
    /// Where requests come in.
    pub(crate) traffic: Listen,
    /// Where the operator asks.
    pub(crate) ops: Listen,
    /// Where it listens besides.
    further: Option<Listen>,
    /// What its environment has in addition to ours.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// An address, and what sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// The variable that wins over whatever sets it now.
    pub(crate) variable: String,
    /// What the operator wrote, or would write, to set it: a variable, or a file and the place in it.
    pub(crate) place: String,
    pub(crate) at: SocketAddr,
}

impl Plan {
    /// The plan that the settings ask for. An address that can't be read is a fault that the service's own check tells; the
    /// default stands for it here.
    pub(crate) fn of(environment: &Environment, faults: &mut Faults) -> Self {
        let inner = environment_of(AUTH_VERIFIER, environment);
        let auth_verifier = Stated::of::<auth_verifier::settings::Settings>(&inner);
        let task_service = Stated::of::<task_service::settings::Settings>(&inner);
        let gateway = Stated::of::<gateway::settings::Settings>(environment);

        let stated = |keys: &[&str]| keys.iter().find_map(|key| auth_verifier.place(key));
        let neon_auth = ["neon_auth.base_url", "neon_auth.vite_url"];
        let neon_auth =
            neon_auth.iter().find_map(|key| auth_verifier.text(key).filter(|url| !url.is_empty()));
        let secret = stated(&["better_auth.secret", "better_auth.secrets"]);
        // A secret of ours would sign tokens in the name of users that are Neon's.
        let (secret, secret_variable) = match &neon_auth {
            None => (secret, secret::VARIABLE),
            Some(_) => {
                let others = || stated(&["neon_auth.cookie_secret", "identity.seed"]);
                (secret.or_else(others), secret::SEED)
            }
        };
        let has_own = stated(&["better_auth.url", "better_auth.secret", "better_auth.secrets"]).is_some();
        let neon_alone = neon_auth.as_ref().filter(|_| !has_own).map(ToString::to_string);
        let mut plan = Self {
            database: task_service.place("database.url"),
            secret,
            secret_variable,
            neon_auth: neon_alone,
            auth_verifier: ServicePlan::new(
                auth_verifier::settings::Settings::SPEC,
                &auth_verifier,
                Some("grpc_listen"),
                faults,
            ),
            task_service: ServicePlan::new(
                task_service::settings::Settings::SPEC,
                &task_service,
                None,
                faults,
            ),
            gateway: ServicePlan::new(gateway::settings::Settings::SPEC, &gateway, None, faults),
            demo: None,
        };
        plan.refuse_sharing(faults);

        let verifier_url = plan.auth_verifier.traffic.url();
        let tasks_url = plan.task_service.traffic.url();
        let url = BETTER_AUTH_URL.to_owned();
        if neon_auth.is_none() {
            plan.auth_verifier.tell(&auth_verifier, "better_auth.url", "BETTER_AUTH_URL", url);
        } else {
            let (of_look_up, of_verdict) =
                ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "GATEWAY_VERIFIER__TIMEOUT_MS");
            plan.auth_verifier.tell(
                &auth_verifier,
                "session.timeout_ms",
                of_look_up,
                NEON_WAIT_MS.to_owned(),
            );
            plan.gateway.tell(&gateway, "verifier.timeout_ms", of_verdict, NEON_WAIT_MS.to_owned());
        }
        plan.task_service.tell(
            &task_service,
            "identity_jwks_url",
            "TASK_SERVICE_IDENTITY_JWKS_URL",
            format!("{verifier_url}/.well-known/jwks.json"),
        );
        plan.gateway.tell(&gateway, "auth_verifier_url", "GATEWAY_AUTH_VERIFIER_URL", verifier_url);
        plan.gateway.tell(&gateway, "task_service_url", "GATEWAY_TASK_SERVICE_URL", tasks_url);
        plan
    }

    /// The same with the demo.
    pub(crate) fn with_demo(mut self, environment: &Environment, faults: &mut Faults) -> Self {
        let demo = Demo::of(environment, &mut self, faults);
        let addresses = self.addresses();
        if let Some(other) = addresses.iter().find(|other| other.overlaps(&demo.listen)) {
            refuse_sharing(&demo.listen, other, faults);
        }
        self.demo = Some(demo);
        self
    }

    /// The services in the order in which they start: each after those that it asks.
    pub(crate) fn services(&self) -> [&ServicePlan; 3] {
        [&self.auth_verifier, &self.task_service, &self.gateway]
    }

    /// All addresses, traffic first.
    pub(crate) fn addresses(&self) -> Vec<&Listen> {
        let services = [&self.gateway, &self.auth_verifier, &self.task_service];
        let traffic = services.iter().map(|service| &service.traffic);
        let further = services.iter().filter_map(|service| service.further.as_ref());
        let demo = self.demo.as_ref().map(|demo| &demo.listen);
        traffic.chain(services.iter().map(|service| &service.ops)).chain(further).chain(demo).collect()
    }

    fn refuse_sharing(&self, faults: &mut Faults) {
        let addresses = self.addresses();
        for (n, one) in addresses.iter().enumerate() {
            if let Some(other) = addresses[..n].iter().find(|other| other.overlaps(one)) {
                refuse_sharing(one, other, faults);
            }
        }
    }
}

fn refuse_sharing(one: &Listen, other: &Listen, faults: &mut Faults) {
    let reason =
        format!("is {}, and {} is {}; give each an address of its own", one.at, other.place, other.at);
    faults.add(&one.place, reason);
}

/// What a service sees of our environment. The gateway alone follows a platform's `PORT`: the others would take the same one.
fn environment_of(service: &str, ours: &Environment) -> Environment {
    if follows_port(service) { ours.clone() } else { ours.clone().without(PORT) }
}

/// Whether a service sees a platform's `PORT`.
pub(crate) fn follows_port(service: &str) -> bool {
    service == GATEWAY
}

impl ServicePlan {
    fn new(spec: Spec, stated: &Stated, further: Option<&str>, faults: &mut Faults) -> Self {
        let mut listen = |key| Listen::of(&spec, stated, key, faults);
        Self {
            name: spec.service,
            spec,
            traffic: listen("listen").expect("every service listens"),
            ops: listen("ops_listen").expect("every service listens for the operator"),
            further: further.and_then(listen),
            variables: Vec::new(),
        }
    }

    /// Sets a variable, unless a layer sets its key already.
    fn tell(&mut self, stated: &Stated, key: &str, variable: &'static str, value: String) {
        if stated.place(key).is_none() {
            self.variables.push((variable, value));
        }
    }

    /// Sets a variable, whatever any layer says.
    pub(crate) fn insist(&mut self, variable: &'static str, value: String) {
        self.variables.retain(|(name, _)| *name != variable);
        self.variables.push((variable, value));
    }

    /// What the service sees of our environment where we are root and it is not: its own settings, and what tells no secret. Those of
    /// `.env` are the ones that we have read, since what they refer to is gone.
    pub(crate) fn seen(&self, ours: &Environment) -> Vec<(String, Secret)> {
        let is_seen = |name: &str| {
            let is_harmless = HARMLESS.contains(&name)
                || dev_postgres::is_harmless(name.as_ref())
                || (name == PORT && follows_port(self.name));
            self.spec.claims(name) || (is_harmless && ours.source(name) == "environment")
        };
        let seen = ours.iter().filter(|(name, _)| is_seen(name));
        seen.map(|(name, value)| (name.to_owned(), Secret::new(value))).collect()
    }

    /// The environment that the service will see.
    pub(crate) fn environment(&self, ours: &Environment) -> Environment {
        let add = |environment: Environment, (name, value): &(&'static str, String)| {
            environment.with(*name, value, "usher")
        };
        self.variables.iter().fold(environment_of(self.name, ours), add)
    }
}

impl Listen {
    /// The address of a key; `None` where it is empty.
    fn of(spec: &Spec, stated: &Stated, key: &str, faults: &mut Faults) -> Option<Self> {
        let setting = spec.variables().into_iter().find(|variable| variable.key == key)?;
        let place = stated.place(key).unwrap_or_else(|| setting.name.clone());
        let default = || setting.default.as_str()?.parse().ok();
        let text = stated.text(key).unwrap_or_default();
        let at: SocketAddr = text.parse().ok().or_else(default)?;
        if at.port() == 0 {
            faults.add(&place, format!("`{text}` leaves the port to the system; the others have to know it"));
        }
        Some(Self { variable: setting.name, place, at })
    }

    /// Whether two services can't have both.
    fn overlaps(&self, other: &Self) -> bool {
        let (one, other) = (self.at, other.at);
        let is_of_all = one.ip().is_unspecified() || other.ip().is_unspecified();
        one.port() == other.port() && (is_of_all || one.ip() == other.ip())
    }

    /// How to reach it from this machine.
    pub(crate) fn url(&self) -> String {
        let ip = match self.at.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.at.port()))
    }

    /// The same as a browser on this machine should write it: cookies of a page on `localhost` go to `localhost` alone.
    pub(crate) fn browser_url(&self) -> String {
        self.url().replace("//127.0.0.1:", "//localhost:")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::*;

    fn plan(variables: &[(&str, &str)]) -> Result<Plan, String> {
        let mut faults = Faults::default();
        let plan = Plan::of(&variables.iter().copied().collect(), &mut faults);
        faults.result().map(|()| plan).map_err(|error| error.to_string())
    }

    fn told(service: &ServicePlan, variable: &str) -> Option<String> {
        service.variables.iter().find(|(name, _)| *name == variable).map(|(_, value)| value.clone())
    }

    /// A file of settings, and its path.
    fn file(text: &str) -> (NamedTempFile, String) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        (file, path)
    }

    #[test]
    fn the_ports_are_those_that_the_services_have_by_themselves() {
        let plan = plan(&[]).unwrap();
        for (service, traffic, ops) in [
            (&plan.gateway, "127.0.0.1:8000", "127.0.0.1:9000"),
            (&plan.auth_verifier, "127.0.0.1:8001", "127.0.0.1:9001"),
            (&plan.task_service, "127.0.0.1:8002", "127.0.0.1:9002"),
        ] {
            assert_eq!(service.traffic.at, traffic.parse().unwrap(), "{}", service.name);
            assert_eq!(service.ops.at, ops.parse().unwrap(), "{}", service.name);
            assert_eq!(service.further, None, "{}", service.name);
        }
        assert_eq!(plan.addresses().len(), 6);
    }

    #[test]
    fn whoever_moves_is_followed_by_those_who_ask_them() {
        let (_file, path) = file("listen = \"[::1]:8102\"\nops_listen = \"127.0.0.1:9102\"");
        let plan = plan(&[
            ("AUTH_VERIFIER_LISTEN", "0.0.0.0:8101"),
            ("AUTH_VERIFIER_GRPC_LISTEN", "127.0.0.1:8103"),
            ("TASK_SERVICE_CONFIG", &path),
        ])
        .unwrap();
        assert_eq!(told(&plan.gateway, "GATEWAY_AUTH_VERIFIER_URL").unwrap(), "http://127.0.0.1:8101");
        assert_eq!(told(&plan.gateway, "GATEWAY_TASK_SERVICE_URL").unwrap(), "http://[::1]:8102");
        assert_eq!(
            told(&plan.task_service, "TASK_SERVICE_IDENTITY_JWKS_URL").unwrap(),
            "http://127.0.0.1:8101/.well-known/jwks.json"
        );
        assert_eq!(plan.task_service.ops.url(), "http://127.0.0.1:9102");
        assert_eq!(plan.task_service.ops.place, format!("TASK_SERVICE_CONFIG {path}: ops_listen"));
        assert_eq!(plan.task_service.ops.variable, "TASK_SERVICE_OPS_LISTEN");
        let grpc = plan.addresses()[6];
        assert_eq!((&*grpc.variable, grpc.at.port()), ("AUTH_VERIFIER_GRPC_LISTEN", 8103));
        // The services read the rest where we have read it.
        assert_eq!(told(&plan.auth_verifier, "AUTH_VERIFIER_LISTEN"), None);
    }

    #[test]
    fn what_is_set_in_any_layer_is_left_alone() {
        let (_tasks, tasks) = file(
            "identity_jwks_url = \"http://elsewhere:3/jwks\"\n[database]\nurl = \"postgresql://db/tasks\"",
        );
        let (_verifier, verifier) = file(
            "[better_auth]\nurl = \"https://app.example.com\"\nsecret = \"k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn\"",
        );
        let (_gateway, gateway) =
            file("auth_verifier_url = \"http://elsewhere:1\"\ntask_service_url = [\"http://elsewhere:2\"]");
        let by_files = [
            ("TASK_SERVICE_CONFIG", &*tasks),
            ("AUTH_VERIFIER_CONFIG", &*verifier),
            ("GATEWAY_CONFIG", &*gateway),
        ];
        let by_variables = [
            ("TASK_SERVICE_IDENTITY_JWKS_URL", "http://elsewhere:3/jwks"),
            ("DATABASE_URL", "postgresql://db/tasks"),
            ("BETTER_AUTH_URL", "https://app.example.com"),
            ("BETTER_AUTH_SECRETS", "2:k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn"),
            ("GATEWAY_AUTH_VERIFIER_URL", "http://elsewhere:1"),
            ("GATEWAY_TASK_SERVICE_URL", "http://elsewhere:2"),
        ];
        for (variables, database, secret) in [
            (
                &by_files[..],
                format!("TASK_SERVICE_CONFIG {tasks}: [database] url"),
                format!("AUTH_VERIFIER_CONFIG {verifier}: [better_auth] secret"),
            ),
            (&by_variables[..], "DATABASE_URL".into(), "BETTER_AUTH_SECRETS".into()),
        ] {
            let plan = plan(variables).unwrap();
            for service in plan.services() {
                assert_eq!(service.variables, [], "{}", service.name);
            }
            assert_eq!((plan.database, plan.secret), (Some(database), Some(secret)));
        }
    }

    #[test]
    fn what_nobody_sets_is_filled_in() {
        let (_file, path) = file("[better_auth]\nurl = \"\"\n[database]\npool_max = 2");
        for variables in [
            &[][..],
            &[
                ("GATEWAY_AUTH_VERIFIER_URL", ""),
                ("DATABASE_URL", ""),
                ("BETTER_AUTH_SECRET", ""),
                ("BETTER_AUTH_URL", ""),
            ],
            &[("AUTH_VERIFIER_CONFIG", &path)],
        ] {
            let plan = plan(variables).unwrap();
            assert_eq!((&plan.database, &plan.secret), (&None, &None));
            assert_eq!(told(&plan.gateway, "GATEWAY_AUTH_VERIFIER_URL").unwrap(), "http://127.0.0.1:8001");
            assert_eq!(told(&plan.auth_verifier, "BETTER_AUTH_URL").unwrap(), BETTER_AUTH_URL);
        }
    }

    #[test]
    fn whose_users_are_neons_gets_no_better_auth_of_its_own_and_no_secret_that_signs_tokens() {
        let neon = ("NEON_AUTH_BASE_URL", "https://ep-x.neonauth.aws.neon.tech/neondb/auth");
        let vite = ("VITE_NEON_AUTH_URL", neon.1);
        let cookie_secret = ("NEON_AUTH_COOKIE_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn");
        for (variables, secret) in [
            (&[neon, cookie_secret][..], Some("NEON_AUTH_COOKIE_SECRET")),
            (&[neon], None),
            (&[vite], None),
            (
                &[vite, ("AUTH_VERIFIER_IDENTITY__SEED", cookie_secret.1)],
                Some("AUTH_VERIFIER_IDENTITY__SEED"),
            ),
        ] {
            let plan = plan(variables).unwrap();
            let wait = ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", NEON_WAIT_MS.to_owned());
            assert_eq!(plan.auth_verifier.variables, [wait], "{variables:?}");
            assert_eq!(told(&plan.gateway, "GATEWAY_VERIFIER__TIMEOUT_MS").unwrap(), NEON_WAIT_MS);
            assert_eq!((plan.secret.as_deref(), plan.secret_variable), (secret, secret::SEED));
            assert_eq!(plan.neon_auth.as_deref(), Some(neon.1));
        }
        // Beside a Better Auth of one's own, whose secret is there, too.
        let own = ("BETTER_AUTH_SECRET", "0iLnk7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH");
        let both = plan(&[neon, cookie_secret, own]).unwrap();
        assert_eq!((both.secret.as_deref(), both.neon_auth), (Some("BETTER_AUTH_SECRET"), None));
        let without = plan(&[("NEON_AUTH_BASE_URL", "")]).unwrap();
        assert_eq!((without.secret_variable, without.neon_auth), (secret::VARIABLE, None));
        assert_eq!(told(&without.auth_verifier, "BETTER_AUTH_URL").unwrap(), BETTER_AUTH_URL);
    }

    #[test]
    fn a_platforms_port_is_the_gateways_alone() {
        let set = [("PORT", "8080")];
        let followed = plan(&set).unwrap();
        assert_eq!(followed.gateway.traffic.at, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(followed.gateway.traffic.place, "PORT");
        assert_eq!(followed.auth_verifier.traffic.at, "127.0.0.1:8001".parse().unwrap());
        assert_eq!(followed.task_service.traffic.at, "127.0.0.1:8002".parse().unwrap());
        let environment: Environment = set.into_iter().collect();
        for service in followed.services() {
            let seen = service.environment(&environment).get("PORT").is_some();
            assert_eq!(seen, service.name == GATEWAY, "{}", service.name);
        }
        let error = plan(&[("PORT", "8001")]).unwrap_err();
        assert_eq!(
            error,
            "AUTH_VERIFIER_LISTEN: is 127.0.0.1:8001, and PORT is 0.0.0.0:8001; give each an address of its own"
        );
    }

    #[test]
    fn a_service_of_roots_sees_its_own_variables_and_no_secret_of_anybody_elses() {
        let dotenv = b"DATABASE_URL=postgresql://db/$TENANT\nPATH_SECRET=x\nLANG=x\nPORT=1";
        let process = [
            ("TENANT", "tasks"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("BETTER_AUTH_SECRET_FILE", "/secret"),
            ("GATEWAY_LISTEN", ""),
            ("RUST_LOG", "debug"),
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
        ];
        let process = process.map(|(name, value)| (name.into(), value.into()));
        let ours = Environment::of(dotenv, process).unwrap();
        let plan = Plan::of(&ours, &mut Faults::default());
        let seen = |service: &ServicePlan, ours| -> Vec<(String, String)> {
            let seen = service.seen(ours).into_iter();
            let further = ["LC_ALL", "PATH", "RUST_LOG"];
            let seen = seen.filter(|(name, _)| !further.contains(&&**name));
            seen.map(|(name, value)| (name, value.expose().to_owned())).collect()
        };
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(seen(&plan.task_service, &ours), pair("DATABASE_URL", "postgresql://db/tasks"));
        assert_eq!(seen(&plan.auth_verifier, &ours), pair("BETTER_AUTH_SECRET_FILE", "/secret"));
        assert_eq!(seen(&plan.gateway, &ours), pair("GATEWAY_LISTEN", ""));
        assert_eq!(plan.gateway.seen(&ours).len(), 4);
        // A platform's port, other than one of `.env`, is the gateway's.
        let ours = [("PORT", "8080")].into_iter().collect();
        assert_eq!(seen(&plan.gateway, &ours), pair("PORT", "8080"));
        assert_eq!(seen(&plan.task_service, &ours), []);
    }

    #[test]
    fn what_can_not_be_read_is_not_taken_for_unset() {
        for ours in
            ["DATABASE_URL", "DATABASE_URL_FILE", "BETTER_AUTH_SECRETS", "GATEWAY_LISTEN", "USHER_DATA_DIR"]
        {
            assert!(is_ours(ours), "{ours}");
        }
        for others in ["PATH", "NEXT_PUBLIC_API_URL", "BETTER_AUTH_TELEMETRY", "KUBERNETES_SERVICE_HOST"] {
            assert!(!is_ours(others), "{others}");
        }
        let plan =
            plan(&[("DATABASE_URL_FILE", "/nowhere"), ("BETTER_AUTH_SECRET_FILE", "/nowhere")]).unwrap();
        assert!(plan.database.is_some() && plan.secret.is_some(), "their own check tells what is wrong");
    }

    #[test]
    fn an_address_that_can_not_work_is_named() {
        let (_file, path) = file("ops_listen = \"127.0.0.1:8001\"");
        let shared = format!(
            "GATEWAY_CONFIG {path}: ops_listen: is 127.0.0.1:8001, and AUTH_VERIFIER_LISTEN is 127.0.0.1:8001; give each"
        );
        for (variables, want) in [
            (
                &[("GATEWAY_LISTEN", "127.0.0.1:0")][..],
                "GATEWAY_LISTEN: `127.0.0.1:0` leaves the port to the system; the others have to know it",
            ),
            (
                &[("GATEWAY_LISTEN", "127.0.0.1:9000")],
                "GATEWAY_OPS_LISTEN: is 127.0.0.1:9000, and GATEWAY_LISTEN is 127.0.0.1:9000; give each",
            ),
            (
                &[("GATEWAY_LISTEN", "[::]:8002")],
                "TASK_SERVICE_LISTEN: is 127.0.0.1:8002, and GATEWAY_LISTEN is [::]:8002; give each",
            ),
            (
                &[("AUTH_VERIFIER_GRPC_LISTEN", "127.0.0.1:8000")],
                "AUTH_VERIFIER_GRPC_LISTEN: is 127.0.0.1:8000, and GATEWAY_LISTEN is 127.0.0.1:8000; give each",
            ),
            (&[("GATEWAY_CONFIG", &path)], &*shared),
        ] {
            let error = plan(variables).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
        plan(&[("GATEWAY_LISTEN", "127.0.0.2:8001")]).unwrap();
    }
}
