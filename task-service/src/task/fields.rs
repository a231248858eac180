//! The checked fields of a task: each can only be made by its `parse`.

use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use super::fault::FieldFault;

/// What is to be done: 1 to 200 characters, no space around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// The longest title, in characters (Unicode scalar values).
    pub const CHARS_MAX: usize = 200;

    /// Reads a title.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        bounded(text.trim(), 1, Self::CHARS_MAX).map(Self)
    }

    /// The title as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Details: up to 1000 characters, kept as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description(String);

impl Description {
    /// The longest description, in characters.
    pub const CHARS_MAX: usize = 1000;

    /// Reads a description.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        bounded(text, 0, Self::CHARS_MAX).map(Self)
    }

    /// The description as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A word to find tasks by: 1 to 50 characters, kept as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The longest tag, in characters.
    pub const CHARS_MAX: usize = 50;

    /// Reads a tag.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        bounded(text, 1, Self::CHARS_MAX).map(Self)
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Up to 20 tags, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// The most tags of a task.
    pub const COUNT_MAX: usize = 20;

    /// Tags that were read one by one, if there are not too many.
    pub fn new(tags: Vec<Tag>) -> Result<Self, FieldFault> {
        if tags.len() > Self::COUNT_MAX { Err(FieldFault::TooMany(Self::COUNT_MAX)) } else { Ok(Self(tags)) }
    }

    /// The tags as text.
    pub fn as_strs(&self) -> Vec<&str> {
        self.0.iter().map(Tag::as_str).collect()
    }
}

/// How much a task matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Priority {
    Low,
    Medium,
    High,
}

impl Priority {
    const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Reads a priority.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or(FieldFault::NotOneOf("low, medium or high"))
    }

    /// The priority in its contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The number that the database keeps: more is more urgent, so that it can sort by it.
    pub fn rank(self) -> i16 {
        match self {
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 3,
        }
    }

    /// The priority of that number.
    pub fn of_rank(rank: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.rank() == rank)
    }
}

/// When a task is due: a moment of the years 1 to 9999, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueDate(OffsetDateTime);

impl DueDate {
    /// Reads RFC 3339 with an offset, or a date alone, as `<input type="date">` gives it, which is its beginning in
    /// UTC. A time without an offset is refused: it would be another moment in each time zone.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        let date_alone = || {
            let date = Date::parse(text, format_description!("[year]-[month]-[day]"))?;
            Ok(date.midnight().assume_utc())
        };
        let moment: Result<_, time::error::Parse> =
            OffsetDateTime::parse(text, &Rfc3339).or_else(|_| date_alone());
        moment
            .ok()
            .and_then(|moment| moment.checked_to_offset(time::UtcOffset::UTC))
            .filter(|moment| (1..=9999).contains(&moment.year()))
            .and_then(|moment| moment.replace_millisecond(moment.millisecond()).ok())
            .map(Self)
            .ok_or(FieldFault::NotDate)
    }

    /// The moment, in UTC.
    pub fn moment(self) -> OffsetDateTime {
        self.0
    }
}

fn bounded(text: &str, min: usize, max: usize) -> Result<String, FieldFault> {
    if text.contains('\0') {
        return Err(FieldFault::Nul);
    }
    if (min..=max).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    Err(if min == 0 { FieldFault::TooLong(max) } else { FieldFault::Length(min, max) })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_title_has_1_to_200_characters_without_space_around_them() {
        for (text, want) in [
            ("a", Ok("a")),
            ("  a b\t\n", Ok("a b")),
            (&"ü".repeat(200), Ok(&*"ü".repeat(200))),
            (&format!(" {} ", "🦀".repeat(200)), Ok(&*"🦀".repeat(200))),
            ("", Err(FieldFault::Length(1, 200))),
            (" \u{2003}\n", Err(FieldFault::Length(1, 200))),
            (&"a".repeat(201), Err(FieldFault::Length(1, 200))),
            ("a\0b", Err(FieldFault::Nul)),
        ] {
            let title = Title::parse(text);
            assert_eq!(title.as_ref().map(Title::as_str), want.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn a_description_has_up_to_1000_characters_kept_as_they_are() {
        for good in ["", " a\n", &"é".repeat(1000)] {
            assert_eq!(Description::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(Description::parse(&"a".repeat(1001)), Err(FieldFault::TooLong(1000)));
        assert_eq!(Description::parse("\0"), Err(FieldFault::Nul));
    }

    #[test]
    fn a_task_has_up_to_20_tags_of_1_to_50_characters() {
        for good in ["a", " ", &"é".repeat(50)] {
            assert_eq!(Tag::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(Tag::parse(""), Err(FieldFault::Length(1, 50)));
        assert_eq!(Tag::parse(&"a".repeat(51)), Err(FieldFault::Length(1, 50)));
        assert_eq!(Tag::parse("a\0"), Err(FieldFault::Nul));
        let tag = Tag::parse("a").unwrap();
        assert_eq!(Tags::new(vec![tag.clone(); 20]).unwrap().as_strs().len(), 20);
        assert_eq!(Tags::new(vec![tag; 21]), Err(FieldFault::TooMany(20)));
    }

    #[test]
    fn a_priority_is_one_of_three_and_is_kept_by_its_rank() {
        for (text, priority) in
            [("low", Priority::Low), ("medium", Priority::Medium), ("high", Priority::High)]
        {
            assert_eq!(Priority::parse(text), Ok(priority));
            assert_eq!(Priority::of_rank(priority.rank()), Some(priority));
        }
        for bad in ["", "High", "urgent", "1"] {
            assert!(Priority::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Priority::of_rank(0), None);
    }

    #[test]
    fn a_due_date_is_a_moment_with_its_offset_or_a_date_alone() {
        for (text, want) in [
            ("2026-01-31T09:30:00Z", datetime!(2026-01-31 09:30 UTC)),
            ("2026-01-31T09:30:00.123456789+02:00", datetime!(2026-01-31 07:30:00.123 UTC)),
            ("2026-01-31t09:30:00z", datetime!(2026-01-31 09:30 UTC)),
            ("2026-01-31", datetime!(2026-01-31 00:00 UTC)),
            ("2024-02-29", datetime!(2024-02-29 00:00 UTC)),
            ("0001-01-01T00:00:00Z", datetime!(0001-01-01 00:00 UTC)),
            ("9999-12-31T23:59:59Z", datetime!(9999-12-31 23:59:59 UTC)),
        ] {
            assert_eq!(DueDate::parse(text).map(DueDate::moment), Ok(want), "{text}");
        }
        for bad in [
            "",
            "tomorrow",
            "2026-01-31T09:30:00",
            "2026-01-31T09:30",
            "2026-02-30",
            "2025-02-29",
            "31.01.2026",
            "1769850000",
            "2026-01-31T25:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01",
            "-0001-01-01",
            "+12026-01-01",
            "2026-01-31Z",
        ] {
            assert_eq!(DueDate::parse(bad), Err(FieldFault::NotDate), "{bad}");
        }
    }
}
