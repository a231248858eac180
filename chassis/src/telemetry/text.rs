//! Log lines for people: one line per event, whatever the event quotes.

use std::{
    fmt,
    io::{self, Write},
};

use tracing_subscriber::fmt::{
    MakeWriter,
    format::Writer,
    time::{FormatTime, SystemTime},
};

use crate::telemetry::lines::{LINE_BYTES_MAX, Lines};

/// What stands where a line was cut; it ends colours, too.
const CUT: &str = "…\u{1b}[0m\n";

/// When it was, and who says it.
pub(super) struct Stamp(pub(super) &'static str);

impl FormatTime for Stamp {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(out)?;
        write!(out, " {}", self.0)
    }
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
    use super::*;

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
