//! As which media type a problem is written: as the operator sets it, unless its client says that it would rather have the
//! other one.

use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

/// The media types that a problem may be written as; its body is the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MediaType {
    /// `application/problem+json` (RFC 9457 §3).
    #[default]
    #[serde(rename = "problem+json")]
    Problem,
    /// `application/json`, for clients that read nothing else.
    #[serde(rename = "json")]
    Json,
}

impl MediaType {
    fn name(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::Json => "application/json",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Problem => Self::Json,
            Self::Json => Self::Problem,
        }
    }

    /// As a `Content-Type`.
    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// The one for a client that says this in its `Accept` headers: this one, unless it would rather have the other
    /// (RFC 9110 §12.5.1). `*/*` takes either, and so does axios with its `application/json, text/plain, */*`; whoever takes
    /// neither hears the problem all the same.
    #[must_use]
    pub fn for_client<'a>(self, accept: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut this, mut other) = (Wanted::default(), Wanted::default());
        for line in accept {
            for range in line.split(|byte| *byte == b',') {
                let Some(range) = Range::parse(range) else { continue };
                this.hear(range, self);
                other.hear(range, self.other());
            }
        }
        if other.weight > this.weight { self.other() } else { self }
    }
}

/// How much a client wants a media type: by the most specific of the ranges that name it.
#[derive(Default)]
struct Wanted {
    specificity: u8,
    weight: u16,
}

impl Wanted {
    fn hear(&mut self, range: Range<'_>, media_type: MediaType) {
        let specificity = match range.name {
            name if name.eq_ignore_ascii_case(media_type.name()) => 3,
            name if name.eq_ignore_ascii_case("application/*") => 2,
            "*/*" => 1,
            _ => return,
        };
        if specificity > self.specificity {
            *self = Self { specificity, weight: range.weight };
        }
    }
}

/// A media range, less what it says of anything but its weight.
#[derive(Clone, Copy)]
struct Range<'a> {
    name: &'a str,
    /// In thousandths.
    weight: u16,
}

impl<'a> Range<'a> {
    /// `None` if it can't be read; nothing is wrong about the rest then.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut parts = str::from_utf8(text).ok()?.split(';').map(str::trim);
        let name = parts.next()?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(Self { name, weight: weight.map_or(Some(1000), thousandths)? })
    }
}

/// `1`, `0.8`, `0.125`
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = match whole {
        "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    Some(whole + fraction).filter(|weight| *weight <= 1000)
}

/// What a request says in `Accept`, kept until it is known whether a problem is to be written: nearly every request has the
/// header, and hardly any answer needs it.
pub(super) struct Accept {
    first: Option<HeaderValue>,
    further: Vec<HeaderValue>,
}

impl Accept {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(header::ACCEPT).iter().cloned();
        Self { first: lines.next(), further: lines.collect() }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.first.iter().chain(&self.further).map(HeaderValue::as_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        MediaType::{Json, Problem},
        *,
    };

    #[test]
    fn a_client_gets_the_other_one_only_if_it_would_rather_have_it() {
        for (accept, by_default, where_json_is_set) in [
            (&[][..], Problem, Json),
            (&["*/*"], Problem, Json),
            // axios; a browser's address bar; htmx.
            (&["application/json, text/plain, */*"], Problem, Json),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Problem, Json),
            (&["text/html"], Problem, Json),
            (&["application/*"], Problem, Json),
            (&["application/json, application/problem+json"], Problem, Json),
            (&["application/json", "application/problem+json"], Problem, Json),
            // Whoever says so.
            (&["application/json"], Json, Json),
            (&["Application/JSON; charset=utf-8"], Json, Json),
            (&["application/json, */*;q=0.5"], Json, Json),
            (&["text/plain, application/json;q=0.1"], Json, Json),
            (&["*/*", "application/problem+json;q=0"], Json, Json),
            (&["application/problem+json"], Problem, Problem),
            (&["application/problem+json, application/json;q=0.9"], Problem, Problem),
            (&["application/problem+json;q=0.9, application/json"], Json, Json),
            (&["application/json;q=0, */*"], Problem, Problem),
            (&["application/json;q=0.123, application/*;q=0.124"], Problem, Problem),
            // A range that can't be read says nothing.
            (&["application/json;q=2"], Problem, Json),
            (&["application/json;q=0.1234"], Problem, Json),
            (&["application/json;q=-1, ;;,,"], Problem, Json),
            (&["", "application/json;q=1.001"], Problem, Json),
        ] {
            let chosen = |set: MediaType| set.for_client(accept.iter().map(|line| line.as_bytes()));
            assert_eq!(chosen(Problem), by_default, "{accept:?}");
            assert_eq!(chosen(Json), where_json_is_set, "{accept:?}");
        }
        assert_eq!(Problem.for_client([&b"application/json\xFF"[..]].into_iter()), Problem);
    }
}
