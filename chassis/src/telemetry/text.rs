//! Log lines for people: one line per event, whatever the event quotes.

use std::{
    fmt,
    io::{self, Write},
};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter, format::Writer},
    registry::{LookupSpan, Scope},
};

use crate::{
    layer::access_log::{FactLine, TakesFacts},
    telemetry::{
        lines::{LINE_BYTES_MAX, Lines},
        request,
        timestamp::Timestamp,
    },
};

/// What stands where a line was cut; it ends colours, too.
const CUT: &str = "…\u{1b}[0m\n";

/// Writes events as tracing-subscriber does, in the name of a service, and with the request that each belongs to.
pub(super) struct TextLine(pub(super) &'static str);

impl<S, N> FormatEvent<S, N> for TextLine
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
        const DIM: &str = "2";
        let meta = event.metadata();
        let colour = match *meta.level() {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            Level::DEBUG => "34",
            Level::TRACE => "35",
        };
        styled(&mut out, DIM, format_args!("{} {}", Timestamp::now().as_str(), self.0))?;
        out.write_char(' ')?;
        styled(&mut out, colour, format_args!("{:>5}", meta.level()))?;
        out.write_char(' ')?;
        let request = request::current(|request| {
            write!(out, "request{{request_id={}", request.id())?;
            if let Some(user) = request.user() {
                write!(out, " user={}", user.escape_debug())?;
            }
            out.write_str("}: ")
        });
        request.unwrap_or(Ok(()))?;
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| &fields.fields);
            write!(out, "{}{{{fields}}}: ", span.name())?;
        }
        styled(&mut out, DIM, format_args!("{}:", meta.target()))?;
        out.write_char(' ')?;
        context.format_fields(out.by_ref(), event)?;
        if meta.target() == "access" {
            request::current(|request| {
                if let Some((name, words)) = request.remark() {
                    TextFacts(out.by_ref()).text(name, words);
                }
                if let Some(facts) = request.facts() {
                    facts.tell(&mut FactLine(&mut TextFacts(out.by_ref())));
                }
            });
        }
        writeln!(out)
    }
}

/// Writes what a service knows of a request as further fields.
struct TextFacts<'a>(Writer<'a>);

impl TakesFacts for TextFacts<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        // In quotes where it could be read as more fields than one.
        let _ = if value.bytes().any(|byte| matches!(byte, b' ' | b'=' | b'"')) {
            write!(self.0, " {name}={value:?}")
        } else {
            write!(self.0, " {name}={}", value.escape_debug())
        };
    }

    fn number(&mut self, name: &'static str, value: u64) {
        let _ = write!(self.0, " {name}={value}");
    }

    fn millis(&mut self, name: &'static str, hundredths: u64) {
        let _ = write!(self.0, " {name}={}.{:02}", hundredths / 100, hundredths % 100);
    }
}

/// Writes in colours, where there are any.
fn styled(out: &mut Writer<'_>, style: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    if out.has_ansi_escapes() { write!(out, "\u{1b}[{style}m{text}\u{1b}[0m") } else { out.write_fmt(text) }
}

/// Where lines of text go.
pub(super) struct TextLines {
    pub(super) lines: Lines,
    /// Whether the escape sequences in a line are our own: the formatter then escapes those that it quotes.
    pub(super) colours: bool,
}

impl<'a> MakeWriter<'a> for TextLines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &TextLines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.lines.push(line(&String::from_utf8_lossy(event), self.colours).as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line, not longer than a line may be. What a terminal would act on is shown, not done.
fn line(event: &str, colours: bool) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    for char in event.chars() {
        if char.is_control() && !(colours && char == '\u{1b}') {
            line.extend(char.escape_debug());
        } else {
            line.push(char);
        }
        if line.len() + CUT.len() > LINE_BYTES_MAX {
            line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - CUT.len()));
            line.push_str(CUT);
            return line;
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{info, info_span, subscriber, warn};
    use tracing_subscriber::{fmt::layer, layer::SubscriberExt, registry};

    use super::*;
    use crate::{layer::request_id::RequestId, telemetry::request::InFlight};

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_says_when_who_what_and_for_which_request() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let theirs = lines.clone();
        let layer = layer().with_ansi(false).event_format(TextLine("gateway"));
        let layer = layer.with_writer(move || Sink(theirs.clone()));
        subscriber::with_default(registry().with(layer), || {
            info!(port = 8000, "listening");
            let request = InFlight::new(RequestId::parse(b"r-1"), None, None, None);
            request.sync_within(|| {
                request::user("ada\u{1b}");
                info_span!("check", request_id = "r-2").in_scope(|| warn!("no verdict"));
            });
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "gateway  INFO chassis::telemetry::text::tests: listening port=8000",
                "gateway  WARN request{request_id=r-1 user=ada\\u{1b}}: check{request_id=\"r-2\"}: \
                 chassis::telemetry::text::tests: no verdict",
            ]
        );
    }

    #[test]
    fn what_a_terminal_would_act_on_is_shown_not_done() {
        for (event, colours, want) in [
            ("plain ä\n", false, "plain ä\n"),
            ("a\nforged line\r\n", false, "a\\nforged line\\r\n"),
            ("\u{1b}[31mred\u{9b}31m\u{7f}\n", false, "\\u{1b}[31mred\\u{9b}31m\\u{7f}\n"),
            ("\u{1b}[31mours\u{1b}[0m\n", true, "\u{1b}[31mours\u{1b}[0m\n"),
        ] {
            assert_eq!(line(event, colours), want);
        }
    }

    #[test]
    fn a_line_is_cut_where_it_would_be_too_long() {
        for char in ["x", "ä", "\n", "€"] {
            let cut = line(&char.repeat(10_000), true);
            assert!(cut.len() <= LINE_BYTES_MAX && cut.len() > LINE_BYTES_MAX - 20, "{}", cut.len());
            assert!(cut.ends_with(CUT));
        }
        let whole = "x".repeat(LINE_BYTES_MAX - CUT.len());
        assert_eq!(line(&whole, true), format!("{whole}\n"));
    }
}
