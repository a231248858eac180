//! Which services there are, where each listens, and what each is told of the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use chassis::settings::{Environment, Faults, Settings, Spec};

pub(crate) const AUTH_VERIFIER: &str = "auth-verifier";
pub(crate) const TASK_SERVICE: &str = "task-service";
pub(crate) const GATEWAY: &str = "gateway";

/// Where Better Auth runs while a frontend is developed.
const BETTER_AUTH_URL: &str = "http://localhost:3000";

/// Variables that the launcher reads, besides those of the services.
const OWN: [&str; 4] = ["USHER_DATA_DIR", "APP_ENV", "CARGO_MANIFEST_DIR", "RUST_LOG"];

/// Whether a variable of this name is the launcher's, or one of the services'.
pub(crate) fn is_ours(name: &str) -> bool {
    let specs: [Spec; 3] = [
        gateway::settings::Settings::SPEC,
        auth_verifier::settings::Settings::SPEC,
        task_service::settings::Settings::SPEC,
    ];
    OWN.contains(&name) || specs.iter().any(|spec| spec.claims(name))
}

/// The services of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) auth_verifier: ServicePlan,
    pub(crate) task_service: ServicePlan,
    pub(crate) gateway: ServicePlan,
}

/// One service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServicePlan {
    pub(crate) name: &'static str,
    /// Where requests come in.
    pub(crate) traffic: Listen,
    /// Where the operator asks.
    pub(crate) ops: Listen,
    /// What its environment has in addition to ours.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// An address, and the variable that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) variable: &'static str,
    pub(crate) at: SocketAddr,
}

impl Plan {
    /// The plan that the environment asks for: addresses by their own variables, and the services' URLs of one
    /// another by those addresses, unless they are set too. An address that can't be read is a fault, and the default here.
    pub(crate) fn of(environment: &Environment, faults: &mut Faults) -> Self {
        let mut listen = |variable: &'static str, port| Listen::of(environment, variable, port, faults);
        let mut plan = Self {
            auth_verifier: ServicePlan::new(
                AUTH_VERIFIER,
                listen("AUTH_VERIFIER_LISTEN", 8001),
                listen("AUTH_VERIFIER_OPS_LISTEN", 9001),
            ),
            task_service: ServicePlan::new(
                TASK_SERVICE,
                listen("TASK_SERVICE_LISTEN", 8002),
                listen("TASK_SERVICE_OPS_LISTEN", 9002),
            ),
            gateway: ServicePlan::new(
                GATEWAY,
                listen("GATEWAY_LISTEN", 8000),
                listen("GATEWAY_OPS_LISTEN", 9000),
            ),
        };
        plan.refuse_sharing(faults);

        let verifier_url = plan.auth_verifier.traffic.url();
        let tasks_url = plan.task_service.traffic.url();
        plan.auth_verifier.tell(environment, "BETTER_AUTH_URL", BETTER_AUTH_URL.to_owned());
        plan.task_service.tell(
            environment,
            "TASK_SERVICE_IDENTITY_JWKS_URL",
            format!("{verifier_url}/.well-known/jwks.json"),
        );
        plan.gateway.tell(environment, "GATEWAY_AUTH_VERIFIER_URL", verifier_url);
        plan.gateway.tell(environment, "GATEWAY_TASK_SERVICE_URL", tasks_url);
        plan
    }

    /// The services in the order in which they start: each after those that it asks.
    pub(crate) fn services(&self) -> [&ServicePlan; 3] {
        [&self.auth_verifier, &self.task_service, &self.gateway]
    }

    /// All addresses, traffic first.
    pub(crate) fn addresses(&self) -> [Listen; 6] {
        let [a, b, c] = [&self.gateway, &self.auth_verifier, &self.task_service];
        [a.traffic, b.traffic, c.traffic, a.ops, b.ops, c.ops]
    }

    fn refuse_sharing(&self, faults: &mut Faults) {
        let addresses = self.addresses();
        for (n, one) in addresses.iter().enumerate() {
            if let Some(other) = addresses[..n].iter().find(|other| other.at == one.at) {
                let reason =
                    format!("is {}, as is {}; give each an address of its own", one.at, other.variable);
                faults.add(one.variable, reason);
            }
        }
    }
}

impl ServicePlan {
    fn new(name: &'static str, traffic: Listen, ops: Listen) -> Self {
        // Told explicitly, so that a TOML file of the service can't move it away from where it is expected.
        let variables = [traffic, ops].map(|listen| (listen.variable, listen.at.to_string()));
        Self { name, traffic, ops, variables: variables.into() }
    }

    /// The environment that the service will see.
    pub(crate) fn environment(&self, ours: &Environment) -> Environment {
        let set = |environment: Environment, (name, value): &(&'static str, String)| {
            // What only repeats the environment is not of our making.
            if environment.get(name) == Some(value) {
                environment
            } else {
                environment.with(*name, value, "usher")
            }
        };
        self.variables.iter().fold(ours.clone(), set)
    }

    /// Sets a variable, unless it is set already.
    fn tell(&mut self, environment: &Environment, variable: &'static str, value: String) {
        if environment.get(variable).is_none() {
            self.variables.push((variable, value));
        }
    }
}

impl Listen {
    fn of(environment: &Environment, variable: &'static str, port: u16, faults: &mut Faults) -> Self {
        let default = Self { variable, at: (Ipv4Addr::LOCALHOST, port).into() };
        let Some(text) = environment.get(variable) else { return default };
        match text.trim().parse::<SocketAddr>() {
            Ok(at) if at.port() != 0 => Self { variable, at },
            _ => {
                let reason = format!("`{text}` is not an address with a port, such as 127.0.0.1:{port}");
                faults.add(variable, reason);
                default
            }
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(variables: &[(&str, &str)]) -> Result<Plan, String> {
        let mut faults = Faults::default();
        let plan = Plan::of(&variables.iter().copied().collect(), &mut faults);
        faults.result().map(|()| plan).map_err(|error| error.to_string())
    }

    fn told(service: &ServicePlan, variable: &str) -> Option<String> {
        service.variables.iter().find(|(name, _)| *name == variable).map(|(_, value)| value.clone())
    }

    #[test]
    fn the_ports_are_those_that_the_services_have_by_themselves() {
        let plan = plan(&[]).unwrap();
        for (service, defaults) in [
            (&plan.gateway, gateway::settings::Settings::SPEC.defaults),
            (&plan.auth_verifier, auth_verifier::settings::Settings::SPEC.defaults),
            (&plan.task_service, task_service::settings::Settings::SPEC.defaults),
        ] {
            assert!(defaults.contains(&format!("\nlisten = \"{}\"", service.traffic.at)), "{}", service.name);
            assert!(defaults.contains(&format!("\nops_listen = \"{}\"", service.ops.at)), "{}", service.name);
        }
    }

    #[test]
    fn whoever_moves_is_followed_by_those_who_ask_them() {
        let plan =
            plan(&[("AUTH_VERIFIER_LISTEN", "0.0.0.0:8101"), ("TASK_SERVICE_LISTEN", "[::1]:8102")]).unwrap();
        assert_eq!(told(&plan.gateway, "GATEWAY_AUTH_VERIFIER_URL").unwrap(), "http://127.0.0.1:8101");
        assert_eq!(told(&plan.gateway, "GATEWAY_TASK_SERVICE_URL").unwrap(), "http://[::1]:8102");
        assert_eq!(
            told(&plan.task_service, "TASK_SERVICE_IDENTITY_JWKS_URL").unwrap(),
            "http://127.0.0.1:8101/.well-known/jwks.json"
        );
        assert_eq!(told(&plan.auth_verifier, "AUTH_VERIFIER_LISTEN").unwrap(), "0.0.0.0:8101");
    }

    #[test]
    fn what_is_set_is_left_alone() {
        let plan = plan(&[
            ("GATEWAY_TASK_SERVICE_URL", "http://elsewhere:1"),
            ("BETTER_AUTH_URL", "https://app.example.com"),
            ("GATEWAY_AUTH_VERIFIER_URL", ""),
        ])
        .unwrap();
        assert_eq!(told(&plan.gateway, "GATEWAY_TASK_SERVICE_URL"), None);
        assert_eq!(told(&plan.auth_verifier, "BETTER_AUTH_URL"), None);
        let empty_counts_as_unset = told(&plan.gateway, "GATEWAY_AUTH_VERIFIER_URL");
        assert_eq!(empty_counts_as_unset.unwrap(), "http://127.0.0.1:8001");
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
    }

    #[test]
    fn an_address_that_can_not_work_is_named() {
        for (value, want) in [
            ("8000", "GATEWAY_LISTEN: `8000` is not an address with a port, such as 127.0.0.1:8000"),
            ("localhost:8000", "GATEWAY_LISTEN: `localhost:8000` is not an address"),
            ("127.0.0.1:0", "GATEWAY_LISTEN: `127.0.0.1:0` is not an address"),
            ("127.0.0.1:9000", "GATEWAY_OPS_LISTEN: is 127.0.0.1:9000, as is GATEWAY_LISTEN; give each"),
        ] {
            let error = plan(&[("GATEWAY_LISTEN", value)]).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
