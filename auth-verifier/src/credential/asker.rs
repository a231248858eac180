//! What the answer depends on besides the credential: the time, how long the caller waits, and the client's address.
//!
//! The address serves rate limits alone. It identifies nobody.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use chassis::{clock::UnixSeconds, serve::trusted_proxies::FORWARDED_FOR};
use http::HeaderMap;
use identity::VERDICT_WAIT;

/// The circumstances of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// When it was asked.
    pub now: UnixSeconds,
    /// The address of the client that it is about, where it names one.
    pub client: Option<IpAddr>,
    /// How long the caller waits, where it says so.
    pub wait: Option<Duration>,
}

impl Asker {
    /// Reads the headers of a question that was asked at `now`.
    pub fn of(headers: &HeaderMap, now: UnixSeconds) -> Self {
        let wait = headers.get(VERDICT_WAIT).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { now, client: client(headers), wait: wait.map(Duration::from_millis) }
    }
}

/// A question of which nothing else is known than its time.
impl From<UnixSeconds> for Asker {
    fn from(now: UnixSeconds) -> Self {
        Self { now, ..Self::default() }
    }
}

/// The last address, which the nearest proxy has written. Those before it may be forged.
fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    let last = last.rsplit(',').next()?.trim();
    let bare = last.parse().ok().or_else(|| last.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    let address = bare.or_else(|| last.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_whom_the_nearest_proxy_names() {
        for (fields, want) in [
            (&["203.0.113.7"][..], Some("203.0.113.7")),
            (&["198.51.100.1, 203.0.113.7"], Some("203.0.113.7")),
            (&["198.51.100.1", "203.0.113.7:4711"], Some("203.0.113.7")),
            (&["[2001:db8::1]:4711"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (&["203.0.113.7, unknown"], None),
            (&["203.0.113.7, "], None),
            (&[""], None),
            (&[], None),
        ] {
            let headers = fields.iter().map(|value| (FORWARDED_FOR, value.parse().unwrap())).collect();
            let client = Asker::of(&headers, UnixSeconds(0)).client;
            assert_eq!(client, want.map(|text| text.parse().unwrap()), "{fields:?}");
        }
    }

    #[test]
    fn a_wait_is_a_number_of_milliseconds_or_none() {
        for (text, want) in [("450", Some(450)), ("0", Some(0)), ("", None), ("-1", None), ("soon", None)] {
            let headers = [(VERDICT_WAIT, text.parse().unwrap())].into_iter().collect();
            assert_eq!(Asker::of(&headers, UnixSeconds(0)).wait, want.map(Duration::from_millis), "{text:?}");
        }
    }
}
