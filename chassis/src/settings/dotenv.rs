//! A `.env` file, read as Next.js reads it.
//!
//! The frontend has the same file, and `@next/env` reads it there. If we read a secret differently, everybody is locked out
//! without a word. So this reads as it does, quirks included: the expression is dotenv's own (`lib/main.js`, 16.3.1), `$NAME`
//! is expanded as by dotenv-expand (`lib/main.js`, 10.0.0), and a test runs `@next/env` beside us. One thing is added: lines
//! that it skips silently are kept, so that one with a name of ours can be reported.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

/// How many names may be replaced in one value: `A=$A` would go on for ever.
const REPLACED_MAX: usize = 1000;

/// The longest value that may come of it.
const VALUE_BYTES_MAX: usize = 64 * 1024;

const QUOTES: [char; 3] = ['\'', '"', '`'];

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Dotenv {
    /// In the order in which the names first appear; of two lines for one name the last one counts.
    pub(super) assignments: Vec<Assignment>,
    /// Names that appear where they are not read as they were meant.
    pub(super) stray: Vec<Stray>,
}

/// One variable.
pub(super) struct Assignment {
    pub(super) name: String,
    /// An error says why there is none.
    pub(super) value: Result<String, &'static str>,
    pub(super) line: usize,
}

/// A name that is not read as it was meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stray {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

/// What JavaScript calls white space; a byte order mark is some, too.
const SPACE: &str =
    r"[\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}]";

fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t'..='\r' | ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{2028}' | '\u{2029}' | '\u{202F}'
            | '\u{205F}' | '\u{3000}' | '\u{FEFF}'
    )
}

/// dotenv's `LINE`, with JavaScript's classes spelt out. Lines end at a line feed; JavaScript's do at U+2028 and U+2029, too,
/// which nobody's editor writes.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    let expression = r#"(?m)^\s*(?:export\s+)?([A-Za-z0-9_.-]+)(?:\s*=\s*?|:\s+?)(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:#[^\n\r\u{2028}\u{2029}]*)?$"#;
    Regex::new(&expression.replace(r"\s", SPACE)).expect("the expression is a good one")
});

impl Dotenv {
    /// Reads a file. Names are replaced by what `environment` has, before what the file has.
    pub(super) fn read(file: &[u8], environment: &BTreeMap<String, String>) -> Self {
        // As Node.js reads text: what is not UTF-8 becomes U+FFFD.
        let text = String::from_utf8_lossy(file);
        let is_torn = matches!(text, std::borrow::Cow::Owned(_));
        let mut dotenv = Self::parse(&text);
        if is_torn {
            for assignment in &mut dotenv.assignments {
                if assignment.value.as_ref().is_ok_and(|value| value.contains(char::REPLACEMENT_CHARACTER)) {
                    assignment.value = Err("is not UTF-8");
                }
            }
        }
        dotenv.expand(environment);
        dotenv
    }

    fn parse(text: &str) -> Self {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut dotenv = Self::default();
        let mut line = Lines { text: &text, at: 0, line: 1 };
        let mut end = 0;
        for found in LINE.captures_iter(&text) {
            let (Some(whole), Some(name)) = (found.get(0), found.get(1)) else { continue };
            dotenv.pass_over(&text[end..whole.start()], line.of(end));
            end = whole.end();
            let at = line.of(name.start());
            let raw = found.get(2).map_or("", |value| value.as_str()).trim_matches(is_space);
            dotenv.look_inside(name.as_str(), raw, at);
            dotenv.assign(name.as_str(), Ok(unquoted(raw)), at);
        }
        dotenv.pass_over(&text[end..], line.of(end));
        dotenv
    }

    fn assign(&mut self, name: &str, value: Result<String, &'static str>, line: usize) {
        match self.assignments.iter_mut().find(|known| known.name == name) {
            Some(known) => (known.value, known.line) = (value, line),
            None => self.assignments.push(Assignment { name: name.to_owned(), value, line }),
        }
    }

    /// What lies between two assignments: comments, and lines that assign nothing.
    fn pass_over(&mut self, text: &str, first: usize) {
        for (line, text) in (first..).zip(text.split('\n')) {
            self.stray(leading_name(text), line, "is not assigned; write NAME=value");
        }
    }

    /// A quote that is never closed is part of the value. One that is closed lines later, by the next quote that happens to
    /// stand there, takes what lies between.
    fn look_inside(&mut self, name: &str, raw: &str, first: usize) {
        if raw.starts_with(QUOTES) && (raw.len() == 1 || !raw.ends_with(&raw[..1])) {
            self.stray(Some(name), first, "opens a quote that nothing closes");
        }
        for (line, text) in (first..).zip(raw.split('\n')).skip(1).filter(|(_, text)| text.contains('=')) {
            self.stray(leading_name(text), line, "stands inside quotes that an earlier line opens");
        }
    }

    fn stray(&mut self, name: Option<&str>, line: usize, reason: &'static str) {
        self.stray.extend(name.map(|name| Stray { name: name.to_owned(), line, reason }));
    }

    /// Replaces `$NAME`, `${NAME}` and `${NAME:-otherwise}`, and then `\$` by `$`.
    fn expand(&mut self, environment: &BTreeMap<String, String>) {
        let value = |assignment: &Assignment| assignment.value.as_ref().ok().cloned();
        let mut parsed: BTreeMap<String, String> =
            self.assignments.iter().filter_map(|one| Some((one.name.clone(), value(one)?))).collect();
        for assignment in &mut self.assignments {
            let Ok(own) = &assignment.value else { continue };
            let own = environment.get(&assignment.name).unwrap_or(own).clone();
            assignment.value =
                interpolated(own, environment, &parsed).map(|value| value.replace(r"\$", "$")).ok_or(
                    "refers to itself by a $, or becomes too long; put it in single quotes with \\$ for $",
                );
            if let Ok(value) = &assignment.value {
                parsed.insert(assignment.name.clone(), value.clone());
            }
        }
    }
}

/// Without its quotes, and in double quotes with its line breaks.
fn unquoted(raw: &str) -> String {
    let Some(quote) = raw.chars().next().filter(|first| QUOTES.contains(first)) else {
        return raw.to_owned();
    };
    let inside = raw.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let text = inside.unwrap_or(raw);
    if quote == '"' { text.replace(r"\n", "\n").replace(r"\r", "\r") } else { text.to_owned() }
}

/// dotenv-expand's `_interpolate`: the last `$` first, and again until none is left. `None` where that has no end.
fn interpolated(
    mut value: String,
    environment: &BTreeMap<String, String>,
    parsed: &BTreeMap<String, String>,
) -> Option<String> {
    for _ in 0..REPLACED_MAX {
        let Some(dollar) = last_dollar(&value) else { return Some(value) };
        // A `$` that nothing follows ends it, though there be others before.
        let Some(Reference { text, name, otherwise }) = Reference::parse(&value[dollar..]) else {
            return Some(value);
        };
        let stated =
            |from: &BTreeMap<String, String>| from.get(name).filter(|value| !value.is_empty()).cloned();
        let otherwise = otherwise.filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        let with = stated(environment).or(otherwise).or_else(|| stated(parsed)).unwrap_or_default();
        // The first place that looks so, which need not be the one that was found.
        let at = value.find(text)?;
        let (before, after) = (&value[..at], &value[at + text.len()..]);
        let with = substituted(&with, before, text, after);
        if before.len() + with.len() + after.len() > VALUE_BYTES_MAX {
            return None;
        }
        value = format!("{before}{with}{after}");
    }
    None
}

/// Where the last `$` stands that has no backslash before it.
fn last_dollar(value: &str) -> Option<usize> {
    let bytes = value.as_bytes();
    (0..bytes.len()).rev().find(|&at| bytes[at] == b'$' && (at == 0 || bytes[at - 1] != b'\\'))
}

/// `$NAME`, `${NAME}`, `${NAME:-otherwise}`; braces needn't be closed, nor be there for a default.
struct Reference<'a> {
    text: &'a str,
    name: &'a str,
    otherwise: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix('$')?;
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        if name.is_empty() {
            return None;
        }
        let (otherwise, rest) = match rest.strip_prefix(":-") {
            Some(rest) => {
                let (otherwise, rest) = rest.split_at(rest.find(['}', '\\']).unwrap_or(rest.len()));
                (Some(otherwise), rest)
            }
            None => (None, rest),
        };
        let rest = rest.strip_prefix('}').unwrap_or(rest);
        Some(Self { text: &text[..text.len() - rest.len()], name, otherwise })
    }
}

/// What JavaScript's `replace` makes of a replacement (ECMA-262, `GetSubstitution`): in it, some `$` mean something.
fn substituted(with: &str, before: &str, found: &str, after: &str) -> String {
    let mut out = String::with_capacity(with.len());
    let mut rest = with;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let meant = match rest.chars().next() {
            Some('$') => "$",
            Some('&') => found,
            Some('`') => before,
            Some('\'') => after,
            _ => {
                out.push('$');
                continue;
            }
        };
        out.push_str(meant);
        rest = &rest[1..];
    }
    out.push_str(rest);
    out
}

/// The name that a line begins with, behind at most one word such as `set`, if it looks like one of ours.
fn leading_name(line: &str) -> Option<&str> {
    let line = line.split('#').next().unwrap_or_default();
    let is_word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let name = line.split(|c| !is_word(c)).find(|word| word.contains('_'))?;
    let before = line.split(name).next().unwrap_or_default();
    (before.split_whitespace().count() <= 1).then_some(name)
}

/// Counts lines, from the last place that was asked about.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, at: usize) -> usize {
        self.line += self.text[self.at..at].matches('\n').count();
        self.at = at;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8], environment: &[(&str, &str)]) -> Vec<(String, Result<String, &'static str>, usize)> {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let dotenv = Dotenv::read(file, &environment);
        dotenv.assignments.into_iter().map(|Assignment { name, value, line }| (name, value, line)).collect()
    }

    fn strays(file: &str) -> Vec<(String, usize, &'static str)> {
        let dotenv = Dotenv::read(file.as_bytes(), &BTreeMap::new());
        dotenv.stray.into_iter().map(|Stray { name, line, reason }| (name, line, reason)).collect()
    }

    // That values are those of `@next/env` is for a test that runs it.
    #[test]
    fn a_variable_is_told_with_its_line() {
        let file = "\u{feff}A_B=1\n\n# C_D=2\n  export E_F = \"x\ny\"\r\nG_H='z'\n";
        let want = [("A_B", "1", 1), ("E_F", "x\ny", 4), ("G_H", "z", 6)];
        let want = want.map(|(name, value, line)| (name.to_owned(), Ok(value.to_owned()), line));
        assert_eq!(read(file.as_bytes(), &[]), want);
    }

    #[test]
    fn a_value_that_can_not_be_read_is_none() {
        assert_eq!(read(b"A_B=caf\xe9\nC_D=x", &[])[0].1, Err("is not UTF-8"));
        assert_eq!(read(b"A_B=caf\xe9\nC_D=x", &[])[1].1, Ok("x".into()));
        assert_eq!(read("A_B=\u{fffd}".as_bytes(), &[])[0].1, Ok("\u{fffd}".into()));
        for endless in ["A_B=$A_B", "A_B=x${A_B}y", "A_B=$C_D\nC_D=$A_B"] {
            let error = read(endless.as_bytes(), &[])[0].1.clone().unwrap_err();
            assert!(error.starts_with("refers to itself"), "{endless}: {error}");
        }
        assert_eq!(read(b"A_B=$A_B", &[("A_B", "x")])[0].1, Ok("x".into()));
        let doubling =
            (0..40).map(|n| format!("X_{}=${{X_{n}}}${{X_{n}}}\n", n + 1)).collect::<Vec<_>>().concat();
        let doubling = format!("X_0=0123456789\n{doubling}");
        assert!(read(doubling.as_bytes(), &[]).iter().any(|(_, value, _)| value.is_err()));
    }

    #[test]
    fn a_name_that_is_not_read_as_it_was_meant_is_noticed() {
        for (file, want) in [
            ("\nBETTER_AUTH_SECRET hunter2", Some((2, "is not assigned; write NAME=value"))),
            ("A=1\nBETTER_AUTH_SECRET", Some((2, "is not assigned; write NAME=value"))),
            ("set BETTER_AUTH_SECRET", Some((1, "is not assigned; write NAME=value"))),
            ("A=1\nBETTER_AUTH_SECRET='hunter2\nB=1", Some((2, "opens a quote that nothing closes"))),
            ("A=1\nBETTER_AUTH_SECRET=\"", Some((2, "opens a quote that nothing closes"))),
            (
                "APP=\"it\nBETTER_AUTH_SECRET=hunter2\n\"",
                Some((2, "stands inside quotes that an earlier line opens")),
            ),
            ("# BETTER_AUTH_SECRET", None),
            ("words about BETTER_AUTH_SECRET", None),
            ("word # BETTER_AUTH_SECRET", None),
            ("BETTER_AUTH_SECRET=\"it's\"", None),
            ("BETTER_AUTH_SECRET=it's", None),
            ("APP=\"BETTER_AUTH_SECRET=\"", None),
        ] {
            let want: Vec<_> = want
                .into_iter()
                .map(|(line, reason)| ("BETTER_AUTH_SECRET".to_owned(), line, reason))
                .collect();
            assert_eq!(strays(file), want, "{file:?}");
        }
    }

    #[test]
    fn a_large_file_is_read_in_little_time() {
        for line in ["A='", "A=\"\\\"", "x", "A=$", "   ", "#", "A=`\n", "\u{feff}"] {
            read(line.repeat(50_000).as_bytes(), &[]);
        }
    }
}
