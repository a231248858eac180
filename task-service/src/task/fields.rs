//! The checked fields of a task: each can only be made by its `parse`.

use time::{
    Date, OffsetDateTime, UtcOffset, error::Parse, format_description::well_known::Rfc3339,
    macros::format_description,
};

use super::fault::FieldFault;

/// What is to be done: 1 to 200 characters, one of them visible, no space around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// The longest title, in characters (Unicode scalar values).
    pub const CHARS_MAX: usize = 200;

    /// Reads a title.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        let title = bounded(text.trim(), 1, Self::CHARS_MAX)?;
        if title.chars().all(is_invisible) { Err(FieldFault::Invisible) } else { Ok(Self(title)) }
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
    Urgent,
}

impl Priority {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Urgent];

    /// Reads a priority.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or(FieldFault::NotOneOf("low, medium, high or urgent"))
    }

    /// The priority in its contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }

    /// The number that the database keeps: more is more urgent, so that it can sort by it.
    pub fn rank(self) -> i16 {
        match self {
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 3,
            Self::Urgent => 4,
        }
    }

    /// The priority of that number.
    pub fn of_rank(rank: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.rank() == rank)
    }
}

/// When a task is due, in the years 1 to 9999: a day, which is the same one in every time zone, or a moment, to the
/// millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueDate {
    /// A day, without a time.
    Day(Date),
    /// A moment, in UTC.
    Moment(OffsetDateTime),
}

impl DueDate {
    /// Reads a date alone, as `<input type="date">` gives it, or a date and a time: RFC 3339, and what browsers and other
    /// backends write in its place (`datetime-local` has neither offset nor, often, seconds). Without an offset it is UTC.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        let text = text.trim();
        if let Ok(day) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
            // A sign or a year 0 passes the format.
            let is_day = text.len() == DAY_CHARS && (1..=9999).contains(&day.year());
            return if is_day { Ok(Self::Day(day)) } else { Err(FieldFault::NotDate) };
        }
        let moment: Result<_, Parse> = match in_full(text) {
            Some(text) => OffsetDateTime::parse(&text, &Rfc3339),
            None => return Err(FieldFault::NotDate),
        };
        moment
            .ok()
            .and_then(|moment| moment.checked_to_offset(UtcOffset::UTC))
            .filter(|moment| (1..=9999).contains(&moment.year()))
            .and_then(|moment| moment.replace_millisecond(moment.millisecond()).ok())
            .map(Self::Moment)
            .ok_or(FieldFault::NotDate)
    }

    /// Its moment; of a day, the start in UTC.
    pub fn moment(self) -> OffsetDateTime {
        match self {
            Self::Day(day) => day.midnight().assume_utc(),
            Self::Moment(moment) => moment,
        }
    }

    /// The day, if it is one.
    pub fn day(self) -> Option<Date> {
        match self {
            Self::Day(day) => Some(day),
            Self::Moment(_) => None,
        }
    }
}

/// `2026-01-31`
const DAY_CHARS: usize = 10;
/// `09:30`
const MINUTE_CHARS: usize = 5;

/// A date and time as RFC 3339 has it, of one that leaves out the seconds, the offset, its colon or its minutes, or has a
/// space for the `T`. `None` if it is nothing of the kind; what is returned is to be read still.
fn in_full(text: &str) -> Option<String> {
    let (day, rest) = text.split_at_checked(DAY_CHARS)?;
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, offset) = time.split_at(at);
    let seconds = if time.len() == MINUTE_CHARS { ":00" } else { "" };
    let (sign, digits) = offset.split_at_checked(1).unwrap_or_default();
    let offset = match (sign, digits.len()) {
        ("", _) => "Z".to_owned(),
        ("+" | "-", 2) => format!("{offset}:00"),
        ("+" | "-", 4) => format!("{sign}{}:{}", digits.get(..2)?, digits.get(2..)?),
        _ => offset.to_owned(),
    };
    Some(format!("{day}T{time}{seconds}{offset}"))
}

/// Whether a character leaves nothing to see or to click on: space, controls, what only formats or joins, and letters that
/// are blank.
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
                | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
                | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
        )
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
    use time::macros::{date, datetime};

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
    fn a_priority_is_one_of_four_and_is_kept_by_its_rank() {
        for (text, priority) in [
            ("low", Priority::Low),
            ("medium", Priority::Medium),
            ("high", Priority::High),
            ("urgent", Priority::Urgent),
        ] {
            assert_eq!(Priority::parse(text), Ok(priority));
            assert_eq!(Priority::of_rank(priority.rank()), Some(priority));
        }
        for bad in ["", "High", "later", "1"] {
            assert!(Priority::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Priority::of_rank(0), None);
    }

    #[test]
    fn a_title_has_something_to_see() {
        for bad in
            ["\u{200B}", "\u{200E}\u{FEFF}", "\u{3164}", "\u{2800} \u{2800}", "\u{1}", "\u{E0041}\u{FE0F}"]
        {
            assert_eq!(Title::parse(bad), Err(FieldFault::Invisible), "{bad:?}");
        }
        for good in ["\u{200B}a", "👩\u{200D}💻", "❤\u{FE0F}", ".", "\u{301}"] {
            assert_eq!(Title::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_due_date_is_a_day_or_a_moment() {
        for (text, want) in [
            ("2026-01-31T09:30:00Z", datetime!(2026-01-31 09:30 UTC)),
            ("2026-01-31T09:30:00.123456789+02:00", datetime!(2026-01-31 07:30:00.123 UTC)),
            ("2026-01-31t09:30:00z", datetime!(2026-01-31 09:30 UTC)),
            ("0001-01-01T00:00:00Z", datetime!(0001-01-01 00:00 UTC)),
            ("9999-12-31T23:59:59Z", datetime!(9999-12-31 23:59:59 UTC)),
            // What `datetime-local` gives, and what pydantic takes.
            ("2026-01-31T09:30", datetime!(2026-01-31 09:30 UTC)),
            ("2026-01-31T09:30:15", datetime!(2026-01-31 09:30:15 UTC)),
            ("2026-01-31T09:30:15.5", datetime!(2026-01-31 09:30:15.5 UTC)),
            ("2026-01-31 09:30", datetime!(2026-01-31 09:30 UTC)),
            ("2026-01-31 09:30:15+01:00", datetime!(2026-01-31 08:30:15 UTC)),
            ("2026-01-31T09:30Z", datetime!(2026-01-31 09:30 UTC)),
            ("2026-01-31T09:30+0100", datetime!(2026-01-31 08:30 UTC)),
            ("2026-01-31T09:30:00-0130", datetime!(2026-01-31 11:00 UTC)),
            ("2026-01-31T09:30:00+01", datetime!(2026-01-31 08:30 UTC)),
            (" 2026-01-31T09:30:00Z\n", datetime!(2026-01-31 09:30 UTC)),
        ] {
            assert_eq!(DueDate::parse(text), Ok(DueDate::Moment(want)), "{text}");
        }
        for (text, day) in [
            ("2026-01-31", date!(2026 - 01 - 31)),
            (" 2024-02-29 ", date!(2024 - 02 - 29)),
            ("0001-01-01", date!(0001 - 01 - 01)),
            ("9999-12-31", date!(9999 - 12 - 31)),
        ] {
            assert_eq!(DueDate::parse(text), Ok(DueDate::Day(day)), "{text}");
            assert_eq!(DueDate::Day(day).moment(), day.midnight().assume_utc());
        }
        for bad in [
            "",
            "tomorrow",
            "2026-02-30",
            "2025-02-29",
            "31.01.2026",
            "1769850000",
            "2026-01-31T25:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01",
            "-0001-01-01",
            "+2026-01-01",
            "+12026-01-01",
            "2026-01-31Z",
            "2026-01-31T",
            "2026-01-31T09",
            "2026-01-31T9:30",
            "2026-01-31T09:30:",
            "2026-01-31T09:30:00.",
            "2026-01-31T09:30:00+",
            "2026-01-31T09:30:00+1",
            "2026-01-31T09:30:00+010",
            "2026-01-31T09:30:00+01000",
            "2026-01-31T09:30:00+25:00",
            "2026-01-31T09:30:00ZZ",
            "2026-01-31T09:30:00 Z",
            "2026-01-31  09:30",
            "2026-01-31_09:30",
            "2026-01-31T09:30:00+ü1",
            "2026-01-3ü",
        ] {
            assert_eq!(DueDate::parse(bad), Err(FieldFault::NotDate), "{bad}");
        }
    }
}
