//! Which variables does Kubernetes make?
//!
//! It tells every container where the services of its namespace are, in variables that begin with their names. A Service
//! called `gateway` makes `GATEWAY_SERVICE_HOST=10.0.0.7` and `GATEWAY_PORT=tcp://10.0.0.7:8000`, and one called `task`
//! makes `TASK_SERVICE_HOST`: they look like settings under our prefixes, and are nobody's. Their values tell them from a
//! setting that somebody misspelt: `GATEWAY_PORT=8080` and `GATEWAY_HOST=0.0.0.0` were written by a person.

use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether Kubernetes made the variable `rest` behind a service's `prefix` (`TASK_SERVICE_`). `is_host` says whether another
/// variable of the environment holds the address of a Service.
pub(super) fn is_link(prefix: &str, rest: &str, value: &str, is_host: impl Fn(&str) -> bool) -> bool {
    // A Service whose own name ends our prefix leaves the rest bare: that of `task` is TASK_SERVICE_HOST.
    let (before, last) = match rest.find("SERVICE_HOST").or_else(|| rest.find("SERVICE_PORT")) {
        Some(at) if at == 0 || rest[..at].ends_with('_') => {
            (&rest[..at + "SERVICE_".len()], &rest[at + "SERVICE_".len()..])
        }
        _ => ("", rest),
    };
    let bare_host = format!("{prefix}{before}HOST");
    if last == "HOST" {
        return is_address_of_service(value);
    }
    if let Some(port) = last.strip_prefix("PORT") {
        // TASK_SERVICE_PORT=80, and TASK_SERVICE_PORT_HTTP=80 for a port that has a name.
        let made = !before.is_empty() || prefix.ends_with("_SERVICE_") || is_host(&bare_host);
        if made && (port.is_empty() || port.starts_with('_')) && is_port(value) {
            return true;
        }
    }
    is_docker_link(rest, value)
}

/// Whether this is the address that a Service has: never that of this machine, of all machines or of a group.
pub(super) fn is_address_of_service(value: &str) -> bool {
    let address: Option<IpAddr> = value.parse().ok();
    address.is_some_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast())
}

fn is_port(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The form that Docker once had: `…PORT=tcp://10.0.0.7:80`, `…PORT_80_TCP=tcp://10.0.0.7:80`, and for each of these
/// `_PROTO`, `_PORT` and `_ADDR`.
fn is_docker_link(rest: &str, value: &str) -> bool {
    let is_url = || {
        let (scheme, place) = value.split_once("://").unwrap_or_default();
        PROTOCOLS.contains(&scheme) && place.rsplit_once(':').is_some_and(|(_, port)| is_port(port))
    };
    if rest == "PORT"
        || rest.ends_with("_PORT") && !ends_in_protocol(rest.strip_suffix("_PORT").unwrap_or(rest))
    {
        return is_url();
    }
    let parts = [("_PROTO", 0), ("_PORT", 1), ("_ADDR", 2)];
    match parts.iter().find_map(|(end, kind)| Some((rest.strip_suffix(end)?, kind))) {
        Some((port, 0)) => ends_in_protocol(port) && PROTOCOLS.contains(&value),
        Some((port, 1)) => ends_in_protocol(port) && is_port(value),
        Some((port, _)) => ends_in_protocol(port) && is_address_of_service(value),
        None => ends_in_protocol(rest) && is_url(),
    }
}

/// `PORT_80_TCP`, with or without something before it.
fn ends_in_protocol(name: &str) -> bool {
    let Some((port, protocol)) = name.rsplit_once('_') else { return false };
    let known = PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(protocol));
    let Some((word, number)) = port.rsplit_once('_') else { return false };
    known && is_port(number) && (word == "PORT" || word.ends_with("_PORT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_any_service_are_told_from_settings() {
        for (prefix, rest, value) in [
            // Of a Service with our name,
            ("GATEWAY_", "SERVICE_HOST", "10.0.0.7"),
            ("GATEWAY_", "SERVICE_PORT", "8000"),
            ("GATEWAY_", "SERVICE_PORT_HTTP", "8000"),
            ("GATEWAY_", "SERVICE_PORT_HTTP_ALT", "8001"),
            ("GATEWAY_", "PORT", "tcp://10.0.0.7:8000"),
            ("GATEWAY_", "PORT_8000_TCP", "tcp://10.0.0.7:8000"),
            ("GATEWAY_", "PORT_8000_TCP_PROTO", "tcp"),
            ("GATEWAY_", "PORT_8000_TCP_PORT", "8000"),
            ("GATEWAY_", "PORT_8000_TCP_ADDR", "10.0.0.7"),
            ("GATEWAY_", "PORT_53_UDP_ADDR", "fd00::7"),
            ("GATEWAY_", "PORT_53_UDP", "udp://[fd00::7]:53"),
            // of one whose name begins as ours does,
            ("AUTH_VERIFIER_", "CANARY_SERVICE_HOST", "10.0.0.7"),
            ("AUTH_VERIFIER_", "CANARY_SERVICE_PORT_GRPC", "8003"),
            ("AUTH_VERIFIER_", "CANARY_PORT", "tcp://10.0.0.7:8001"),
            ("AUTH_VERIFIER_", "CANARY_PORT_8001_TCP_PORT", "8001"),
            // and of one with which ours begins: `task`.
            ("TASK_SERVICE_", "HOST", "10.0.0.7"),
            ("TASK_SERVICE_", "PORT", "8002"),
            ("TASK_SERVICE_", "PORT_HTTP", "8002"),
            ("TASK_SERVICE_", "PORT", "tcp://10.0.0.7:8002"),
            ("AUTH_VERIFIER_", "HOST", "10.0.0.7"),
        ] {
            assert!(is_link(prefix, rest, value, |_| false), "{prefix}{rest}={value}");
        }
        assert!(is_link("AUTH_VERIFIER_", "PORT", "8001", |name| name == "AUTH_VERIFIER_HOST"));
    }

    #[test]
    fn what_a_person_wrote_is_not_passed_over() {
        for (prefix, rest, value) in [
            ("GATEWAY_", "HOST", "0.0.0.0"),
            ("GATEWAY_", "HOST", "127.0.0.1"),
            ("GATEWAY_", "HOST", "localhost"),
            ("GATEWAY_", "PORT", "8080"),
            ("GATEWAY_", "SERVICE_HOST", "tasks"),
            ("GATEWAY_", "TASK_SERVICE_HOST", "tasks"),
            ("GATEWAY_", "LISTEN_PORT", "8080"),
            ("TASK_SERVICE_", "PORT", "0"),
            ("TASK_SERVICE_", "PORT", "80a"),
            ("TASK_SERVICE_", "PORTS", "8002"),
            ("GATEWAY_", "LISTEM", "tcp://10.0.0.7:80"),
            ("GATEWAY_", "UPSTREAM_TCP_KEEPALIVE", "5"),
            ("GATEWAY_", "AUTH_TCP_ADDR", "10.0.0.7"),
            ("GATEWAY_", "LIMITS__BODY_BYTS", "7"),
        ] {
            assert!(!is_link(prefix, rest, value, |_| false), "{prefix}{rest}={value}");
        }
    }
}
