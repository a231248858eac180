//! Which trace a request is a part of (W3C Trace Context): told by `traceparent`, so that the lines of all services about one
//! request, and the traces of whoever records them, can be found by one id.
//!
//! The front door continues a trace, or begins one, under a span id of its own; services inside read what it says. A trace that
//! begins here is marked as sampled: a service that does as its caller does would otherwise record nothing. Where we record spans
//! ourselves ([`telemetry::traces`](crate::telemetry::traces)), they are [`SpanContext`]s, and the mark is our decision.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::request_id;
use crate::header::single;

/// The trace, and the span that asks.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What tracing systems add for themselves.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The most of `tracestate` that goes on, in bytes and in members: as much as everybody must pass on (§3.3.1.5, §3.3.1.1). A
/// longer one is dropped.
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;

/// `00-`, a trace id, a span id and the flags, with dashes in between.
const PARENT_BYTES: usize = 55;

/// The flags that are known: sampled, and that the trace id is random.
const FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// The id of a trace, in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    fn make() -> Self {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&hex(request_id::bits()));
        // All zeros are no id.
        id[16..].copy_from_slice(&hex(request_id::bits().max(1)));
        Self(id)
    }

    /// As it stands in headers and logs.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("digits")
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The trace that a request belongs to, if it says so clearly.
pub(crate) fn of(headers: &HeaderMap) -> Option<TraceId> {
    parse(single(headers, &TRACEPARENT).ok()?.as_bytes()).map(|(id, _)| id)
}

/// Makes a request a part of the trace that it names, or of a new one, and its further way a span of ours.
pub(crate) fn enter(headers: &mut HeaderMap) -> TraceId {
    let told = single(headers, &TRACEPARENT).ok().and_then(|told| parse(told.as_bytes()));
    // Of another trace it would be a lie.
    if headers.contains_key(TRACESTATE) && (told.is_none() || !is_state_bounded(headers)) {
        headers.remove(TRACESTATE);
    }
    let (id, flags) = told.unwrap_or_else(|| (TraceId::make(), SAMPLED));
    let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
    parent[3..35].copy_from_slice(&id.0);
    parent[36..52].copy_from_slice(&hex(request_id::bits().max(1)));
    parent[54] += flags & FLAGS;
    let parent = HeaderValue::from_bytes(&parent).expect("digits and dashes may stand in a header");
    headers.insert(TRACEPARENT, parent);
    id
}

/// Reads a `traceparent` (§3.2.2): of a version that is not known yet, what is as in the first one.
fn parse(told: &[u8]) -> Option<(TraceId, u8)> {
    let (known, further) = told.split_at_checked(PARENT_BYTES)?;
    let (version, id, span, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    let is_hex = |text: &[u8]| text.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let is_one = |text: &[u8]| is_hex(text) && text.iter().any(|digit| *digit != b'0');
    let goes_on = further.first().is_none_or(|byte| *byte == b'-' && version != b"00");
    let dashes = [known[2], known[35], known[52]] == [b'-'; 3];
    let good = is_hex(version) && version != b"ff" && dashes && goes_on;
    let low = match flags[1] {
        digit @ b'0'..=b'9' => digit - b'0',
        letter => letter.wrapping_sub(b'a' - 10),
    };
    (good && is_one(id) && is_one(span) && is_hex(flags))
        .then(|| Some((TraceId(id.try_into().ok()?), low & FLAGS)))?
}

fn is_state_bounded(headers: &HeaderMap) -> bool {
    let (mut bytes, mut members) = (0, 0);
    for list in headers.get_all(TRACESTATE) {
        bytes += list.len();
        members += list.as_bytes().split(|byte| *byte == b',').count();
    }
    bytes <= STATE_BYTES_MAX && members <= STATE_MEMBERS_MAX
}

/// A span and its trace, as `traceparent` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    pub(crate) trace: TraceId,
    span: [u8; 16],
    flags: u8,
}

/// The span that a request names, if it does so clearly.
pub(crate) fn context(headers: &HeaderMap) -> Option<SpanContext> {
    let told = single(headers, &TRACEPARENT).ok()?.as_bytes();
    let (trace, flags) = parse(told)?;
    Some(SpanContext { trace, span: told[36..52].try_into().ok()?, flags })
}

impl SpanContext {
    /// The first span of a trace.
    pub(crate) fn begin() -> Self {
        Self { trace: TraceId::make(), span: [0; 16], flags: SAMPLED }.child()
    }

    /// Another span of the same trace.
    pub(crate) fn child(self) -> Self {
        Self { span: hex(request_id::bits().max(1)), ..self }
    }

    /// The same, marked as sampled, or not.
    pub(crate) fn sampled(self, sampled: bool) -> Self {
        Self { flags: self.flags & !SAMPLED | u8::from(sampled), ..self }
    }

    pub(crate) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub(crate) fn flags(self) -> u8 {
        self.flags
    }

    pub(crate) fn span_bytes(self) -> [u8; 8] {
        number(&self.span).to_be_bytes()
    }

    /// As a header says it.
    pub(crate) fn header(self) -> HeaderValue {
        let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        parent[3..35].copy_from_slice(&self.trace.0);
        parent[36..52].copy_from_slice(&self.span);
        parent[54] += self.flags & FLAGS;
        HeaderValue::from_bytes(&parent).expect("digits and dashes may stand in a header")
    }
}

impl TraceId {
    /// The lower half of its bits, which are random in every trace.
    pub(crate) fn low_bits(&self) -> u64 {
        number(&self.0[16..])
    }

    pub(crate) fn bytes(&self) -> [u8; 16] {
        let high = number(&self.0[..16]);
        (u128::from(high) << 64 | u128::from(self.low_bits())).to_be_bytes()
    }
}

/// The number that hexadecimal digits are.
fn number(digits: &[u8]) -> u64 {
    let digit = |digit: &u8| u64::from(if *digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 });
    digits.iter().fold(0, |number, next| number << 4 | digit(next))
}

/// A number in hexadecimal, with zeros in front.
fn hex(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_trace_is_read_where_it_is_clear() {
        for (told, flags) in [
            (GOOD.to_owned(), 1),
            (GOOD.replace("-01", "-00"), 0),
            (GOOD.replace("-01", "-03"), 3),
            // Flags that are not known yet are not passed on.
            (GOOD.replace("-01", "-ff"), 3),
            (GOOD.replace("-01", "-0c"), 0),
            (GOOD.replace("00-4", "01-4"), 1),
            (GOOD.replace("00-4", "cc-4") + "-what-comes-later", 1),
        ] {
            let (id, read) = parse(told.as_bytes()).expect(&told);
            assert_eq!((id.as_str(), read), (ID, flags), "{told}");
        }
        let zeros = |digits: usize| "0".repeat(digits);
        for told in [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-x"),
            format!("{GOOD}0"),
            GOOD.replace("00-4", "ff-4"),
            GOOD.replace("00-4", "0x-4"),
            GOOD.replace("00-4", "01-4") + ".x",
            GOOD.replace(ID, &zeros(32)),
            GOOD.replace("00f067aa0ba902b7", &zeros(16)),
            GOOD.to_uppercase(),
            GOOD.replace("-01", "-0g"),
            GOOD.replace("36-00", "36_00"),
            GOOD.replace("b7-01", "b7 01"),
            format!(" {}", &GOOD[1..]),
        ] {
            assert_eq!(parse(told.as_bytes()), None, "{told:?}");
        }
        assert_eq!(of(&headers(&[(TRACEPARENT, GOOD)])).unwrap().as_str(), ID);
        assert_eq!(of(&headers(&[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)])), None, "it is said twice");
    }

    #[test]
    fn a_trace_is_continued_by_a_span_of_ours() {
        let mut request = headers(&[(TRACEPARENT, &GOOD.replace("-01", "-02")), (TRACESTATE, "a=1,b=2")]);
        assert_eq!(enter(&mut request).as_str(), ID);
        let told = request[TRACEPARENT].to_str().unwrap();
        assert!(told.starts_with(&format!("00-{ID}-")) && told.ends_with("-02"), "{told}");
        assert!(!told.contains("00f067aa0ba902b7"), "{told}");
        assert!(parse(told.as_bytes()).is_some());
        assert_eq!(request[TRACESTATE], "a=1,b=2");
    }

    #[test]
    fn a_trace_that_is_not_clear_is_begun_anew_and_its_state_is_dropped() {
        for told in [&[][..], &[(TRACEPARENT, "00-x")], &[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)]] {
            let mut request = headers(&[told, &[(TRACESTATE, "a=1")]].concat());
            let id = enter(&mut request);
            assert_ne!(id.as_str(), ID);
            let told: Vec<_> = request.get_all(TRACEPARENT).iter().collect();
            assert_eq!(told.len(), 1);
            assert_eq!(parse(told[0].as_bytes()), Some((id, SAMPLED)));
            assert_eq!(request.get(TRACESTATE), None);
        }
        assert_ne!(enter(&mut HeaderMap::new()), enter(&mut HeaderMap::new()));
    }

    #[test]
    fn a_span_is_told_as_it_was_read() {
        let read = context(&headers(&[(TRACEPARENT, GOOD)])).unwrap();
        assert_eq!(read.header(), GOOD);
        assert_eq!(read.trace.bytes(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
        assert_eq!(read.trace.low_bits(), 0xa3ce_929d_0e0e_4736);
        assert_eq!(read.span_bytes(), 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert_eq!(read.sampled(false).header(), &*GOOD.replace("-01", "-00"));
        let child = read.child();
        assert_eq!((child.trace, child.flags), (read.trace, read.flags));
        assert_ne!(child.span_bytes(), read.span_bytes());
        let begun = SpanContext::begin();
        assert!(begun.is_sampled() && parse(begun.header().as_bytes()).is_some());
    }

    #[test]
    fn a_state_goes_on_within_its_bounds() {
        let long = |bytes: usize| format!("a={}", "x".repeat(bytes - 2));
        let many = |members: usize| vec!["a=1"; members].join(",");
        for (lists, passes) in [
            (vec![long(512)], true),
            (vec![long(513)], false),
            (vec![long(256), long(256)], true),
            (vec![long(256), long(257)], false),
            (vec![many(32)], true),
            (vec![many(33)], false),
            (vec![many(16), many(17)], false),
        ] {
            let mut fields = vec![(TRACEPARENT, GOOD)];
            fields.extend(lists.iter().map(|list| (TRACESTATE, list.as_str())));
            let mut request = headers(&fields);
            enter(&mut request);
            assert_eq!(request.contains_key(TRACESTATE), passes, "{lists:?}");
        }
    }
}
