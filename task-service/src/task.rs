//! What a task is, and what may become one.
//!
//! Everything from outside becomes a type of [`fields`] before it goes further. A [`draft`], read from a [`Body`], and
//! a [`listing`] name all that is wrong at once.

pub(crate) mod body;
pub mod cursor;
mod digest;
pub mod draft;
pub mod fault;
pub mod fields;
pub mod json;
pub mod listing;
pub mod moment;
pub mod once;

use uuid::Uuid;

pub use self::body::Body;
use self::{
    fields::Priority,
    moment::{Due, Moment},
};

/// A task's id: a UUID v7, made by us, so that a repeated insert is recognised; or the UUID that another backend made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new one.
    pub fn make() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads an id in its one spelling, the hyphenated; `None` for anything else, which is nobody's task.
    pub fn parse(text: &str) -> Option<Self> {
        const CHARS: usize = 36;
        Some(text).filter(|text| text.len() == CHARS).and_then(|text| Uuid::try_parse(text).ok()).map(Self)
    }

    /// The id of a task that is kept.
    pub(crate) fn kept(id: Uuid) -> Self {
        Self(id)
    }

    /// As the database keeps it.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

/// A number that another backend had as a task's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyId<'a>(&'a str);

impl<'a> LegacyId<'a> {
    /// As many as the largest of PostgreSQL's integers has.
    const DIGITS_MAX: usize = 19;

    /// Reads a number in its one spelling.
    pub fn parse(text: &'a str) -> Option<Self> {
        let is_number =
            (1..=Self::DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && (text == "0" || !text.starts_with('0'))).then_some(Self(text))
    }

    /// As it was noted.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// How often a task was changed, and made: it names one state of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub i64);

/// In which of its versions a task may be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// In these alone; `None` is any.
    pub only: Option<Vec<Version>>,
    /// In none of these.
    pub except: Option<Vec<Version>>,
}

impl Condition {
    /// Whether it demands nothing.
    pub fn is_empty(&self) -> bool {
        self.only.is_none() && self.except.is_none()
    }

    /// Whether a task of that version meets it.
    pub fn is_met_by(&self, version: Version) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&version))
            && self.except.as_ref().is_none_or(|except| !except.contains(&version))
    }
}

/// A task, as it is kept; its text is borrowed from its row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's names, which say it themselves")]
pub struct Task<'a> {
    pub id: Uuid,
    pub user_id: &'a str,
    pub title: &'a str,
    pub description: Option<&'a str>,
    pub completed: bool,
    pub priority: Option<Priority>,
    pub due_date: Option<Due>,
    pub tags: Vec<&'a str>,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub version: Version,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_met_in_its_versions() {
        let versions = |numbers: &[i64]| Some(numbers.iter().copied().map(Version).collect());
        for (only, except, met) in [
            (None, None, true),
            (versions(&[2, 3]), None, true),
            (versions(&[2]), None, false),
            (versions(&[]), None, false),
            (None, versions(&[2]), true),
            (None, versions(&[3]), false),
            (versions(&[3]), versions(&[3]), false),
        ] {
            let condition = Condition { only, except };
            assert_eq!(condition.is_met_by(Version(3)), met, "{condition:?}");
        }
    }

    #[test]
    fn another_backends_id_is_a_number_in_one_spelling() {
        for good in ["0", "1", "17", "9223372036854775807"] {
            assert_eq!(LegacyId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "00", "017", "-1", "+1", "1.0", " 1", "1e3", "x", "١", "92233720368547758070"] {
            assert_eq!(LegacyId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = TaskId::make();
        assert_eq!(TaskId::parse(&id.uuid().to_string()), Some(id));
        assert_eq!(id.uuid().get_version_num(), 7);
        let braced = id.uuid().braced().to_string();
        for bad in ["", "1", "tasks", &braced, &id.uuid().simple().to_string(), &"0".repeat(36)] {
            assert_eq!(TaskId::parse(bad), None, "{bad}");
        }
    }
}
