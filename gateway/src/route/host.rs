//! One host for one request (RFC 9112 §3.2, RFC 9113 §8.3.1).

use http::{Request, header, uri::Authority};

/// The host that a request names, or what is wrong with how it does.
pub(super) fn of<B>(request: &Request<B>) -> Result<String, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has more than one Host header");
    }
    let host = host.map(|host| host.to_str().map_err(|_| "the Host header is not text")).transpose()?;
    let target = request.uri().authority().map(Authority::as_str);
    let name = match (host, target) {
        (None, None) => return Err("the request names no host"),
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            return Err("the request names two hosts");
        }
        (Some(name), _) | (None, Some(name)) => name,
    };
    let authority: Authority = name.parse().map_err(|_| "the Host header is not a host")?;
    if authority.host().is_empty() || name.contains('@') {
        return Err("the Host header is not a host");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, hosts: &[&str], want: Option<&str>) {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        assert_eq!(of(&request.body(()).unwrap()).ok().as_deref(), want, "{target} {hosts:?}");
    }

    #[test]
    fn a_request_names_one_host() {
        check("/", &["a.test"], Some("a.test"));
        check("/", &["a.test:8000"], Some("a.test:8000"));
        check("/", &["[::1]:8000"], Some("[::1]:8000"));
        check("http://a.test/", &["a.test"], Some("a.test"));
        check("http://a.test/", &[], Some("a.test"));
        for hosts in [&[][..], &["a", "b"], &["a", "a"], &[""], &["a, b"], &["u@a"], &["a/x"], &["a b"]] {
            check("/", hosts, None);
        }
        check("http://b.test/", &["a.test"], None);
        check("http://u@a.test/", &[], None);
    }
}
