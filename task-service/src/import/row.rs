//! One old row: the task that it becomes, what had to be changed for that, or why it is left out.

use std::fmt;

use chassis::json::{Raw, Shape};
use identity::UserId;
use time::{Date, OffsetDateTime};
use tokio_postgres::Row;
use uuid::{NoContext, Timestamp, Uuid};

use super::choices::Choices;
use crate::task::fields::{Description, DueDate, Priority, Tag, Tags, Title};

/// The longest old id, in characters.
pub(super) const ID_CHARS_MAX: usize = 255;

/// How much of a word that nobody knows is told, in characters.
const WORD_CHARS_MAX: usize = 30;

/// An old row, as [`Table`](super::table::Table) reads it: its longest texts cut where they are too long anyhow.
#[derive(Clone, Debug, Default)]
pub(super) struct Old {
    pub(super) id: Option<String>,
    pub(super) user: Option<String>,
    /// Whether Better Auth has the user.
    pub(super) known: bool,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) completed: Option<String>,
    pub(super) priority: Option<String>,
    pub(super) due_moment: Option<OffsetDateTime>,
    pub(super) due_day: Option<Date>,
    pub(super) due_text: Option<String>,
    pub(super) tags: Option<String>,
    pub(super) created_at: Option<OffsetDateTime>,
    pub(super) updated_at: Option<OffsetDateTime>,
}

/// Whose row it is, and which: what nothing else may have.
pub(super) type Key = (String, String);

/// What becomes of a row.
pub(super) struct Judged {
    pub(super) old_id: String,
    /// The old id, if it is a UUID: then it stays the task's.
    pub(super) uuid: Option<Uuid>,
    pub(super) fit: Option<Fit>,
    /// Why it is left out.
    pub(super) reasons: Vec<Reason>,
    pub(super) changes: Vec<Change>,
}

/// A task that can be kept.
pub(super) struct Fit {
    pub(super) id: Uuid,
    pub(super) title: Title,
    pub(super) description: Option<Description>,
    pub(super) completed: bool,
    pub(super) priority: Option<Priority>,
    pub(super) due: Option<DueDate>,
    /// Whether its date is a time without a zone: the server knows the zone's hours.
    pub(super) due_is_local: bool,
    pub(super) tags: Vec<Tag>,
    pub(super) created_at: OffsetDateTime,
    pub(super) updated_at: OffsetDateTime,
}

/// Why a row is left out, in the order in which it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    NoId,
    LongId,
    Twice,
    NoUser,
    NotUser,
    UnknownUser,
    NoTitle,
    LongTitle,
    LongDescription,
    Status(String),
    Priority(String),
    DueDate,
    Tags,
    LongTags,
}

/// What is not quite as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Untitled,
    TitleCut,
    TitleTrimmed,
    DescriptionCut,
    NoStatus,
    StatusCleared(String),
    Begun(String),
    PriorityCleared(String),
    DueDateCleared,
    TagsCleared,
    TagsCut,
    EmptyTags,
    NoCreation,
    NoUpdate,
}

impl Old {
    pub(super) fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            user: row.try_get(1)?,
            known: row.try_get(2)?,
            title: row.try_get(3)?,
            description: row.try_get(4)?,
            completed: row.try_get(5)?,
            priority: row.try_get(6)?,
            due_moment: row.try_get(7)?,
            due_day: row.try_get(8)?,
            due_text: row.try_get(9)?,
            tags: row.try_get(10)?,
            created_at: row.try_get(11)?,
            updated_at: row.try_get(12)?,
        })
    }

    pub(super) fn key(&self) -> Option<Key> {
        Some((self.user.clone()?, self.id.clone()?))
    }
}

impl Judged {
    /// Whether somebody may have it already, as far as the row says.
    pub(super) fn can_be_there(&self) -> bool {
        use Reason::{LongId, NoId, NoUser, NotUser, Twice};
        !self.reasons.iter().any(|reason| matches!(reason, NoId | LongId | Twice | NoUser | NotUser))
    }
}

/// Decides on a row. `twice` says that the one before had the same key, and `now` stands for times that are missing.
pub(super) fn judge(old: &Old, twice: bool, choices: &Choices, now: OffsetDateTime) -> Judged {
    let mut said = Said { choices, reasons: Vec::new(), changes: Vec::new() };
    let old_id = said.id(old, twice);
    said.user(old);
    let title = said.title(old.title.as_deref().unwrap_or_default());
    let description = old.description.as_deref().and_then(|text| said.description(text));
    let completed = said.completed(old.completed.as_deref());
    let priority = old.priority.as_deref().and_then(|word| said.priority(word));
    let (due, due_is_local) = said.due(old);
    let tags = said.tags(old.tags.as_deref().unwrap_or_default());
    let created_at = old.created_at.or(old.updated_at).unwrap_or(now);
    if old.created_at.is_none() {
        said.changes.push(Change::NoCreation);
    }
    if old.updated_at.is_none() {
        said.changes.push(Change::NoUpdate);
    }
    // In any of its spellings; but the first and the last of all, between which lists have theirs.
    let uuid = Uuid::try_parse(&old_id).ok().filter(|uuid| !uuid.is_nil() && !uuid.is_max());
    let fit = title.filter(|_| said.reasons.is_empty()).map(|title| Fit {
        id: uuid.unwrap_or_else(|| made_at(created_at)),
        title,
        description,
        completed,
        priority,
        due,
        due_is_local,
        tags,
        created_at,
        updated_at: old.updated_at.unwrap_or(created_at),
    });
    let Said { reasons, changes, .. } = said;
    Judged { old_id, uuid, fit, reasons, changes }
}

/// A new id, which sorts as the task's age does.
fn made_at(moment: OffsetDateTime) -> Uuid {
    match u64::try_from(moment.unix_timestamp()) {
        Ok(seconds) => Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, moment.nanosecond())),
        Err(_) => Uuid::now_v7(),
    }
}

/// What is said of a row, while its fields are read.
struct Said<'a> {
    choices: &'a Choices,
    reasons: Vec<Reason>,
    changes: Vec<Change>,
}

impl Said<'_> {
    /// Leaves the row out, or does without, if the operator has chosen so.
    fn unless<T>(&mut self, chosen: bool, change: Change, reason: Reason) -> Option<T> {
        if chosen {
            self.changes.push(change);
        } else {
            self.reasons.push(reason);
        }
        None
    }

    fn id(&mut self, old: &Old, twice: bool) -> String {
        let id = old.id.clone().unwrap_or_default();
        match id.chars().count() {
            0 => self.reasons.push(Reason::NoId),
            1..=ID_CHARS_MAX if twice => self.reasons.push(Reason::Twice),
            1..=ID_CHARS_MAX => {}
            _ => self.reasons.push(Reason::LongId),
        }
        id
    }

    fn user(&mut self, old: &Old) {
        match &old.user {
            None => self.reasons.push(Reason::NoUser),
            Some(user) if UserId::parse(user).is_none() => self.reasons.push(Reason::NotUser),
            Some(_) if !old.known => self.reasons.push(Reason::UnknownUser),
            Some(_) => {}
        }
    }

    fn title(&mut self, text: &str) -> Option<Title> {
        let trimmed = text.trim();
        if trimmed.chars().count() > Title::CHARS_MAX {
            if !self.choices.truncate {
                return self.unless(false, Change::TitleCut, Reason::LongTitle);
            }
            self.changes.push(Change::TitleCut);
        } else if trimmed.len() < text.len() && !trimmed.is_empty() {
            self.changes.push(Change::TitleTrimmed);
        }
        if let Ok(title) = Title::parse(cut(trimmed, Title::CHARS_MAX).trim_end()) {
            return Some(title);
        }
        let untitled = self.choices.untitled.clone();
        self.unless::<()>(untitled.is_some(), Change::Untitled, Reason::NoTitle);
        untitled
    }

    fn description(&mut self, text: &str) -> Option<Description> {
        Description::parse(text).ok().or_else(|| {
            self.unless::<()>(self.choices.truncate, Change::DescriptionCut, Reason::LongDescription);
            Description::parse(cut(text, Description::CHARS_MAX)).ok()
        })
    }

    fn completed(&mut self, word: Option<&str>) -> bool {
        let Some(word) = word else {
            self.changes.push(Change::NoStatus);
            return false;
        };
        let word = word.trim().to_lowercase();
        match &*word.replace(['-', ' '], "_") {
            "true" | "t" | "1" | "yes" | "completed" | "complete" | "done" | "finished" => return true,
            "false" | "f" | "0" | "no" | "pending" | "todo" | "to_do" | "open" | "active" | "incomplete"
            | "not_started" | "new" => {}
            "in_progress" | "doing" | "started" => self.changes.push(Change::Begun(told(&word))),
            _ => {
                let (change, reason) = (Change::StatusCleared(told(&word)), Reason::Status(told(&word)));
                self.unless::<()>(self.choices.clear, change, reason);
            }
        }
        false
    }

    fn priority(&mut self, word: &str) -> Option<Priority> {
        let word = word.trim().to_lowercase();
        if let Some((_, chosen)) = self.choices.priority.iter().rev().find(|(old, _)| *old == word) {
            return *chosen;
        }
        match &*word {
            "" | "none" => None,
            _ => Priority::parse(&word).ok().or_else(|| {
                let (change, reason) = (Change::PriorityCleared(told(&word)), Reason::Priority(told(&word)));
                self.unless(self.choices.clear, change, reason)
            }),
        }
    }

    fn due(&mut self, old: &Old) -> (Option<DueDate>, bool) {
        let text = old.due_text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let known = old.due_day.map(DueDate::Day).or(old.due_moment.map(DueDate::Moment));
        let Some(text) = text.filter(|_| known.is_none()) else { return (known, false) };
        match DueDate::parse(text) {
            Ok(day @ DueDate::Day(_)) => (Some(day), false),
            Ok(moment) => (Some(moment), !has_offset(text)),
            Err(_) => (self.unless(self.choices.clear, Change::DueDateCleared, Reason::DueDate), false),
        }
    }

    fn tags(&mut self, text: &str) -> Vec<Tag> {
        let Some((texts, has_empty)) = texts(text) else {
            self.unless::<()>(self.choices.clear, Change::TagsCleared, Reason::Tags);
            return Vec::new();
        };
        if has_empty {
            self.changes.push(Change::EmptyTags);
        }
        let is_long =
            texts.len() > Tags::COUNT_MAX || texts.iter().any(|tag| tag.chars().count() > Tag::CHARS_MAX);
        if is_long {
            self.unless::<()>(self.choices.truncate, Change::TagsCut, Reason::LongTags);
        }
        let tags = texts.iter().take(Tags::COUNT_MAX).map(|tag| Tag::parse(cut(tag, Tag::CHARS_MAX)));
        tags.collect::<Result<_, _>>().unwrap_or_else(|_| {
            self.unless::<()>(self.choices.clear, Change::TagsCleared, Reason::Tags);
            Vec::new()
        })
    }
}

/// Whether a date and time says where it is.
fn has_offset(text: &str) -> bool {
    const DAY_CHARS: usize = 10;
    text.get(DAY_CHARS..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']))
}

/// The texts of a list in JSON, or of one that commas separate; and whether empty ones were in it, which are no tags. `None`
/// if it is neither.
fn texts(text: &str) -> Option<(Vec<String>, bool)> {
    let text = text.trim();
    let (mut texts, mut has_empty) = (Vec::new(), false);
    match Raw::parse(text.as_bytes()).map(Raw::shape) {
        Ok(Shape::Null) => {}
        Ok(Shape::List(items)) => {
            for item in items {
                match item.shape() {
                    Shape::Null => has_empty = true,
                    Shape::Text(text) if text.is_empty() => has_empty = true,
                    Shape::Text(text) => texts.push(text.into_owned()),
                    Shape::Number | Shape::Bool(_) => texts.push(item.as_str().to_owned()),
                    Shape::HalfText | Shape::List(_) | Shape::Object(_) => return None,
                }
            }
        }
        Ok(Shape::Text(text)) => texts = separated(&text),
        Ok(Shape::HalfText | Shape::Object(_)) => return None,
        // What only looks like a list, such as Python's own writing of one.
        Err(_) if text.starts_with(['[', '{', '"']) => return None,
        Ok(Shape::Number | Shape::Bool(_)) | Err(_) => texts = separated(text),
    }
    Some((texts, has_empty))
}

fn separated(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(ToOwned::to_owned).collect()
}

fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at])
}

/// A word, to be told.
fn told(word: &str) -> String {
    cut(word, WORD_CHARS_MAX).escape_debug().to_string()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoId => f.write_str("it has no id"),
            Self::LongId => write!(f, "its id has more than {ID_CHARS_MAX} characters"),
            Self::Twice => f.write_str("another row of its user has its id"),
            Self::NoUser => f.write_str("it is nobody's"),
            Self::NotUser => f.write_str("no id of Better Auth looks like its user's"),
            Self::UnknownUser => f.write_str("Better Auth doesn't have its user"),
            Self::NoTitle => f.write_str("it has no title (--untitled)"),
            Self::LongTitle => {
                write!(f, "its title has more than {} characters (--truncate)", Title::CHARS_MAX)
            }
            Self::LongDescription => {
                write!(f, "its description has more than {} characters (--truncate)", Description::CHARS_MAX)
            }
            Self::Status(word) => write!(f, "its status \"{word}\" is unknown (--clear)"),
            Self::Priority(word) => {
                write!(f, "its priority \"{word}\" is unknown (--priority {word}=…, or --clear)")
            }
            Self::DueDate => f.write_str("its due date can't be read (--clear)"),
            Self::Tags => f.write_str("its tags can't be read (--clear)"),
            Self::LongTags => write!(
                f,
                "it has more than {} tags, or one of more than {} characters (--truncate)",
                Tags::COUNT_MAX,
                Tag::CHARS_MAX
            ),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untitled => f.write_str("it had no title"),
            Self::TitleCut => f.write_str("the title is cut"),
            Self::TitleTrimmed => f.write_str("the title had space around it"),
            Self::DescriptionCut => f.write_str("the description is cut"),
            Self::NoStatus => f.write_str("it didn't say whether it is completed: it is not"),
            Self::StatusCleared(word) | Self::Begun(word) => write!(f, "from \"{word}\" to not completed"),
            Self::PriorityCleared(word) => write!(f, "from priority \"{word}\" to none"),
            Self::DueDateCleared => f.write_str("the due date could not be read: none"),
            Self::TagsCleared => f.write_str("the tags could not be read: none"),
            Self::TagsCut => f.write_str("tags are cut"),
            Self::EmptyTags => f.write_str("tags without a character are gone"),
            Self::NoCreation => f.write_str("it has no time of creation: its last change's, or now"),
            Self::NoUpdate => f.write_str("it has no time of its last change: its creation's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    fn old() -> Old {
        Old {
            id: Some("17".into()),
            user: Some("u1".into()),
            known: true,
            title: Some("milk".into()),
            completed: Some("false".into()),
            created_at: Some(datetime!(2025-01-31 09:30 UTC)),
            updated_at: Some(datetime!(2025-02-01 09:30 UTC)),
            ..Old::default()
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "every field of a row may be null")]
    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// Leaves the row out for this reason, or, with the option, takes it with this change.
    #[track_caller]
    fn check(old: &Old, reason: &Reason, choose: impl Fn(&mut Choices), change: &Change) -> Fit {
        let judged = judge(old, false, &Choices::default(), NOW);
        assert!(judged.fit.is_none());
        assert_eq!(judged.reasons, std::slice::from_ref(reason));
        let mut choices = Choices::default();
        choose(&mut choices);
        let judged = judge(old, false, &choices, NOW);
        assert_eq!((judged.reasons, judged.changes), (vec![], vec![change.clone()]));
        judged.fit.unwrap()
    }

    #[track_caller]
    fn fits(old: &Old) -> Fit {
        let judged = judge(old, false, &Choices::default(), NOW);
        assert_eq!((judged.reasons, judged.changes), (vec![], vec![]));
        judged.fit.unwrap()
    }

    #[track_caller]
    fn left_out(old: &Old, twice: bool, reason: Reason) {
        let judged = judge(old, twice, &Choices { clear: true, truncate: true, ..Choices::default() }, NOW);
        assert!(judged.fit.is_none());
        assert_eq!(judged.reasons, [reason]);
    }

    #[test]
    fn what_fits_is_taken_as_it_is() {
        let fit = fits(&old());
        assert_eq!(fit.title.as_str(), "milk");
        assert_eq!(fit.created_at, datetime!(2025-01-31 09:30 UTC));
        assert_eq!(fit.updated_at, datetime!(2025-02-01 09:30 UTC));
        assert!(!fit.completed && fit.tags.is_empty() && fit.due.is_none() && fit.priority.is_none());
        assert_eq!(fit.id.get_version_num(), 7);
        assert_eq!(fit.id.get_timestamp().unwrap().to_unix().0, 1_738_315_800);
        let empty = fits(&Old { description: text(""), tags: text("[]"), due_text: text(" "), ..old() });
        assert_eq!(empty.description.unwrap().as_str(), "");
    }

    #[test]
    fn an_id_that_is_a_uuid_stays() {
        let id = "0190b3a4-0000-4000-8000-00000000000a";
        for spelling in [id, &id.replace('-', ""), &id.to_uppercase()] {
            assert_eq!(fits(&Old { id: text(spelling), ..old() }).id.to_string(), id);
        }
        assert!(judge(&old(), false, &Choices::default(), NOW).uuid.is_none());
        // The ends of all ids, by which lists find theirs, are nobody's.
        for end in [Uuid::nil(), Uuid::max()] {
            let judged = judge(&Old { id: text(&end.to_string()), ..old() }, false, &Choices::default(), NOW);
            assert_ne!(judged.fit.unwrap().id, end);
        }
    }

    #[test]
    fn what_is_nobodys_or_nothings_is_left_out_whatever_is_chosen() {
        left_out(&Old { id: None, ..old() }, false, Reason::NoId);
        left_out(&Old { id: text(&"1".repeat(256)), ..old() }, false, Reason::LongId);
        fits(&Old { id: text(&"1".repeat(255)), ..old() });
        left_out(&old(), true, Reason::Twice);
        left_out(&Old { user: None, ..old() }, false, Reason::NoUser);
        for user in ["", "a b", "é", &"u".repeat(256)] {
            left_out(&Old { user: text(user), ..old() }, false, Reason::NotUser);
        }
        left_out(&Old { known: false, ..old() }, false, Reason::UnknownUser);
    }

    #[test]
    fn a_title_is_cut_only_if_that_is_chosen() {
        let truncate = |choices: &mut Choices| choices.truncate = true;
        fits(&Old { title: text(&"é".repeat(200)), ..old() });
        let long = Old { title: text(&format!("{} x", "é".repeat(199))), ..old() };
        let fit = check(&long, &Reason::LongTitle, truncate, &Change::TitleCut);
        assert_eq!(fit.title.as_str(), "é".repeat(199));
        for title in [None, text(""), text(" \n"), text("\u{200B}")] {
            let untitled = |choices: &mut Choices| choices.untitled = Title::parse("(none)").ok();
            let fit = check(&Old { title, ..old() }, &Reason::NoTitle, untitled, &Change::Untitled);
            assert_eq!(fit.title.as_str(), "(none)");
        }
        let spaced = judge(&Old { title: text(" a "), ..old() }, false, &Choices::default(), NOW);
        assert_eq!(spaced.changes, [Change::TitleTrimmed]);
        assert_eq!(spaced.fit.unwrap().title.as_str(), "a");
    }

    #[test]
    fn a_description_is_cut_only_if_that_is_chosen() {
        fits(&Old { description: text(&"é".repeat(1000)), ..old() });
        let long = Old { description: text(&"é".repeat(1001)), ..old() };
        let truncate = |choices: &mut Choices| choices.truncate = true;
        let fit = check(&long, &Reason::LongDescription, truncate, &Change::DescriptionCut);
        assert_eq!(fit.description.unwrap().as_str(), "é".repeat(1000));
    }

    #[test]
    fn completion_is_read_from_whatever_says_it() {
        for word in ["true", "1", "completed", "DONE", "Finished"] {
            assert!(fits(&Old { completed: text(word), ..old() }).completed, "{word}");
        }
        for word in ["false", "0", "pending", "TODO", "to-do", "not started"] {
            assert!(!fits(&Old { completed: text(word), ..old() }).completed, "{word}");
        }
        for (completed, change) in
            [(None, Change::NoStatus), (text("In Progress"), Change::Begun("in progress".into()))]
        {
            let judged = judge(&Old { completed, ..old() }, false, &Choices::default(), NOW);
            assert_eq!(judged.changes, [change]);
            assert!(!judged.fit.unwrap().completed);
        }
        let (reason, change) = (Reason::Status("archived".into()), Change::StatusCleared("archived".into()));
        let clear = |choices: &mut Choices| choices.clear = true;
        check(&Old { completed: text("archived"), ..old() }, &reason, clear, &change);
    }

    #[test]
    fn a_priority_that_we_dont_have_is_chosen() {
        for (word, want) in
            [("HIGH", Some(Priority::High)), ("urgent", Some(Priority::Urgent)), ("", None), ("None", None)]
        {
            assert_eq!(fits(&Old { priority: text(word), ..old() }).priority, want, "{word}");
        }
        let clear = |choices: &mut Choices| choices.clear = true;
        let (reason, change) = (Reason::Priority("1".into()), Change::PriorityCleared("1".into()));
        let one = Old { priority: text("1"), ..old() };
        assert_eq!(check(&one, &reason, clear, &change).priority, None);
        let choices = Choices {
            priority: vec![("1".into(), None), ("1".into(), Some(Priority::Low))],
            ..Choices::default()
        };
        let judged = judge(&one, false, &choices, NOW);
        assert_eq!((judged.changes, judged.fit.unwrap().priority), (vec![], Some(Priority::Low)));
    }

    #[test]
    fn a_due_date_is_a_day_or_a_moment_and_may_have_no_zone() {
        let day = DueDate::Day(date!(2026 - 01 - 31));
        let moment = DueDate::Moment(datetime!(2026-01-31 08:30 UTC));
        for (row, want, is_local) in [
            (Old { due_day: Some(date!(2026 - 01 - 31)), ..old() }, day, false),
            (Old { due_moment: Some(datetime!(2026-01-31 08:30 UTC)), ..old() }, moment, false),
            (Old { due_text: text("2026-01-31"), ..old() }, day, false),
            (Old { due_text: text(" 2026-01-31T08:30 "), ..old() }, moment, true),
            (Old { due_text: text("2026-01-31 08:30:00"), ..old() }, moment, true),
            (Old { due_text: text("2026-01-31T09:30:00+01:00"), ..old() }, moment, false),
            (Old { due_text: text("2026-01-31T08:30:00Z"), ..old() }, moment, false),
        ] {
            let fit = fits(&row);
            assert_eq!((fit.due, fit.due_is_local), (Some(want), is_local), "{row:?}");
        }
        for bad in ["tomorrow", "infinity", "31.01.2026"] {
            let clear = |choices: &mut Choices| choices.clear = true;
            let row = Old { due_text: text(bad), ..old() };
            assert_eq!(check(&row, &Reason::DueDate, clear, &Change::DueDateCleared).due, None);
        }
    }

    #[test]
    fn tags_are_a_list_in_json_or_with_commas() {
        for (said, want) in [
            (r#"["a","b c"]"#, &["a", "b c"][..]),
            ("[1, true]", &["1", "true"]),
            ("null", &[]),
            ("a, b c ,", &["a", "b c"]),
            (r#""a,b""#, &["a", "b"]),
            ("2026", &["2026"]),
            ("nothing", &["nothing"]),
        ] {
            let fit = fits(&Old { tags: text(said), ..old() });
            assert_eq!(fit.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), want, "{said}");
        }
        let empty = judge(&Old { tags: text(r#"["a","",null]"#), ..old() }, false, &Choices::default(), NOW);
        assert_eq!((empty.changes, empty.fit.unwrap().tags.len()), (vec![Change::EmptyTags], 1));
        let clear = |choices: &mut Choices| choices.clear = true;
        for bad in ["{\"a\":1}", "['a']", r#"[["a"]]"#, r#"["\u0000"]"#, r#"["\ud83d"]"#, "{a,b}"] {
            let fit = check(&Old { tags: text(bad), ..old() }, &Reason::Tags, clear, &Change::TagsCleared);
            assert!(fit.tags.is_empty(), "{bad}");
        }
        let truncate = |choices: &mut Choices| choices.truncate = true;
        for long in ["a,".repeat(21), "é".repeat(51)] {
            let fit =
                check(&Old { tags: text(&long), ..old() }, &Reason::LongTags, truncate, &Change::TagsCut);
            assert!(fit.tags.len() <= 20 && fit.tags[0].as_str().chars().count() <= 50);
        }
        fits(&Old { tags: text(&"a,".repeat(20)), ..old() });
    }

    #[test]
    fn times_that_are_missing_are_those_that_are_there() {
        for (created_at, updated_at, want, changes) in [
            (None, None, (NOW, NOW), vec![Change::NoCreation, Change::NoUpdate]),
            (
                None,
                old().updated_at,
                (old().updated_at.unwrap(), old().updated_at.unwrap()),
                vec![Change::NoCreation],
            ),
            (
                old().created_at,
                None,
                (old().created_at.unwrap(), old().created_at.unwrap()),
                vec![Change::NoUpdate],
            ),
        ] {
            let judged = judge(&Old { created_at, updated_at, ..old() }, false, &Choices::default(), NOW);
            let fit = judged.fit.unwrap();
            assert_eq!(((fit.created_at, fit.updated_at), judged.changes), (want, changes));
        }
        // Before 1970.
        fits(&Old { created_at: Some(datetime!(1969-12-31 0:00 UTC)), ..old() });
    }

    #[test]
    fn a_row_is_left_out_for_all_its_reasons() {
        let judged =
            judge(&Old { title: None, priority: text("later"), ..old() }, false, &Choices::default(), NOW);
        assert_eq!(judged.reasons, [Reason::NoTitle, Reason::Priority("later".into())]);
    }
}
