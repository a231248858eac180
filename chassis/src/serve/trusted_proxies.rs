//! Who is counted as the client: the peer, or whom a proxy that we trust says it speaks for.
//!
//! Behind a load balancer every connection has one address. Its `X-Forwarded-For` tells the clients apart, and anybody
//! can write that header: so it is believed from the networks that the operator lists, and from nobody else.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::settings;

/// Where each proxy on the way writes whom it had the request from, the latest last.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The most proxies in a row whose word is followed.
const HOPS_MAX: usize = 16;

/// What of an IPv6 address says that the rest is one of IPv4 (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// The networks of the proxies that are believed about their clients. None, unless the operator lists some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether this is the address of a proxy that is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address that a request is counted under: the one nearest to us that is no trusted proxy's.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.way(peer, headers).last().copied().unwrap_or(peer)
    }

    /// The addresses that a request came by, from the peer to the client. A hop that can't be read ends the search, and so
    /// does the end of the list: what lies behind it is hearsay.
    pub fn way(&self, peer: IpAddr, headers: &HeaderMap) -> Vec<IpAddr> {
        let mut client = peer.to_canonical();
        let mut way = vec![client];
        if self.0.is_empty() {
            return way;
        }
        let values: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        let hops = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(HOPS_MAX) {
            if !self.trusts(client) {
                break;
            }
            let Some(next) = address(hop) else { break };
            client = next;
            way.push(client);
        }
        way
    }
}

/// An address as proxies write it: bare, or with a port, as some do.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop).ok()?.trim();
    let bare = hop.parse().ok().or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    let address = bare.or_else(|| hop.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))?;
    Some(address.to_canonical())
}

/// IPv4 as such, where it is written as IPv6: so are the addresses that are compared with it.
fn canonical(network: IpNet) -> IpNet {
    let plain = || {
        let IpAddr::V4(address) = network.addr().to_canonical() else { return None };
        let prefix = network.prefix_len().checked_sub(MAPPED_PREFIX)?;
        IpNet::new(address.into(), prefix).ok()
    };
    if network.addr().is_ipv6() { plain().unwrap_or(network) } else { network }
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let networks = settings::list::<_, String>(from)?.into_iter().map(|text| {
            let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            let wrong = || D::Error::custom(format!("`{text}` is no network such as 10.0.0.0/8 or 10.1.2.3"));
            let network = canonical(network.ok_or_else(wrong)?);
            if network.prefix_len() == 0 {
                return Err(D::Error::custom(format!(
                    "`{text}` is everybody: any client could then choose whom it is counted as"
                )));
            }
            Ok(network)
        });
        networks.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde::de::{IntoDeserializer, value};

    use super::*;

    fn proxies(text: &str) -> Result<TrustedProxies, String> {
        let from: value::StrDeserializer<'_, value::Error> = text.into_deserializer();
        TrustedProxies::deserialize(from).map_err(|error| error.to_string())
    }

    fn client(trusted: &str, peer: &str, forwarded: &[&'static str]) -> String {
        let headers =
            forwarded.iter().map(|value| (FORWARDED_FOR, HeaderValue::from_static(value))).collect();
        proxies(trusted).unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_listed() {
        assert_eq!(client("", "10.0.0.1", &["203.0.113.7"]), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &["203.0.113.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_client_is_the_nearest_that_is_no_trusted_proxy() {
        for (forwarded, want) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7, unknown"], "10.0.0.1"),
            (&["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.0/8", "10.0.0.1", forwarded), want, "{forwarded:?}");
            assert_eq!(client("10.0.0.0/8", "::ffff:10.0.0.1", forwarded), want, "{forwarded:?}");
        }
    }

    #[test]
    fn a_network_of_ipv4_is_one_however_it_is_written() {
        for trusted in ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "::ffff:a00:1/128"] {
            assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.7"]), "203.0.113.7", "{trusted}");
            assert_eq!(client(trusted, "192.0.2.1", &["203.0.113.7"]), "192.0.2.1", "{trusted}");
        }
    }

    #[test]
    fn a_list_of_networks_is_read_or_refused() {
        for good in ["", "10.0.0.0/8", "10.1.2.3", "10.0.0.0/8, 2001:db8::/32", "::1"] {
            assert!(proxies(good).is_ok(), "{good}");
        }
        for (bad, want) in [
            ("10.0.0.0/33", "no network"),
            ("localhost", "no network"),
            ("0.0.0.0/0", "everybody"),
            ("::/0", "everybody"),
            ("::ffff:0:0/96", "everybody"),
        ] {
            assert!(proxies(bad).unwrap_err().contains(want), "{bad}");
        }
    }
}
