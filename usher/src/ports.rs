//! Checks that the ports are free before anything starts, so that a taken one is told in one sentence and not in a log.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use rustix::process::geteuid;

use crate::{error::StartError, plan::Listen};

/// How long the services of a copy that was killed may take to let go.
const PATIENCE: Duration = Duration::from_secs(2);

/// The wait before an address is tried again.
const INTERVAL: Duration = Duration::from_millis(50);

/// How far away the port is that is proposed instead.
const STEP: u16 = 100;

/// The least port that not only root may take, where the system doesn't say another one.
const UNPRIVILEGED: u16 = 1024;

/// The least port that the services may take, where that is not this one: we could take it, but they don't run as root.
pub(crate) fn least_instead_of(port: u16) -> Option<u16> {
    let least = if geteuid().is_root() { unprivileged() } else { 0 };
    // The system chooses another one in the place of 0.
    (port != 0 && port < least).then_some(least)
}

/// Takes every address for a moment.
pub(crate) fn check(addresses: &[&Listen]) -> Result<(), StartError> {
    let deadline = Instant::now() + PATIENCE;
    for Listen { variable, place, at } in addresses {
        let (place, at) = (place.clone(), *at);
        while let Err(source) = TcpListener::bind(at) {
            if source.kind() != io::ErrorKind::AddrInUse {
                return Err(StartError::Listen { place, at, source });
            }
            if Instant::now() >= deadline {
                let port = at.port().checked_add(STEP).unwrap_or(at.port() - STEP);
                let instead = SocketAddr::new(at.ip(), port);
                return Err(StartError::PortInUse { variable: variable.clone(), at, instead });
            }
            thread::sleep(INTERVAL);
        }
    }
    Ok(())
}

/// The least port that not only root may take.
fn unprivileged() -> u16 {
    let said = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    said.ok().and_then(|port| port.trim().parse().ok()).unwrap_or(UNPRIVILEGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(at: SocketAddr) -> Listen {
        Listen { variable: "GATEWAY_LISTEN".into(), place: "PORT".into(), at }
    }

    #[test]
    fn a_port_in_use_is_named_with_who_should_move_and_where() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = holder.local_addr().unwrap();
        let error = check(&[&listen(at)]).unwrap_err().to_string();
        let port = at.port();
        let begins =
            format!("port {port} is in use: stop what listens there, or set GATEWAY_LISTEN=127.0.0.1:");
        assert!(error.starts_with(&begins), "{error}");

        drop(holder);
        check(&[&listen(at)]).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = check(&[&listen("192.0.2.1:8080".parse().unwrap())]).unwrap_err().to_string();
        assert!(error.starts_with("PORT: listen on 192.0.2.1:8080: "), "{error}");
    }

    #[test]
    fn a_port_that_the_services_could_not_take_is_known() {
        let least = unprivileged();
        if geteuid().is_root() && least > 1 {
            assert_eq!([1, least - 1].map(least_instead_of), [Some(least); 2]);
        } else {
            assert_eq!(least_instead_of(1), None);
        }
        assert_eq!([0, least.max(1), 8000].map(least_instead_of), [None; 3]);
    }
}
