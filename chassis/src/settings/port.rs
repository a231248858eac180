//! `PORT`: where a platform (Cloud Run, Render, Railway, Heroku) will send the traffic.
//!
//! It counts below the file and the service's own `…_LISTEN`, and in the process's environment alone: a frontend's `.env`,
//! which may be linked here, has the frontend's own port in it.

use std::net::{Ipv4Addr, SocketAddr};

use super::{SettingsError, environment::Environment, layers::digits};

/// The variable.
pub const PORT: &str = "PORT";

/// The setting that it stands in for.
pub(super) const KEY: &str = "listen";

/// All addresses at the port that the platform says, if it says one. `listen` is the variable that would say otherwise.
pub(super) fn address(environment: &Environment, listen: &str) -> Result<Option<SocketAddr>, SettingsError> {
    let Some(text) = environment.get_of_process(PORT) else { return Ok(None) };
    match digits(text).and_then(|port| u16::try_from(port).ok()) {
        None | Some(0) => {
            let reason = format!("must be 1 to 65535, in digits alone; {listen} takes an address instead");
            Err(SettingsError::new(PORT, reason))
        }
        Some(port) => Ok(Some((Ipv4Addr::UNSPECIFIED, port).into())),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_port_is_a_number_that_can_be_listened_on() {
        for (text, want) in [
            ("", Ok(None)),
            ("1", Ok(Some("0.0.0.0:1"))),
            ("8080", Ok(Some("0.0.0.0:8080"))),
            ("65535", Ok(Some("0.0.0.0:65535"))),
            ("0", Err(())),
            ("65536", Err(())),
            ("99999999999999999999", Err(())),
            ("-1", Err(())),
            ("+80", Err(())),
            (" 80", Err(())),
            ("80\n", Err(())),
            ("0x50", Err(())),
            ("http", Err(())),
            ("tcp://10.0.0.7:80", Err(())),
            ("0.0.0.0:80", Err(())),
        ] {
            let environment = [(PORT, text)].into_iter().collect();
            let found = address(&environment, "GATEWAY_LISTEN");
            let told = found.as_ref().map_err(ToString::to_string).map_err(|told| {
                assert_eq!(
                    told,
                    "PORT: must be 1 to 65535, in digits alone; GATEWAY_LISTEN takes an address instead"
                );
            });
            assert_eq!(told.copied(), want.map(|at| at.map(|at| at.parse().unwrap())), "{text:?}");
        }
    }

    #[test]
    fn the_port_of_a_file_that_is_the_frontends_too_moves_nobody() {
        let of = |process: &[(&str, &str)]| {
            let process = process.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
            address(&Environment::of(b"PORT=3000", process).unwrap(), "GATEWAY_LISTEN").unwrap()
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("PORT", "8080")]), Some("0.0.0.0:8080".parse().unwrap()));
    }
}
