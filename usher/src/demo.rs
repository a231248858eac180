//! `usher demo`: a tasks page and its Better Auth beside the services, as `deploy/demo` has them.
//!
//! The page may be opened at two addresses: at its own web server, from where it calls the gateway across origins by a token; and at
//! the gateway, through which page, sign-in and tasks come at one origin by a cookie. So some settings are not the operator's here:
//! where Better Auth is, whose pages may call, and the routes.

mod app;
mod node;

use std::net::SocketAddr;

use chassis::settings::{Environment, Faults, Stated};

pub(crate) use self::{
    app::App,
    node::{Node, check},
};
use crate::{
    database,
    plan::{Listen, Plan},
    secret,
};

/// What it is called among the services.
pub(crate) const NAME: &str = "demo";

/// Its database on our own server, and the role that has it and no other: what npm brings does not reach the tasks.
pub(crate) const DATABASE: &str = "usher_demo";

/// Where its web server listens.
pub(crate) const LISTEN: &str = "USHER_DEMO_LISTEN";
const LISTEN_DEFAULT: &str = "127.0.0.1:3000";

/// What leads a service to a file of settings, of which the demo brings the gateway's.
pub(crate) const GATEWAY_CONFIG: &str = "GATEWAY_CONFIG";

/// Where the demo is.
#[derive(Debug)]
pub(crate) struct Demo {
    /// Where its web server listens.
    pub(crate) listen: Listen,
    /// The same, as browsers know it.
    pub(crate) page: String,
    /// The gateway, as browsers know it.
    pub(crate) gateway: String,
}

impl Demo {
    /// The demo that the settings ask for, with which the services of `plan` are made acquainted.
    pub(crate) fn of(environment: &Environment, plan: &mut Plan, faults: &mut Faults) -> Self {
        let listen = listen(environment, faults);
        let (page, gateway) = (listen.browser_url(), plan.gateway.traffic.browser_url());
        let of_node = || database::says_production(environment, "NODE_ENV");
        if let Some(place) = database::production(environment).or_else(of_node) {
            faults.add(place, "the demo lets everybody in who signs up: it is for development alone");
        }
        if environment.get(GATEWAY_CONFIG).is_some() {
            faults.add(GATEWAY_CONFIG, "the demo has routes of its own: leave it empty for the demo");
        }
        let auth_verifier = Stated::of::<auth_verifier::settings::Settings>(environment);
        for key in ["neon_auth.base_url", "neon_auth.vite_url"] {
            if let Some(place) = auth_verifier.place(key)
                && auth_verifier.text(key).is_some_and(|url| !url.is_empty())
            {
                faults.add(place, "has users of its own, and so has the demo: leave it empty for the demo");
            }
        }
        let from_gateway = Stated::of::<gateway::settings::Settings>(environment);
        for (stated, key, wanted) in [
            (&auth_verifier, "better_auth.url", &page),
            (&from_gateway, "cors.allowed_origins", &page),
            (&from_gateway, "public_origins", &gateway),
        ] {
            let set = stated.text(key).unwrap_or_default();
            if let Some(place) = stated.place(key)
                && set != wanted
            {
                faults
                    .add(place, format!("is `{set}`, where the demo needs `{wanted}`: set that, or nothing"));
            }
        }
        plan.auth_verifier.insist("BETTER_AUTH_URL", page.clone());
        plan.gateway.insist("CORS_ALLOWED_ORIGINS", page.clone());
        plan.gateway.insist("GATEWAY_PUBLIC_ORIGINS", gateway.clone());
        // What is given is given to Better Auth, too, in the one way in which it takes it.
        for (place, variable) in [(&plan.database, database::VARIABLE), (&plan.secret, secret::VARIABLE)] {
            if let Some(place) = place
                && environment.get(variable).is_none()
            {
                faults.add(
                    place,
                    format!("the demo's Better Auth knows {variable} alone: set that, or nothing"),
                );
            }
        }
        Self { listen, page, gateway }
    }

    /// What a person is told: where to look.
    pub(crate) fn greeting(&self) -> String {
        let Self { page, gateway, .. } = self;
        format!(
            "  The demo            {page}  (bearer token, across origins)\n  \
               The same            {gateway}  (session cookie, one origin)\n"
        )
    }
}

fn listen(environment: &Environment, faults: &mut Faults) -> Listen {
    let default = || LISTEN_DEFAULT.parse().expect("the default is an address");
    let at: SocketAddr = environment.get(LISTEN).map_or_else(default, |text| {
        text.parse().unwrap_or_else(|_| {
            let reason = format!("`{text}` is not an address with a port, such as {LISTEN_DEFAULT}");
            faults.add(LISTEN, reason);
            default()
        })
    });
    if at.port() == 0 {
        faults.add(LISTEN, "leaves the port to the system; the others have to know it");
    }
    Listen { variable: LISTEN.into(), place: LISTEN.into(), at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(variables: &[(&str, &str)]) -> Result<Plan, String> {
        let environment = variables.iter().copied().collect();
        let mut faults = Faults::default();
        let plan = Plan::of(&environment, &mut faults).with_demo(&environment, &mut faults);
        faults.result().map(|()| plan).map_err(|error| error.to_string())
    }

    #[test]
    fn the_services_are_told_of_both_addresses() {
        let plan = plan(&[(LISTEN, "127.0.0.1:3100"), ("GATEWAY_LISTEN", "127.0.0.1:8100")]).unwrap();
        let (page, gateway) = ("http://localhost:3100".to_owned(), "http://localhost:8100".to_owned());
        let told = |variables: &[(&'static str, String)], name| -> Vec<String> {
            let of_that_name = variables.iter().filter(|(variable, _)| *variable == name);
            of_that_name.map(|(_, value)| value.clone()).collect()
        };
        assert_eq!(told(&plan.auth_verifier.variables, "BETTER_AUTH_URL"), [&*page]);
        assert_eq!(told(&plan.gateway.variables, "CORS_ALLOWED_ORIGINS"), [&*page]);
        assert_eq!(told(&plan.gateway.variables, "GATEWAY_PUBLIC_ORIGINS"), [&*gateway]);
        assert_eq!(plan.addresses().last().unwrap().at.port(), 3100);
        let text = plan.demo.unwrap().greeting();
        assert!(text.contains(&page) && text.contains(&gateway), "{text}");
    }

    #[test]
    fn settings_of_another_frontend_are_not_overruled_in_silence() {
        plan(&[("BETTER_AUTH_URL", "http://localhost:3000"), ("GATEWAY_CONFIG", "")]).unwrap();
        for (variable, value, want) in [
            ("BETTER_AUTH_URL", "https://app.example.com", "where the demo needs `http://localhost:3000`"),
            ("CORS_ALLOWED_ORIGINS", "https://app.example.com", "where the demo needs"),
            (
                "GATEWAY_PUBLIC_ORIGINS",
                "https://app.example.com",
                "where the demo needs `http://localhost:8000`",
            ),
            ("GATEWAY_CONFIG", "deploy/one-origin.toml", "the demo has routes of its own"),
            (
                "NEON_AUTH_BASE_URL",
                "https://ep-x.neonauth.aws.neon.tech/neondb/auth",
                "has users of its own, and so has the demo",
            ),
            ("APP_ENV", "production", "it is for development alone"),
            ("APP_ENV", "Prod", "it is for development alone"),
            ("NODE_ENV", "production", "it is for development alone"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1", "it is for development alone"),
            ("BETTER_AUTH_SECRETS", "2:k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn", "knows BETTER_AUTH_SECRET alone"),
            (LISTEN, "3000", "`3000` is not an address with a port, such as 127.0.0.1:3000"),
            (LISTEN, "127.0.0.1:0", "leaves the port to the system"),
            (LISTEN, "127.0.0.1:8002", "give each an address of its own"),
        ] {
            let error = plan(&[(variable, value)]).unwrap_err();
            assert!(error.starts_with(variable) && error.contains(want), "{error}");
        }
    }
}
