//! JSON from outside: bounded, and never interpreted.
//!
//! Whatever comes from a network is read here, in every service: into a structure that names its members ([`object`]), or
//! as a [`Raw`] value that is taken apart as far as somebody asks. Never into a `serde_json::Value`: where any dependency
//! switches `serde_json`'s `raw_value` or `arbitrary_precision` on, an object with a certain member is something else to it,
//! up to text that it parses as JSON again, each time with a fresh limit to its recursion.

mod answer;

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

pub use self::answer::Answer;

/// The largest text that is read, in bytes. Every caller has a lower bound of its own: this is for one that forgets.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// How deep a type may follow what it reads: there `serde_json` stops. The types of ours have a depth of their own, and
/// what they don't ask for is passed over without descending into it, however deep it is.
pub const DEPTH_MAX: usize = 127;

/// White space, as JSON has it (RFC 8259 §2).
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Reads a JSON object; `None` for anything else. serde would fill a structure from an array too, member by member, and
/// let bytes that are not UTF-8 pass in members that nobody asks for.
///
/// A member that `T` names must not stand twice; what `T` doesn't name is passed over.
pub fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    structure(text(json).ok()?)
}

/// The same where `null` may stand for nothing: then it is `Some(None)`.
pub fn object_or_null<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<Option<T>> {
    let text = text(json).ok()?;
    if text == "null" { Some(None) } else { structure(text).map(Some) }
}

#[expect(clippy::disallowed_methods, reason = "this is the reader")]
fn structure<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    text.starts_with('{').then(|| serde_json::from_str(text).ok())?
}

/// The text, if it is any and not too large, without the space around it.
fn text(json: &[u8]) -> Result<&str, Malformed> {
    if json.len() > BYTES_MAX {
        return Err(Malformed::behind(&[]));
    }
    let text = str::from_utf8(json).map_err(|error| Malformed::behind(&json[..error.valid_up_to()]))?;
    Ok(text.trim_matches(SPACE))
}

/// It is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line that it was noticed in, from 1.
    pub line: usize,
    /// The byte of that line, from 1.
    pub column: usize,
}

impl Malformed {
    fn behind(good: &[u8]) -> Self {
        let lines = good.split(|byte| *byte == b'\n').enumerate();
        let (above, line) = lines.last().unwrap_or_default();
        Self { line: above + 1, column: line.len() + 1 }
    }
}

/// The text of a JSON value. It was checked to be one, and says no more than its [`Shape`] until somebody asks.
#[derive(Clone, Copy)]
pub struct Raw<'a>(&'a str);

/// What a value is.
pub enum Shape<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, of whatever size.
    Number,
    /// Text.
    Text(Cow<'a, str>),
    /// Text with half a character in it, as in `"\ud83d"`, which no text can hold.
    HalfText,
    /// `[…]`
    List(Items<'a>),
    /// `{…}`
    Object(Members<'a>),
}

impl<'a> Raw<'a> {
    /// Checks that there is one JSON value and nothing else. This doesn't descend into it, however deep it is.
    #[expect(clippy::disallowed_methods, reason = "this is the reader")]
    pub fn parse(json: &'a [u8]) -> Result<Self, Malformed> {
        let trimmed = text(json)?;
        match serde_json::from_str::<IgnoredAny>(trimmed) {
            Ok(IgnoredAny) => Ok(Self(trimmed)),
            // Where it stands in what was sent, the space before it included.
            Err(_) => Err(serde_json::from_slice::<IgnoredAny>(json).map_or_else(
                |error| Malformed { line: error.line(), column: error.column() },
                |_| Malformed::behind(&[]),
            )),
        }
    }

    /// The text, as it came.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// What it is.
    pub fn shape(self) -> Shape<'a> {
        match self.0.as_bytes().first() {
            Some(b'n') => Shape::Null,
            Some(b't') => Shape::Bool(true),
            Some(b'f') => Shape::Bool(false),
            Some(b'"') => self.text().map_or(Shape::HalfText, Shape::Text),
            Some(b'[') => Shape::List(Items(Rest(&self.0[1..]))),
            Some(b'{') => Shape::Object(Members(Rest(&self.0[1..]))),
            _ => Shape::Number,
        }
    }

    /// The text that it stands for, if it is text.
    #[expect(clippy::disallowed_methods, reason = "this is the reader")]
    pub fn text(self) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        // As a rule nothing in it is escaped.
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.0).ok().map(|Text(text)| text)
    }

    /// The texts that it stands for, if it is a list of nothing else.
    pub fn texts(self) -> Option<Vec<String>> {
        let Shape::List(items) = self.shape() else { return None };
        items.map(|item| item.text().map(Cow::into_owned)).collect()
    }

    /// The value of its only member of that name; `None` if it is no object, or there are none or several.
    pub fn only(self, name: &str) -> Option<Raw<'a>> {
        self.each([name]).map(|[value]| value)
    }

    /// The values of its only members of those names.
    pub fn each<const N: usize>(self, names: [&str; N]) -> Option<[Raw<'a>; N]> {
        let Shape::Object(members) = self.shape() else { return None };
        let mut found = [None; N];
        for (name, value) in members {
            let name = name.text();
            if let Some(at) = names.iter().position(|wanted| name.as_deref() == Some(wanted))
                && found[at].replace(value).is_some()
            {
                return None;
            }
        }
        found.iter().all(Option::is_some).then(|| found.map(|value| value.unwrap_or(self)))
    }

    /// Reads it as [`object`] does.
    pub fn object<T: Deserialize<'a>>(self) -> Option<T> {
        structure(self.0)
    }

    /// Where it stands in the text that it was parsed from, for somebody who can't make anything of it.
    pub fn malformed(self, json: &[u8]) -> Malformed {
        let at = self.0.as_ptr().addr().saturating_sub(json.as_ptr().addr());
        Malformed::behind(json.get(..at).unwrap_or_default())
    }
}

/// The values of a list, in their order.
pub struct Items<'a>(Rest<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        self.0.pass(',');
        self.0.value()
    }
}

/// The members of an object, in their order; one name may stand twice.
pub struct Members<'a>(Rest<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    fn next(&mut self) -> Option<(Raw<'a>, Raw<'a>)> {
        self.0.pass(',');
        let name = self.0.value()?;
        self.0.pass(':');
        Some((name, self.0.value()?))
    }
}

/// What follows in a list or an object that was checked.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn pass(&mut self, mark: char) {
        self.0 = self.0.trim_start_matches(SPACE);
        self.0 = self.0.strip_prefix(mark).unwrap_or(self.0).trim_start_matches(SPACE);
    }

    /// Takes the value that stands here; `None` at the end.
    fn value(&mut self) -> Option<Raw<'a>> {
        if self.0.starts_with([']', '}']) {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(self.0).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let (value, rest) = self.0.split_at(values.byte_offset());
        self.0 = rest;
        Some(Raw(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Every way in which a dependency's feature makes one of serde's types take an object for something else.
    const PRIVATE: [&str; 3] =
        ["$serde_json::private::RawValue", "$serde_json::private::Number", "$__toml_private_datetime"];

    #[derive(Debug, PartialEq, Deserialize)]
    struct Named {
        name: String,
    }

    /// Runs on a stack on which nothing can follow what it reads.
    fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
    }

    fn parse(text: &str) -> Option<Raw<'_>> {
        Raw::parse(text.as_bytes()).ok()
    }

    #[test]
    fn an_array_is_no_object() {
        let named = Some(Named { name: "a".into() });
        assert_eq!(object(br#" {"name":"a"}"#), named);
        for bad in [r#"["a"]"#, r#""a""#, "null", "", "{", "\u{feff}{\"name\":\"a\"}", r#"{"name":"a"} x"#] {
            assert_eq!(object::<Named>(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(object::<Named>(b"{\"name\":\"a\",\"other\":\"\xff\"}"), None);
        assert_eq!(object::<Named>(br#"{"name":"a","name":"a"}"#), None);
    }

    #[test]
    fn null_is_nothing_only_where_it_may_be() {
        assert_eq!(object_or_null::<Named>(b" null\n"), Some(None));
        assert_eq!(object_or_null(br#"{"name":"a"}"#), Some(Some(Named { name: "a".into() })));
        for bad in ["", "nul", "null null", "[]", r#"["a"]"#, "{}", "false"] {
            assert_eq!(object_or_null::<Named>(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn nothing_is_read_that_is_larger_than_the_bound() {
        let padded = |bytes: usize| format!("{}1", " ".repeat(bytes - 1));
        assert!(parse(&padded(BYTES_MAX)).is_some());
        assert!(parse(&padded(BYTES_MAX + 1)).is_none());
        let named = |bytes: usize| format!(r#"{}{{"name":"a"}}"#, " ".repeat(bytes - 12));
        assert!(object::<Named>(named(BYTES_MAX).as_bytes()).is_some());
        assert!(object::<Named>(named(BYTES_MAX + 1).as_bytes()).is_none());
    }

    /// Features are united over the workspace: this fails in the build of all of it, where one of them is on.
    #[test]
    fn no_feature_of_a_dependency_makes_an_object_something_else() {
        for name in PRIVATE {
            for text in ["1", "[1]", r#"{"title":"x"}"#, "1979-05-27"] {
                let sent = json!({name: text}).to_string();
                let read: Value = serde_json::from_str(&sent).unwrap();
                let members = read.as_object().expect("it stays an object");
                assert_eq!((members.len(), &members[name]), (1, &Value::from(text)), "{sent}");
                assert_eq!(object::<Named>(sent.as_bytes()), None, "{sent}");
                let Some(Shape::Object(mut members)) = parse(&sent).map(Raw::shape) else { panic!("{sent}") };
                assert_eq!(members.next().and_then(|(_, value)| value.text()).as_deref(), Some(text));
            }
        }
        // A number stays one, too: with `arbitrary_precision` it would be kept as text.
        assert!(serde_json::from_str::<Value>("1e999").is_err());
        assert_eq!(serde_json::from_str::<Value>("1.10").unwrap().to_string(), "1.1");
    }

    #[test]
    fn what_follows_its_input_stops_at_the_bound() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(serde_json::from_str::<Value>(&nested(DEPTH_MAX)).is_ok());
        assert!(serde_json::from_str::<Value>(&nested(DEPTH_MAX + 1)).is_err());
    }

    #[test]
    fn depth_takes_no_stack() {
        on_a_small_stack(|| {
            for (open, close) in [("[", "]"), (r#"{"name":"#, "}")] {
                let (open, close) = (open.repeat(100_000), close.repeat(100_000));
                assert!(parse(&open).is_none());
                assert!(object::<Named>(open.as_bytes()).is_none());
                let deep = format!("{open}1{close}");
                assert!(object::<Named>(deep.as_bytes()).is_none());
                let Some(raw) = parse(&deep) else { panic!("it is JSON") };
                let inner = match raw.shape() {
                    Shape::List(mut items) => items.next(),
                    Shape::Object(mut members) => members.next().map(|(_, value)| value),
                    _ => None,
                };
                assert_eq!(
                    inner.map_or(0, |inner| inner.as_str().len()),
                    deep.len() - open.len() / 100_000 - 1
                );
                let beside = format!(r#"{{"other":{deep},"name":"a","huge":1e999}}"#);
                assert_eq!(object(beside.as_bytes()), Some(Named { name: "a".into() }));
                let found = parse(&beside).and_then(|raw| raw.only("name"));
                assert_eq!(found.and_then(Raw::text).as_deref(), Some("a"));
            }
        });
    }

    #[test]
    fn a_value_is_taken_apart_as_it_came() {
        /// As another reader has it.
        fn whole(raw: Raw<'_>) -> Value {
            match raw.shape() {
                Shape::Null => Value::Null,
                Shape::Bool(is) => is.into(),
                Shape::Number => serde_json::from_str(raw.as_str()).unwrap(),
                Shape::Text(text) => text.into(),
                Shape::HalfText => panic!("{}", raw.as_str()),
                Shape::List(items) => items.map(whole).collect(),
                Shape::Object(members) => {
                    members.map(|(name, value)| (name.text().unwrap().into_owned(), whole(value))).collect()
                }
            }
        }
        for text in [
            "null",
            " true ",
            "-0.5e+3",
            r#""""#,
            r#""a\"b\\""#,
            r#""\ud83e\udd80 \u0041""#,
            "[]",
            "[ ]",
            "[1,2]",
            "\t[ null , true,\"a,b\" ,[[]], {} ]\r\n",
            "{}",
            "{ }",
            r#"{"a":1,"b":[{"c":"]"}],"":{"d":"}"}}"#,
            "{ \"a\" : 1 ,\n \"\\u0062\" : { \"c\" : -1 } , \"d\\\\\" : 1e2}",
        ] {
            let raw = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(whole(raw), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        let recorded = include_bytes!("../../auth-verifier/tests/vectors/better-auth.json");
        let Ok(raw) = Raw::parse(recorded) else { panic!("the recording is JSON") };
        assert_eq!(whole(raw), serde_json::from_slice::<Value>(recorded).unwrap());
    }

    #[test]
    fn half_a_character_is_no_text() {
        for half in [r#""\ud800""#, r#""\udc00x""#, r#""\ud83d\u0041""#] {
            let raw = parse(half).unwrap_or_else(|| panic!("{half}"));
            assert!(matches!(raw.shape(), Shape::HalfText) && raw.text().is_none(), "{half}");
        }
    }

    #[test]
    fn of_two_members_of_one_name_neither_is_the_only_one() {
        let only = |text: &str| parse(text).unwrap().only("a").map(|raw| raw.as_str().to_owned());
        assert_eq!(only(r#"{"b":2,"a":[1, 2] }"#).as_deref(), Some("[1, 2]"));
        assert_eq!(only(r#"{"\u0061":1}"#).as_deref(), Some("1"));
        for none in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"{"b":{"a":1}}"#, "[]", r#"["a"]"#, "1"] {
            assert_eq!(only(none), None, "{none}");
        }
        let each = |text: &str| {
            parse(text).unwrap().each(["a", "b"]).map(|[a, b]| (a.as_str().len(), b.as_str().len()))
        };
        assert_eq!(each(r#"{"b":1,"c":{},"a":"22"}"#), Some((4, 1)));
        for none in [r#"{"a":1}"#, r#"{"b":1}"#, r#"{"a":1,"b":1,"b":1}"#, "{}"] {
            assert_eq!(each(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place() {
        let place = |json: &[u8]| Raw::parse(json).err().map(|Malformed { line, column }| (line, column));
        assert_eq!(place(b"[]"), None);
        assert_eq!(place(b"{\n  \"a\": x}"), Some((2, 8)));
        assert_eq!(place(b"\n\n ]"), Some((3, 2)));
        assert_eq!(place(b"[\n\"\xff\"]"), Some((2, 2)));
        assert_eq!(place(b"").map(|(line, _)| line), Some(1));
        let half = br#"{"a":"\ud800"}"#;
        let raw = Raw::parse(half).ok().and_then(|raw| raw.only("a")).map(|raw| raw.malformed(half));
        assert_eq!(raw, Some(Malformed { line: 1, column: 6 }));
    }
}
