//! Conditional requests (RFC 9110 §13): what a client has seen, compared with what there is.
//!
//! A task's tag is its version, and strong. A list's tag stands for the ids and versions of its tasks, and for whether more
//! follow; it is weak, so that the gateway may compress a list. `If-Match` comes before `If-None-Match`. No answer has a `Last-Modified`, so the
//! conditions by date don't apply; nor does any to a POST, whose task is not there yet.

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;

use super::refusal::Refusal;
use crate::task::{Condition, Version};

/// The most tags of one header.
pub(super) const TAGS_MAX: usize = 100;

/// What a list's tag is told of a task: id and version, in bytes.
const TOLD_BYTES: usize = 24;

/// How much of a digest is in a weak tag, in bytes.
const WEAK_TAG_BYTES: usize = 16;

/// An entity tag, as it stands in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'a> {
    is_weak: bool,
    /// With its quotes.
    opaque: &'a [u8],
}

/// What one of the two headers asks for.
#[derive(Debug, PartialEq, Eq)]
enum Tags<'a> {
    /// `*`: whatever there is.
    Any,
    These(Vec<Tag<'a>>),
}

/// What a request demands of what there is; `None` is a header that is absent.
#[derive(Debug)]
pub(super) struct Preconditions<'a> {
    matches: Option<Tags<'a>>,
    none_match: Option<Tags<'a>>,
}

/// What becomes of a request that only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is answered.
    Answer,
    /// The client has it already.
    NotModified,
    /// The client wants something else than there is.
    Refuse,
}

impl<'a> Preconditions<'a> {
    /// Reads both headers. What can't be read is refused: whoever sends a condition relies on it.
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            matches: Tags::of(headers, &header::IF_MATCH)?,
            none_match: Tags::of(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Compares them with what is there to read, by its `ETag`.
    pub(super) fn reading(&self, etag: &HeaderValue) -> Reading {
        let there = Tag::of(etag.as_bytes());
        let strongly = |tag: &Tag<'_>| tag.matches_strongly(there);
        let weakly = |tag: &Tag<'_>| tag.opaque == there.opaque;
        if self.matches.as_ref().is_some_and(|tags| !tags.any(strongly)) {
            Reading::Refuse
        } else if self.none_match.as_ref().is_some_and(|tags| tags.any(weakly)) {
            Reading::NotModified
        } else {
            Reading::Answer
        }
    }

    /// The versions of a task that may be changed; the statement that changes it compares them.
    pub(super) fn condition(&self) -> Condition {
        let Self { matches, none_match } = self;
        let strong = |tags: &[Tag<'_>]| {
            tags.iter().filter(|tag| !tag.is_weak).filter_map(Tag::version).collect::<Vec<_>>()
        };
        let only = match matches {
            // Only what is there is changed at all.
            None | Some(Tags::Any) => None,
            Some(Tags::These(tags)) => Some(strong(tags)),
        };
        match none_match {
            None => Condition { only, except: None },
            // Whatever there is, is not to be changed.
            Some(Tags::Any) => Condition { only: Some(Vec::new()), except: None },
            Some(Tags::These(tags)) => {
                Condition { only, except: Some(tags.iter().filter_map(Tag::version).collect()) }
            }
        }
    }
}

impl<'a> Tags<'a> {
    fn of(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Self>, Refusal> {
        let mut lines = headers.get_all(name).iter().peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let wrong = || Refusal::BadPrecondition(name.clone());
        let (mut any, mut tags) = (false, Vec::new());
        for line in lines {
            let mut rest = line.as_bytes();
            // Between commas there may be nothing (RFC 9110 §5.6.1.2).
            loop {
                rest = rest.trim_ascii_start();
                if let Some(behind) = rest.strip_prefix(b"*") {
                    any = true;
                    rest = behind;
                } else if !matches!(rest.first(), None | Some(b',')) {
                    let (tag, behind) = Tag::first(rest).ok_or_else(wrong)?;
                    tags.push(tag);
                    rest = behind;
                }
                rest = rest.trim_ascii_start();
                match rest.split_first() {
                    None => break,
                    Some((b',', behind)) => rest = behind,
                    Some(_) => return Err(wrong()),
                }
            }
        }
        match (any, tags.len()) {
            (true, 0) => Ok(Some(Self::Any)),
            (false, 1..=TAGS_MAX) => Ok(Some(Self::These(tags))),
            _ => Err(wrong()),
        }
    }

    fn any(&self, matches: impl Fn(&Tag<'_>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(matches),
        }
    }
}

impl<'a> Tag<'a> {
    /// One that we have made.
    fn of(text: &'a [u8]) -> Self {
        let opaque = text.strip_prefix(b"W/");
        Self { is_weak: opaque.is_some(), opaque: opaque.unwrap_or(text) }
    }

    /// The tag that a list begins with, and what is behind it.
    fn first(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let Tag { is_weak, opaque: text } = Self::of(text);
        let inner = text.strip_prefix(b"\"")?;
        let length = inner.iter().position(|byte| *byte == b'"')?;
        let is_character = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7E | 0x80..);
        if !inner[..length].iter().all(is_character) {
            return None;
        }
        let (opaque, rest) = text.split_at(length + 2);
        Some((Self { is_weak, opaque }, rest))
    }

    fn matches_strongly(&self, other: Self) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// The version that it stands for; `None` if we would never have written it so.
    fn version(&self) -> Option<Version> {
        let digits = self.opaque.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let version = str::from_utf8(digits).ok()?.parse().ok().map(Version)?;
        (task_tag(version).as_bytes() == self.opaque).then_some(version)
    }
}

/// The `ETag` of a task.
pub(super) fn task_tag(Version(version): Version) -> HeaderValue {
    const ROOM: usize = 22;
    let mut text = [b'"'; ROOM];
    let (mut at, mut rest) = (ROOM - 1, version.unsigned_abs());
    loop {
        at -= 1;
        text[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(&text[at - 1..]).expect("digits in quotes may stand in a header")
}

/// The `ETag` of a list, told one task after another.
pub(super) struct ListTag(Vec<u8>);

impl ListTag {
    /// For about so many tasks.
    pub(super) fn with_capacity(tasks: usize) -> Self {
        Self(Vec::with_capacity(tasks * TOLD_BYTES + 1))
    }

    pub(super) fn task(&mut self, id: Uuid, Version(version): Version) {
        self.0.extend_from_slice(id.as_bytes());
        self.0.extend_from_slice(&version.to_be_bytes());
    }

    /// `goes_on`: whether another page follows. A client that is told 304 keeps the `Link` that it has. `closing`: what the
    /// list says behind its tasks.
    pub(super) fn finish(mut self, goes_on: bool, closing: &str) -> HeaderValue {
        self.0.push(goes_on.into());
        self.0.extend_from_slice(closing.as_bytes());
        weak_tag(&self.0)
    }
}

/// A weak `ETag` of what these bytes say.
pub(super) fn weak_tag(told: &[u8]) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digest = digest(&SHA256, told);
    let mut text = Vec::with_capacity(4 + 2 * WEAK_TAG_BYTES);
    text.extend_from_slice(b"W/\"");
    for byte in &digest.as_ref()[..WEAK_TAG_BYTES] {
        text.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xF)]]);
    }
    text.push(b'"');
    HeaderValue::try_from(text).expect("digits in quotes may stand in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn versions(numbers: &[i64]) -> Vec<Version> {
        numbers.iter().copied().map(Version).collect()
    }

    #[test]
    fn a_task_has_a_strong_tag_of_its_version() {
        for (version, want) in
            [(1, "\"1\""), (10, "\"10\""), (0, "\"0\""), (i64::MAX, "\"9223372036854775807\"")]
        {
            assert_eq!(task_tag(Version(version)), want);
        }
    }

    #[test]
    fn a_list_has_a_weak_tag_of_its_tasks_in_their_order() {
        let tag = |tasks: &[(u128, i64)]| {
            let mut tag = ListTag::with_capacity(1);
            for (id, version) in tasks {
                tag.task(Uuid::from_u128(*id), Version(*version));
            }
            tag.finish(false, "]")
        };
        assert_ne!(ListTag::with_capacity(0).finish(true, "]"), tag(&[]), "where it ends is part of it");
        assert_ne!(
            ListTag::with_capacity(0).finish(false, "],2]"),
            tag(&[]),
            "and so is what it says besides"
        );
        let lists = [&[][..], &[(1, 1)], &[(1, 2)], &[(1, 1), (2, 1)], &[(2, 1), (1, 1)]];
        for (at, list) in lists.iter().enumerate() {
            assert_eq!(tag(list), tag(list));
            assert!(tag(list).to_str().unwrap().starts_with("W/\""));
            assert!(lists[..at].iter().all(|other| tag(other) != tag(list)), "{list:?}");
        }
    }

    #[test]
    fn what_is_read_is_compared_as_the_rfc_says() {
        use Reading::{Answer, NotModified, Refuse};
        for (name, value, strong, weak) in [
            (header::IF_MATCH, "\"3\"", Answer, Refuse),
            (header::IF_MATCH, "W/\"3\"", Refuse, Refuse),
            (header::IF_MATCH, "\"2\", ,\"3\"", Answer, Refuse),
            (header::IF_MATCH, "\"2\"", Refuse, Refuse),
            (header::IF_MATCH, " * ", Answer, Answer),
            (header::IF_MATCH, "\"a,b\",\"3\"", Answer, Refuse),
            (header::IF_NONE_MATCH, "\"3\"", NotModified, NotModified),
            (header::IF_NONE_MATCH, "W/\"3\"", NotModified, NotModified),
            (header::IF_NONE_MATCH, "\"2\",W/\"3\"", NotModified, NotModified),
            (header::IF_NONE_MATCH, "\"2\"", Answer, Answer),
            (header::IF_NONE_MATCH, "*", NotModified, NotModified),
        ] {
            let headers = headers(&[(name.clone(), value)]);
            let asked = Preconditions::of(&headers).unwrap();
            assert_eq!(asked.reading(&HeaderValue::from_static("\"3\"")), strong, "{name}: {value}");
            assert_eq!(asked.reading(&HeaderValue::from_static("W/\"3\"")), weak, "{name}: {value}");
        }
        let both = [(header::IF_NONE_MATCH, "\"3\""), (header::IF_MATCH, "\"2\"")];
        assert_eq!(
            Preconditions::of(&headers(&both)).unwrap().reading(&HeaderValue::from_static("\"3\"")),
            Refuse
        );
        let none = HeaderMap::new();
        assert_eq!(Preconditions::of(&none).unwrap().reading(&HeaderValue::from_static("\"3\"")), Answer);
    }

    #[test]
    fn what_is_changed_is_left_to_the_statement_as_versions() {
        for (pairs, only, except) in [
            (&[][..], None, None),
            (&[(header::IF_MATCH, "*")], None, None),
            (&[(header::IF_MATCH, "\"3\"")], Some(&[3][..]), None),
            (&[(header::IF_MATCH, "\"3\""), (header::IF_MATCH, "\"4\"")], Some(&[3, 4]), None),
            // A weak one never matches strongly, and what we never wrote matches nothing.
            (&[(header::IF_MATCH, "W/\"3\"")], Some(&[]), None),
            (&[(header::IF_MATCH, "\"03\", \"+3\", \"x\", \"\", \"-0\"")], Some(&[]), None),
            (&[(header::IF_NONE_MATCH, "*")], Some(&[]), None),
            (&[(header::IF_NONE_MATCH, "W/\"3\", \"4\"")], None, Some(&[3, 4][..])),
            (&[(header::IF_MATCH, "\"3\""), (header::IF_NONE_MATCH, "\"3\"")], Some(&[3]), Some(&[3])),
        ] {
            let headers = headers(pairs);
            let condition = Preconditions::of(&headers).unwrap().condition();
            let want = Condition { only: only.map(versions), except: except.map(versions) };
            assert_eq!(condition, want, "{pairs:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            for bad in [
                "",
                ",",
                "3",
                "\"3",
                "3\"",
                "\"3\" \"4\"",
                "*, \"3\"",
                "w/\"3\"",
                "W/3",
                "\"a b\"",
                "**",
                "\"3\";",
            ] {
                let one = headers(&[(name.clone(), bad)]);
                assert!(matches!(Preconditions::of(&one), Err(Refusal::BadPrecondition(_))), "{name}: {bad}");
            }
            for bad in [["*", "\"3\""], ["\"3\"", "*"]] {
                let two = headers(&bad.map(|value| (name.clone(), value)));
                assert!(Preconditions::of(&two).is_err(), "{bad:?}");
            }
            let tags = |count: usize| {
                let value = HeaderValue::try_from(vec!["\"1\""; count].join(",")).unwrap();
                HeaderMap::from_iter([(name.clone(), value)])
            };
            assert!(Preconditions::of(&tags(TAGS_MAX)).is_ok());
            assert!(Preconditions::of(&tags(TAGS_MAX + 1)).is_err());
        }
    }
}
