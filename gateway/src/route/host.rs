//! One host for one request (RFC 9112 §3.2, RFC 9113 §8.3.1).

use chassis::header::{NotSingle, single};
use http::{
    HeaderValue, Request, Version, header,
    uri::{Authority, Scheme},
};

/// The hosts of the gateway's own origins.
pub struct PublicHosts(Vec<String>);

impl PublicHosts {
    /// Those of these origins: `app.example` of `https://app.example`.
    pub fn of<'a>(origins: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        Self(origins.into_iter().flat_map(hosts_of).collect())
    }

    /// Whether `host` is one of them, with or without the port that goes with its scheme.
    pub fn have(&self, host: &HeaderValue) -> bool {
        self.0.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    }
}

/// The hosts that an origin is asked by, with and without the port that goes with its scheme.
pub(crate) fn hosts_of(origin: &HeaderValue) -> impl Iterator<Item = String> + use<> {
    let named = || {
        let (scheme, host) = origin.to_str().ok()?.split_once("://")?;
        let default = if scheme == "https" { 443 } else { 80 };
        let with_port = host.parse::<Authority>().ok().filter(|host| host.port().is_none());
        let with_port = with_port.map(|_| format!("{host}:{default}"));
        Some(std::iter::once(host.to_owned()).chain(with_port))
    };
    named().into_iter().flatten()
}

/// What is wrong with a request that names no host.
pub(super) const NONE: &str = "the request names no host";

/// The host that a request names, or what is wrong with how it does. HTTP/1.0 need not name one, and the checks of load
/// balancers don't.
pub(super) fn of<B>(request: &Request<B>) -> Result<Option<HeaderValue>, &'static str> {
    let header = match single(request.headers(), &header::HOST) {
        Ok(header) => Some(header),
        Err(NotSingle::Missing) => None,
        Err(NotSingle::Repeated) => return Err("the request has more than one Host header"),
    };
    // A scheme comes with HTTP/2 alone, or before a host.
    if request.uri().scheme().is_some_and(|scheme| ![Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
        return Err("the request has a scheme that is neither http nor https");
    }
    let target = request.uri().authority().map(Authority::as_str);
    let (name, value) = match (header, target) {
        (None, None) if request.version() == Version::HTTP_10 => return Ok(None),
        (None, None) => return Err(NONE),
        (Some(value), target) => {
            let name = value.to_str().map_err(|_| "the Host header is not text")?;
            if target.is_some_and(|target| !name.eq_ignore_ascii_case(target)) {
                return Err("the request names two hosts");
            }
            (name, value.clone())
        }
        (None, Some(name)) => (name, HeaderValue::from_str(name).map_err(|_| BAD)?),
    };
    if is_plain(name) {
        return Ok(Some(value));
    }
    let authority: Authority = name.parse().map_err(|_| BAD)?;
    let odd_port = authority.as_str() != authority.host() && authority.port_u16().is_none();
    if odd_port || name.contains('@') || !is_host(authority.host()) {
        return Err(BAD);
    }
    Ok(Some(value))
}

const BAD: &str = "the Host header is not a host";

/// Whether it is a name of DNS, with a port or without: what nearly all clients send needs no further look, and no copy.
fn is_plain(name: &str) -> bool {
    let (host, port) = name.split_once(':').map_or((name, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    is_name(host) && port.is_none_or(is_port)
}

/// A name as DNS has them, or an address. Clients send nothing else of what RFC 3986 allows.
fn is_host(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(host),
    }
}

fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, hosts: &[&str], want: Option<&str>) {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        let host = of(&request.body(()).unwrap()).ok().flatten();
        assert_eq!(host.as_ref().map(|host| host.to_str().unwrap()), want, "{target} {hosts:?}");
    }

    #[test]
    fn http_1_0_need_not_name_a_host_but_may_not_name_a_bad_one() {
        let of = |version, host: Option<&str>| {
            let mut request = Request::get("/").version(version);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            of(&request.body(()).unwrap())
        };
        assert_eq!(of(Version::HTTP_10, None), Ok(None));
        assert_eq!(of(Version::HTTP_10, Some("a.test")), Ok(Some(HeaderValue::from_static("a.test"))));
        assert!(of(Version::HTTP_10, Some("a b")).is_err());
        for version in [Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(of(version, None), Err(NONE));
        }
    }

    #[test]
    fn a_request_names_one_host() {
        check("/", &["a.test"], Some("a.test"));
        check("/", &["a.test:8000"], Some("a.test:8000"));
        check("/", &["[::1]:8000"], Some("[::1]:8000"));
        check("http://a.test/", &["a.test"], Some("a.test"));
        check("http://a.test/", &[], Some("a.test"));
        for hosts in [
            &[][..],
            &["a", "b"],
            &["a", "a"],
            &[""],
            &["a, b"],
            &["u@a"],
            &["a/x"],
            &["a b"],
            &["a;b"],
            &["(x)"],
            &["*"],
            &["a:99999"],
            &["a:x"],
            &["[x]"],
        ] {
            check("/", hosts, None);
        }
        check("http://b.test/", &["a.test"], None);
        check("http://u@a.test/", &[], None);
        check("javascript://a.test/", &[], None);
    }

    #[test]
    fn what_is_plain_is_an_authority_by_the_long_way_too() {
        let letters = ["", "a", "Z", "0", "9", "-", ".", "_", ":", "@", "[", "]", "+", "%", " "];
        let words = |words: &[String]| -> Vec<String> {
            words.iter().flat_map(|word| letters.map(|letter| format!("{word}{letter}"))).collect()
        };
        let short = words(&words(&words(&[String::new()])));
        let ports = ["a:65535", "a:65536", "a:00080", "a:+80", "a:80:80", "a.test:8000"].map(String::from);
        let plain: Vec<_> = short.into_iter().chain(ports).filter(|name| is_plain(name)).collect();
        assert!(plain.len() > 100 && plain.contains(&"a:65535".to_owned()));
        for name in plain {
            let authority: Authority = name.parse().unwrap();
            let good_port = authority.as_str() == authority.host() || authority.port_u16().is_some();
            assert!(good_port && is_host(authority.host()) && !name.contains('@'), "{name}");
        }
    }
}
