//! Who asks for a verdict, as far as it matters to the answer: when, for how long they wait, and whose request it is about.
//!
//! The address is a hint, for whoever limits how often one client may ask. Nobody is believed to be somebody for it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use chassis::serve::trusted_proxies::FORWARDED_FOR;
use http::HeaderMap;
use identity::VERDICT_WAIT;

/// What is known of a question besides its credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// When it was asked, in seconds since 1970.
    pub now: u64,
    /// Where the client is that it is about, if whoever asks says so.
    pub client: Option<IpAddr>,
    /// How long whoever asks waits, if they say so.
    pub wait: Option<Duration>,
}

impl Asker {
    /// Reads what the question's headers say, at the time `now`, in seconds since 1970.
    pub fn of(headers: &HeaderMap, now: u64) -> Self {
        let wait = headers.get(VERDICT_WAIT).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { now, client: client(headers), wait: wait.map(Duration::from_millis) }
    }
}

/// Somebody of whom nothing else is known than when they ask, in seconds since 1970.
impl From<u64> for Asker {
    fn from(now: u64) -> Self {
        Self { now, ..Self::default() }
    }
}

/// The last address: the nearest proxy has put it there, and what stands before it anybody may have written.
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
            let client = Asker::of(&headers, 0).client;
            assert_eq!(client, want.map(|text| text.parse().unwrap()), "{fields:?}");
        }
    }

    #[test]
    fn a_wait_is_a_number_of_milliseconds_or_none() {
        for (text, want) in [("450", Some(450)), ("0", Some(0)), ("", None), ("-1", None), ("soon", None)] {
            let headers = [(VERDICT_WAIT, text.parse().unwrap())].into_iter().collect();
            assert_eq!(Asker::of(&headers, 0).wait, want.map(Duration::from_millis), "{text:?}");
        }
    }
}
