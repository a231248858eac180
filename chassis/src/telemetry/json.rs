//! Log lines for machines: one JSON object each, of a bounded length, whole whatever it quotes.
//!
//! tracing-subscriber's own knows no bound, names no service, and parses the span's fields anew for each line. And the access
//! line, of which there is one per request, is written without an event of tracing in between: visiting its fields and
//! formatting each was more work than routing the request.

use std::{
    borrow::Cow,
    fmt::{self, Debug, Write},
    io,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::Record,
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter, format::Writer},
    registry::LookupSpan,
};

use crate::{
    address,
    layer::access_log::{AccessLog, FactLine, TakesFacts},
    telemetry::{
        lines::Lines,
        request::{self, InFlight},
        timestamp::Timestamp,
    },
};

/// The longest value that a line shows, as it is written there, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// The most that all fields of an event take, and all of its span, in bytes. Together with the names of service,
/// target and span they stay below the longest line that there may be.
const EVENT_BYTES_MAX: usize = 2560;
const SPAN_BYTES_MAX: usize = 1024;

/// The same for an access line, which has some numbers besides.
const ACCESS_BYTES_MAX: usize = 2048;

/// More than any number has digits.
const NUMBER_BYTES_MAX: usize = 40;

/// What ends a value that was cut.
const CUT: &str = "…";

/// Where lines of JSON go.
pub(super) struct JsonLines(pub(super) Lines);

impl<'a> MakeWriter<'a> for JsonLines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl io::Write for &JsonLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes events, in the name of a service.
pub(super) struct JsonLine(pub(super) &'static str);

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        head(&mut out, level(*meta.level()), self.0)?;
        let mut fields = Fields::new(&mut out, EVENT_BYTES_MAX);
        // An event of the `log` crate says where it comes from in a field.
        fields.target = Some(meta.target());
        event.record(&mut fields);
        fields.finish();
        let span = event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current());
        if let Some(span) = span {
            out.write_str(",\"span\":{")?;
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| &fields.fields);
            // Each begins with a comma.
            if let Some(fields) = fields.strip_prefix(',') {
                write!(out, "{fields},")?;
            }
            write!(out, "\"name\":\"{}\"}}", span.name())?;
        } else {
            request::current(|request| request_of(&mut out, request)).unwrap_or(Ok(()))?;
        }
        out.write_str("}\n")
    }
}

/// Writes a request's access line, in the name of a service.
pub(super) fn access_line(out: &mut String, service: &str, log: &AccessLog) -> fmt::Result {
    let method = log.method.as_str();
    let path = log.shown_path();
    let (status, bytes) = (Decimal::of(log.status().into()), Decimal::of(log.bytes));
    let ms = Decimal::of_hundredths(log.hundredths());
    let (status, bytes, ms) = (status.as_str(), bytes.as_str(), ms.as_str());
    head(out, "INFO", service)?;
    let mut fields = Fields::new(out, ACCESS_BYTES_MAX);
    if let Cow::Borrowed(path) = path {
        // What a method is made of is plain, too: nothing is to be escaped, nor to be cut.
        let before = fields.out.len();
        for piece in [
            ",\"message\":\"",
            method,
            " ",
            path,
            " ",
            status,
            " in ",
            ms,
            " ms\",\"method\":\"",
            method,
            "\",\"path\":\"",
            path,
            "\"",
        ] {
            fields.out.push_str(piece);
        }
        fields.left = fields.left.saturating_sub(fields.out.len() - before);
    } else {
        fields.value("message", |text| {
            let message = [method, " ", &path, " ", status, " in ", ms, " ms"];
            message.into_iter().try_for_each(|piece| text.write_str(piece))
        });
        fields.str("method", method);
        fields.str("path", &path);
    }
    let out = &mut *fields.out;
    for piece in [",\"status\":", status, ",\"bytes\":", bytes] {
        out.push_str(piece);
    }
    if log.in_flight.received() > 0 {
        out.push_str(",\"bytes_in\":");
        out.push_str(Decimal::of(log.in_flight.received()).as_str());
    }
    out.push_str(",\"ms\":");
    out.push_str(ms);
    out.push_str(if log.complete { ",\"complete\":true" } else { ",\"complete\":false" });
    if log.cut {
        out.write_str(",\"cut\":true")?;
    }
    if let Some(client) = log.in_flight.client() {
        out.write_str(",\"client\":\"")?;
        address::write(out, client)?;
        out.write_str("\"")?;
    }
    if let Some(problem) = log.in_flight.problem() {
        fields.str("problem", problem);
    }
    if let Some((name, words)) = log.in_flight.remark() {
        fields.str(name, words);
    }
    if let Some(facts) = log.in_flight.facts() {
        facts.tell(&mut FactLine(&mut fields));
    }
    let out = fields.out;
    out.write_str(",\"target\":\"access\"")?;
    request_of(out, &log.in_flight)?;
    out.write_str("}\n")
}

/// Writes how every line begins.
fn head(out: &mut impl Write, level: &str, service: &str) -> fmt::Result {
    out.write_str("{\"timestamp\":\"")?;
    out.write_str(Timestamp::now().as_str())?;
    out.write_str("\",\"level\":\"")?;
    out.write_str(level)?;
    out.write_str("\",\"service\":\"")?;
    out.write_str(service)?;
    out.write_str("\"")
}

/// Writes for which request a line is.
fn request_of(out: &mut impl Write, request: &InFlight) -> fmt::Result {
    // An id is of plain characters.
    out.write_str(",\"span\":{\"request_id\":\"")?;
    out.write_str(request.id())?;
    if let Some(trace) = request.trace() {
        out.write_str("\",\"trace_id\":\"")?;
        out.write_str(trace.as_str())?;
    }
    out.write_str("\"")?;
    if let Some(user) = request.user() {
        Fields::new(out, SPAN_BYTES_MAX).str("user", user);
    }
    out.write_str(",\"name\":\"request\"}")
}

/// A number as text, without the machinery of `fmt`.
struct Decimal {
    digits: [u8; DIGITS_MAX],
    start: usize,
}

/// As many as 2^64 has, and a point.
const DIGITS_MAX: usize = 21;

impl Decimal {
    fn of(number: u64) -> Self {
        let mut this = Self { digits: [b'0'; DIGITS_MAX], start: DIGITS_MAX };
        this.put(number, 1);
        this
    }

    /// A hundredth of it, with two digits behind the point.
    fn of_hundredths(number: u64) -> Self {
        let mut this = Self { digits: [b'0'; DIGITS_MAX], start: DIGITS_MAX };
        this.put(number % 100, 2);
        this.start -= 1;
        this.digits[this.start] = b'.';
        this.put(number / 100, 1);
        this
    }

    /// Puts a number before what is there, in so many digits at least.
    fn put(&mut self, mut number: u64, least: usize) {
        let end = self.start;
        while number > 0 {
            self.start -= 1;
            self.digits[self.start] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.start = self.start.min(end - least);
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[self.start..]).expect("digits")
    }
}

/// Writes the fields of spans, each with a comma before it, so that more can follow.
pub(super) struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'writer>, fields: R) -> fmt::Result {
        fields.record(&mut Fields::new(&mut out, SPAN_BYTES_MAX));
        Ok(())
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let left = SPAN_BYTES_MAX.saturating_sub(current.fields.len());
        fields.record(&mut Fields::new(&mut current.as_writer(), left));
        Ok(())
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// Writes `,"name":value` for each field, until nothing is left of the bound.
struct Fields<'a, W> {
    out: &'a mut W,
    left: usize,
    /// Written after the fields of an event; a span has none.
    target: Option<&'a str>,
}

impl<'a, W: Write> Fields<'a, W> {
    fn new(out: &'a mut W, left: usize) -> Self {
        Self { out, left, target: None }
    }

    /// Where the event comes from, unless it said so itself.
    fn finish(mut self) {
        if let Some(target) = self.target {
            self.str("target", target);
        }
    }

    /// Writes a value by `write`, which fails where it is cut, so that what is too long is not even formatted to its end.
    fn value(&mut self, name: &str, write: impl FnOnce(&mut Text<'_, W>) -> fmt::Result) {
        let around = ",\"\":\"\"".len() + name.len() + CUT.len();
        let Some(left) = self.left.checked_sub(around) else { return };
        let room = left.min(VALUE_BYTES_MAX);
        for piece in [",\"", name, "\":\""] {
            let _ = self.out.write_str(piece);
        }
        let mut text = Text { out: self.out, room, cut: false };
        let _ = write(&mut text);
        self.left = left - (room - text.room);
        let end = if text.cut { "…\"" } else { "\"" };
        let _ = self.out.write_str(end);
    }

    fn text(&mut self, name: &str, value: fmt::Arguments<'_>) {
        self.value(name, |text| text.write_fmt(value));
    }

    fn str(&mut self, name: &str, value: &str) {
        let bytes = ",\"\":\"\"".len() + name.len() + CUT.len() + value.len();
        // Nearly all values are: nothing is to be escaped, nor to be cut.
        if value.len() <= VALUE_BYTES_MAX
            && is_plain(value)
            && let Some(left) = self.left.checked_sub(bytes)
        {
            self.left = left;
            for piece in [",\"", name, "\":\"", value, "\""] {
                let _ = self.out.write_str(piece);
            }
        } else {
            self.value(name, |text| text.write_str(value));
        }
    }

    fn plain(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if let Some(left) = self.left.checked_sub(name.len() + NUMBER_BYTES_MAX) {
            self.left = left;
            let _ = write!(self.out, ",\"{name}\":{value}");
        }
    }
}

impl Fields<'_, String> {
    fn decimals(&mut self, name: &str, number: &str) {
        if let Some(left) = self.left.checked_sub(name.len() + NUMBER_BYTES_MAX) {
            self.left = left;
            for piece in [",\"", name, "\":", number] {
                self.out.push_str(piece);
            }
        }
    }
}

impl TakesFacts for Fields<'_, String> {
    fn text(&mut self, name: &'static str, value: &str) {
        self.str(name, value);
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.decimals(name, Decimal::of(value).as_str());
    }

    fn millis(&mut self, name: &'static str, hundredths: u64) {
        self.decimals(name, Decimal::of_hundredths(hundredths).as_str());
    }
}

impl<W: Write> Visit for Fields<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            // Whatever else the `log` crate's events say of themselves is of no use here.
            "log.target" | "log.module_path" | "log.file" | "log.line" => {}
            name => self.text(name.strip_prefix("r#").unwrap_or(name), format_args!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => {
                self.target = None;
                self.str("target", value);
            }
            "log.module_path" | "log.file" => {}
            name => self.str(name.strip_prefix("r#").unwrap_or(name), value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() != "log.line" {
            self.plain(field.name(), format_args!("{value}"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field.name(), format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field.name(), format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.abs() {
            // Written out, 1e300 would be long.
            0.0 | 1e-6..1e15 => self.plain(field.name(), format_args!("{value}")),
            finite if finite.is_finite() => self.plain(field.name(), format_args!("{value:e}")),
            _ => self.plain(field.name(), format_args!("null")),
        }
    }
}

/// Whether a text stands in JSON as it is: visible ASCII and spaces, without what JSON escapes.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// A table, because a line has hundreds of them.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        table[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    table
};

/// The inside of a JSON string, up to a bound. What a terminal would act on is escaped, too.
struct Text<'a, W> {
    out: &'a mut W,
    room: usize,
    cut: bool,
}

impl<W: Write> Text<'_, W> {
    /// Writes what must not be torn apart.
    fn whole(&mut self, piece: &str) -> fmt::Result {
        let Some(room) = self.room.checked_sub(piece.len()).filter(|_| !self.cut) else {
            self.cut = true;
            return Err(fmt::Error);
        };
        self.room = room;
        self.out.write_str(piece)
    }
}

impl<W: Write> Write for Text<'_, W> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        if is_plain(text) {
            return self.plain(text);
        }
        while let Some(at) = text.find(|char: char| char.is_control() || matches!(char, '"' | '\\')) {
            let (plain, rest) = text.split_at(at);
            let mut rest = rest.chars();
            let special = rest.next().unwrap_or_default();
            self.plain(plain)?;
            match special {
                '"' => self.whole("\\\"")?,
                '\\' => self.whole("\\\\")?,
                '\n' => self.whole("\\n")?,
                '\r' => self.whole("\\r")?,
                '\t' => self.whole("\\t")?,
                // All control characters are below U+0100.
                other => {
                    const DIGITS: &[u8; 16] = b"0123456789abcdef";
                    let digit = |nibble: u32| char::from(DIGITS[nibble as usize & 15]);
                    let (high, low) = (digit(u32::from(other) >> 4), digit(u32::from(other)));
                    let escaped = [b'\\', b'u', b'0', b'0', high as u8, low as u8];
                    self.whole(std::str::from_utf8(&escaped).unwrap_or_default())?;
                }
            }
            text = rest.as_str();
        }
        self.plain(text)
    }
}

impl<W: Write> Text<'_, W> {
    /// Writes what needs no escape, as far as there is room.
    fn plain(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.room {
            return self.whole(text);
        }
        let shown = &text[..text.floor_char_boundary(self.room)];
        self.whole(shown)?;
        self.cut = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use serde_json::Value;
    use tracing::{error, field::Empty, info, info_span, subscriber};
    use tracing_subscriber::{fmt::layer, layer::SubscriberExt, registry};

    use super::*;
    use crate::{
        layer::{access_log::Facts, request_id::RequestId},
        telemetry::lines::LINE_BYTES_MAX,
    };

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `job` runs: each line's length, and what it says.
    fn written(job: impl FnOnce()) -> Vec<(usize, Value)> {
        let sink = Sink::default();
        let theirs = sink.clone();
        let layer = layer()
            .event_format(JsonLine("gateway"))
            .fmt_fields(JsonFields)
            .with_writer(move || theirs.clone());
        subscriber::with_default(registry().with(layer), job);
        let bytes = sink.0.lock().unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(|line| (line.len() + 1, serde_json::from_str(line).unwrap())).collect()
    }

    fn in_flight() -> Arc<InFlight> {
        let client = Some([192, 0, 2, 7].into());
        InFlight::new(RequestId::parse(b"r-1"), client, None, None)
    }

    #[test]
    fn a_line_says_when_who_what_and_for_which_request() {
        let request = in_flight();
        let lines = written(|| {
            request.sync_within(|| {
                request::user("ada");
                let left_out: Option<bool> = None;
                info!(method = %"GET", status = 200, ms = 1.25, complete = true, left_out, "GET it");
            });
        });
        let [(_, line)] = &lines[..] else { panic!("{lines:?}") };
        assert!(line["timestamp"].as_str().unwrap().starts_with("20"));
        let mut line = line.clone();
        line.as_object_mut().unwrap().remove("timestamp");
        assert_eq!(
            line,
            serde_json::json!({
                "level": "INFO", "service": "gateway", "message": "GET it", "method": "GET", "status": 200,
                "ms": 1.25, "complete": true, "target": "chassis::telemetry::json::tests",
                "span": {"request_id": "r-1", "user": "ada", "name": "request"},
            })
        );
    }

    #[test]
    fn whatever_is_quoted_comes_back_as_it_was_and_does_nothing_to_a_terminal() {
        let text = "\"\\\u{0}\n\r\t\u{1b}[31m\u{7f}\u{85}\u{9b}ä€😀{}";
        for (_, line) in written(|| {
            info!(text, "{text}");
            info!(text = %text, "{text}");
        }) {
            assert_eq!(line["text"], text);
            assert_eq!(line["message"], text);
        }
        let mut out = String::new();
        let mut fields = Fields::new(&mut out, EVENT_BYTES_MAX);
        fields.text("text", format_args!("{text}"));
        assert!(!out.chars().any(char::is_control), "{out:?}");
    }

    #[test]
    fn a_value_is_cut_at_its_bound_and_not_before() {
        let (fits, long) = ("x".repeat(VALUE_BYTES_MAX), "x".repeat(VALUE_BYTES_MAX + 1));
        let quotes = "\"".repeat(VALUE_BYTES_MAX);
        let lines = written(|| {
            info!(text = fits);
            info!(text = long);
            info!(text = quotes);
            info!(text = "€".repeat(VALUE_BYTES_MAX));
        });
        let texts: Vec<&str> = lines.iter().map(|(_, line)| line["text"].as_str().unwrap()).collect();
        assert_eq!(texts[0], fits);
        assert_eq!(texts[1], format!("{fits}{CUT}"));
        assert_eq!(texts[2], format!("{}{CUT}", &quotes[..VALUE_BYTES_MAX / 2]));
        assert_eq!(texts[3], format!("{}{CUT}", "€".repeat(VALUE_BYTES_MAX / 3)));
    }

    #[test]
    fn no_event_makes_a_line_that_is_longer_than_a_line_may_be() {
        let long = "\u{1}".repeat(100_000);
        let lines = written(|| {
            let span = info_span!("request", request_id = %long, user = Empty, more = %long, again = ?long);
            let _entered = span.enter();
            span.record("user", long.as_str());
            span.record("user", long.as_str());
            error!(a = long, b = %long, c = ?long, d = 1, e = f64::MAX, f = f64::MIN_POSITIVE, g = f64::NAN, "{long}");
        });
        let [(bytes, line)] = &lines[..] else { panic!("{lines:?}") };
        assert!(*bytes <= LINE_BYTES_MAX, "{bytes}");
        assert_eq!(line["level"], "ERROR");
    }

    #[test]
    fn an_access_line_says_what_an_event_would() {
        let started = std::time::Instant::now();
        for (path, user, took, ms, cut, received) in [
            ("/api/tasks", None, 1_234_567, 1.23, false, 0),
            ("/\"\u{1b}[31m\\", Some("ad\"a\n"), 9_999, 0.01, true, 7),
            ("/ä", Some("u1"), 61_005_678_000, 61_005.68, false, 0),
        ] {
            let in_flight = in_flight();
            in_flight.sync_within(|| user.into_iter().for_each(request::user));
            in_flight.receive(received);
            let log = AccessLog {
                in_flight: in_flight.clone(),
                method: http::Method::GET,
                path: path.into(),
                started,
                status: None,
                took: Duration::from_nanos(took),
                bytes: u64::MAX,
                complete: !cut,
                cut,
            };
            let mut line = String::new();
            access_line(&mut line, "gateway", &log).unwrap();
            assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
            let mut line: Value = serde_json::from_str(&line).unwrap();
            let event = written(|| log.in_flight.sync_within(|| log.event()));
            let [(_, mut event)] = event.try_into().unwrap();
            for line in [&mut line, &mut event] {
                line.as_object_mut().unwrap().remove("timestamp");
            }
            assert_eq!(line["ms"], ms);
            assert_eq!(line["message"], event["message"].as_str().unwrap());
            assert_eq!(line, event);
        }
    }

    /// Facts of every kind, `0` being as long as possible.
    struct Known(&'static str);

    impl Facts for Known {
        fn tell(&self, line: &mut FactLine<'_>) {
            line.text("route", self.0);
            line.number("attempts", 2);
            line.millis("upstream_ms", Duration::from_micros(1_005));
        }

        fn over(&self, _: u16, _: Duration) {}
    }

    fn access_line_of(in_flight: Arc<InFlight>, path: &str) -> String {
        let log = AccessLog {
            in_flight,
            method: http::Method::GET,
            path: path.into(),
            started: std::time::Instant::now(),
            status: Some(http::StatusCode::OK),
            took: Duration::MAX,
            bytes: u64::MAX,
            complete: false,
            cut: true,
        };
        let mut line = String::new();
        access_line(&mut line, "auth-verifier", &log).unwrap();
        line
    }

    #[test]
    fn an_access_line_says_what_its_service_knows_besides() {
        let in_flight = in_flight();
        in_flight.sync_within(|| {
            request::facts(Arc::new(Known("/api/**")));
            request::problem("service-timeout");
            request::remark("refused_origin", "https://a.example".to_owned());
            request::remark("refused_origin", "https://b.example".to_owned());
        });
        let line: Value = serde_json::from_str(&access_line_of(in_flight, "/")).unwrap();
        assert_eq!((&line["route"], &line["attempts"]), (&"/api/**".into(), &2.into()));
        assert_eq!((&line["upstream_ms"], &line["client"]), (&1.01.into(), &"192.0.2.7".into()));
        assert_eq!(
            (&line["problem"], &line["refused_origin"]),
            (&"service-timeout".into(), &"https://a.example".into())
        );
    }

    #[test]
    fn no_access_line_is_longer_than_a_line_may_be() {
        let long = || "\u{1}".repeat(100_000);
        let trace = crate::layer::trace_context::enter(&mut http::HeaderMap::new());
        let client = "1111:2222:3333:4444:5555:6666:7777:8888".parse().ok();
        let in_flight = InFlight::new(RequestId::parse(&[b'x'; 64]), client, Some(trace), None);
        in_flight.receive(usize::MAX);
        in_flight.sync_within(|| {
            request::user(&long());
            request::facts(Arc::new(Known(long().leak())));
            request::problem(long().leak());
            request::remark("refused_origin", long());
        });
        let line = access_line_of(in_flight, &long());
        assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["span"]["trace_id"], trace.as_str());
    }

    #[test]
    fn numbers_stay_numbers() {
        let lines =
            written(|| info!(a = 0.0, b = 1e300, c = -1e-9, d = f64::INFINITY, e = u64::MAX, f = i64::MIN));
        let (_, line) = &lines[0];
        assert_eq!(line["a"], 0.0);
        assert_eq!(line["b"], 1e300);
        assert_eq!(line["c"], -1e-9);
        assert_eq!(line["d"], Value::Null);
        assert_eq!(line["e"], u64::MAX);
        assert_eq!(line["f"], i64::MIN);
    }
}
