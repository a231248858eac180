//! Who is counted as the client of a request, and what we say of it further in.
//!
//! The peer, unless it is a proxy that is trusted: then whom it says it speaks for, and by which scheme it was asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chassis::serve::{Peer, trusted_proxies::TrustedProxies};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// By which scheme a proxy was asked.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What of an IPv6 address is one client's: the rest it may choose by itself (RFC 4291 §2.5.4).
const PREFIX_V6: u32 = 64;

/// The client of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// From the peer to the client itself. Never empty.
    way: Vec<IpAddr>,
    scheme: Option<Scheme>,
}

/// The scheme that a client used, by the word of a trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Scheme {
    Http,
    Https,
}

impl Client {
    /// The client of a request whose headers are as they came.
    pub fn of<B>(request: &Request<B>, trusted: &TrustedProxies) -> Self {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| address.ip());
        let scheme = trusted.trusts(peer).then(|| scheme(request.headers())).flatten();
        Self { way: trusted.way(peer, request.headers()), scheme }
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.way.last().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// What it is counted under: its address, or of IPv6 the network that one client has to itself.
    pub fn counted(&self) -> IpAddr {
        match self.address() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << (u128::BITS - PREFIX_V6));
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 @ IpAddr::V4(_) => v4,
        }
    }

    /// The scheme that it used, if somebody whom we trust says so.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// The client, and the trusted proxies that it came by, the latest last. What stood before the client is hearsay, and is
    /// left out: a service that reads the first address would take it for the client's.
    pub fn forwarded_for(&self) -> String {
        let way: Vec<_> = self.way.iter().rev().map(ToString::to_string).collect();
        way.join(", ")
    }
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What a trusted proxy says of the scheme; anything but one clear word is none.
fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let mut values = headers.get_all(FORWARDED_PROTO).into_iter();
    let is = |value: &HeaderValue, name: &str| value.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    match (values.next(), values.next()) {
        (Some(value), None) if is(value, "https") => Some(Scheme::Https),
        (Some(value), None) if is(value, "http") => Some(Scheme::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde::{
        Deserialize,
        de::{IntoDeserializer, value},
    };

    use super::*;

    fn client(trusted: &str, peer: &str, fields: &[(&str, &str)]) -> Client {
        let from: value::StrDeserializer<'_, value::Error> = trusted.into_deserializer();
        let mut request = Request::new(());
        let peer: IpAddr = peer.parse().unwrap();
        request.extensions_mut().insert(Peer((peer, 4711).into()));
        for (name, value) in fields {
            request.headers_mut().append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Client::of(&request, &TrustedProxies::deserialize(from).unwrap())
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_client_and_scheme_and_nobody_else_is() {
        let said = [("x-forwarded-for", "evil, 203.0.113.7, 10.0.0.2"), ("x-forwarded-proto", "HTTPS")];
        let believed = client("10.0.0.0/8", "10.0.0.1", &said);
        assert_eq!(believed.address().to_string(), "203.0.113.7");
        assert_eq!(believed.forwarded_for(), "203.0.113.7, 10.0.0.2, 10.0.0.1");
        assert_eq!(believed.scheme(), Some(Scheme::Https));
        for (trusted, peer) in [("", "10.0.0.1"), ("10.0.0.0/8", "192.0.2.1")] {
            let alone = client(trusted, peer, &said);
            assert_eq!((alone.address().to_string(), alone.forwarded_for()), (peer.into(), peer.into()));
            assert_eq!(alone.scheme(), None);
        }
    }

    #[test]
    fn a_scheme_is_one_clear_word() {
        for (said, want) in [
            (&["http"][..], Some(Scheme::Http)),
            (&["https"], Some(Scheme::Https)),
            (&[], None),
            (&["https", "https"], None),
            (&["https, http"], None),
            (&["wss"], None),
            (&[""], None),
        ] {
            let fields: Vec<_> = said.iter().map(|value| ("x-forwarded-proto", *value)).collect();
            assert_eq!(client("10.0.0.1", "10.0.0.1", &fields).scheme(), want, "{said:?}");
        }
    }

    #[test]
    fn an_ipv6_client_is_counted_by_its_network() {
        let counted = |peer| client("", peer, &[]).counted();
        assert_eq!(counted("2001:db8::1"), counted("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(counted("2001:db8::1"), counted("2001:db8:0:1::1"));
        assert_ne!(counted("192.0.2.1"), counted("192.0.2.2"));
        assert_eq!(counted("::ffff:192.0.2.1"), counted("192.0.2.1"));
    }
}
