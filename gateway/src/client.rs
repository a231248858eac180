//! The client of a request: its address, scheme and host, and all that is said of it further in.
//!
//! The address is the peer's, unless that is a trusted proxy: then it is the one that the proxy speaks for, and the scheme is
//! the one that the proxy was asked by. Where TLS ends in the gateway, it knows the scheme by itself. Nothing else in the gateway writes an `X-Forwarded-*` header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chassis::{
    address,
    header::single,
    serve::{
        Peer,
        trusted_proxies::{FORWARDED_FOR, TrustedProxies},
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, request};

/// The host that the client has named; on every request that goes inside.
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// How much of an IPv6 address is one client's; it may choose the rest by itself (RFC 4291 §2.5.4).
const PREFIX_V6: u32 = 64;

/// The client of a request.
#[derive(Clone, Debug)]
pub struct Client {
    address: IpAddr,
    /// The trusted proxies that it came by, the one nearest to it first.
    proxies: Vec<IpAddr>,
    scheme: Option<Scheme>,
    host: HeaderValue,
}

/// The scheme that a client used, as a trusted proxy reports it, or by our own TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the schemes")]
pub enum Scheme {
    Http,
    Https,
}

impl Client {
    /// The client of a request whose headers are as they came, and which named `host`.
    pub fn of<B>(request: &Request<B>, host: HeaderValue, trusted: &TrustedProxies) -> Self {
        let (peer, own) = match request.extensions().get::<Peer>() {
            Some(peer) => (peer.address.ip().to_canonical(), peer.is_tls.then_some(Scheme::Https)),
            None => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), None),
        };
        if !trusted.trusts(peer) {
            return Self { address: peer, proxies: Vec::new(), scheme: own, host };
        }
        // From the peer to the client.
        let mut proxies = trusted.way(peer, request.headers());
        let address = proxies.pop().unwrap_or(peer);
        proxies.reverse();
        Self { address, proxies, scheme: scheme(request.headers()).or(own), host }
    }

    /// A client that asks `host`, for tests of what depends on that.
    #[cfg(test)]
    pub(crate) fn named(host: &'static str, scheme: Option<Scheme>) -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { address, proxies: Vec::new(), scheme, host: HeaderValue::from_static(host) }
    }

    /// What it is counted as: its address, or for IPv6 the network that one client has to itself.
    pub fn counted(&self) -> IpAddr {
        match self.address {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << (u128::BITS - PREFIX_V6));
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 @ IpAddr::V4(_) => v4,
        }
    }

    /// The scheme that it used, if that is known.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// The host that it named.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Sets what a service is told: the client and the trusted proxies behind it, its host, its scheme.
    ///
    /// What stood before the client in `X-Forwarded-For` is hearsay and left out: a service that reads the first address would
    /// take it for the client's.
    pub fn forward(&self, headers: &mut HeaderMap) {
        let addresses = match &self.proxies[..] {
            [] => text(self.address),
            proxies => {
                let list =
                    proxies.iter().fold(self.address.to_string(), |list, proxy| format!("{list}, {proxy}"));
                HeaderValue::try_from(list).expect("addresses and commas may stand in a header")
            }
        };
        self.describe(headers, addresses);
    }

    /// Sets what auth-verifier is told of `request`. The address is the client's alone: rate limits by address count clients,
    /// not gateways.
    pub fn forward_to_verifier(&self, request: &request::Parts, headers: &mut HeaderMap) {
        self.describe(headers, text(self.address));
        let method = HeaderValue::from_str(request.method.as_str());
        headers.extend(method.ok().map(|method| (FORWARDED_METHOD, method)));
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        headers.extend(HeaderValue::from_str(target).ok().map(|target| (FORWARDED_URI, target)));
    }

    fn describe(&self, headers: &mut HeaderMap, addresses: HeaderValue) {
        headers.insert(FORWARDED_FOR, addresses);
        headers.insert(FORWARDED_HOST, self.host.clone());
        // Over plain HTTP only a proxy in front can know of https.
        let scheme = self.scheme.unwrap_or(Scheme::Http).as_str();
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

/// An address as a header's value.
fn text(address: IpAddr) -> HeaderValue {
    let mut text = String::with_capacity("255.255.255.255".len());
    address::write(&mut text, address).expect("a string takes it");
    HeaderValue::try_from(text).expect("an address may stand in a header")
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

/// What a trusted proxy says of the scheme; anything but one clear word is ignored.
fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let value = single(headers, &FORWARDED_PROTO).ok()?.as_bytes();
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| value.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
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
        request.extensions_mut().insert(Peer { address: (peer, 4711).into(), is_tls: false });
        for (name, value) in fields {
            request.headers_mut().append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Client::of(&request, HeaderValue::from_static("a.test"), &TrustedProxies::deserialize(from).unwrap())
    }

    fn forwarded_for(client: &Client) -> String {
        let mut headers = HeaderMap::new();
        client.forward(&mut headers);
        headers[FORWARDED_FOR].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_client_and_scheme_and_nobody_else_is() {
        let said = [("x-forwarded-for", "evil, 203.0.113.7, 10.0.0.2"), ("x-forwarded-proto", "HTTPS")];
        let believed = client("10.0.0.0/8", "10.0.0.1", &said);
        assert_eq!(believed.address.to_string(), "203.0.113.7");
        assert_eq!(forwarded_for(&believed), "203.0.113.7, 10.0.0.2, 10.0.0.1");
        assert_eq!(believed.scheme(), Some(Scheme::Https));
        for (trusted, peer) in [("", "10.0.0.1"), ("10.0.0.0/8", "192.0.2.1")] {
            let alone = client(trusted, peer, &said);
            assert_eq!((alone.address.to_string(), forwarded_for(&alone)), (peer.into(), peer.into()));
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
