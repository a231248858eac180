//! Are the ports free? Asked before anything starts, so that the answer is one sentence and not a log to read.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use crate::{error::StartError, plan::Listen};

/// How long the services of a copy that was killed may take to let go.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far away the port is that is proposed instead.
const STEP: u16 = 100;

/// Takes every address for a moment.
pub(crate) fn check(addresses: &[Listen]) -> Result<(), StartError> {
    let deadline = Instant::now() + PATIENCE;
    for Listen { variable, at } in addresses.iter().copied() {
        while let Err(source) = TcpListener::bind(at) {
            if source.kind() != io::ErrorKind::AddrInUse {
                return Err(StartError::Listen { variable, at, source });
            }
            if Instant::now() >= deadline {
                let instead = SocketAddr::new(at.ip(), at.port().checked_add(STEP).unwrap_or(8100));
                return Err(StartError::PortInUse { variable, at, instead });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_who_should_move_and_where() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = holder.local_addr().unwrap();
        let error = check(&[Listen { variable: "GATEWAY_LISTEN", at }]).unwrap_err().to_string();
        let port = at.port();
        let begins =
            format!("port {port} is in use: stop what listens there, or set GATEWAY_LISTEN=127.0.0.1:");
        assert!(error.starts_with(&begins), "{error}");

        drop(holder);
        check(&[Listen { variable: "GATEWAY_LISTEN", at }]).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let at = "192.0.2.1:80".parse().unwrap();
        let error = check(&[Listen { variable: "GATEWAY_LISTEN", at }]).unwrap_err().to_string();
        assert!(error.starts_with("GATEWAY_LISTEN: listen on 192.0.2.1:80: "), "{error}");
    }
}
