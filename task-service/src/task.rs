//! What a task is, and what may become one.
//!
//! Everything from outside becomes a type of [`fields`] before it goes further; a [`draft`], made of a [`Body`], or a
//! [`listing`] tells all that is wrong at once.

mod body;
pub mod draft;
pub mod fault;
pub mod fields;
pub mod listing;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::body::Body;
use self::fields::Priority;

// Milliseconds, as JavaScript's `toISOString` has them: what a frontend sends comes back as it was.
time::serde::format_description!(
    rfc3339_millis,
    OffsetDateTime,
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
);

/// A task's id: a UUID v7, made by us, so that a repeated insert is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new one.
    pub fn make() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads an id in its one spelling, the hyphenated; `None` for anything else, which is then nobody's task.
    pub fn parse(text: &str) -> Option<Self> {
        const CHARS: usize = 36;
        Some(text).filter(|text| text.len() == CHARS).and_then(|text| Uuid::try_parse(text).ok()).map(Self)
    }

    /// As the database keeps it.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

/// A task, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's names, which say it themselves")]
pub struct Task {
    pub id: Uuid,
    pub user_id: String,
    pub title: String,
    pub description: Option<String>,
    pub completed: bool,
    pub priority: Option<Priority>,
    pub due_date: Option<OffsetDateTime>,
    pub tags: Vec<String>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl Serialize for Task {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<'a> {
            id: Uuid,
            user_id: &'a str,
            title: &'a str,
            description: Option<&'a str>,
            completed: bool,
            /// The older name: half of the frontends read this one.
            is_completed: bool,
            priority: Option<Priority>,
            #[serde(with = "rfc3339_millis::option")]
            due_date: Option<OffsetDateTime>,
            tags: &'a [String],
            #[serde(with = "rfc3339_millis")]
            created_at: OffsetDateTime,
            #[serde(with = "rfc3339_millis")]
            updated_at: OffsetDateTime,
        }
        Document {
            id: self.id,
            user_id: &self.user_id,
            title: &self.title,
            description: self.description.as_deref(),
            completed: self.completed,
            is_completed: self.completed,
            priority: self.priority,
            due_date: self.due_date,
            tags: &self.tags,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
        .serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_task_is_written_as_the_contract_says() {
        let task = Task {
            id: Uuid::nil(),
            user_id: "u1".into(),
            title: "Buy milk".into(),
            description: None,
            completed: true,
            priority: Some(Priority::High),
            due_date: Some(datetime!(2026-01-31 00:00 UTC)),
            tags: vec!["home".into()],
            created_at: datetime!(2026-01-02 03:04:05.678901 UTC),
            updated_at: datetime!(2026-01-02 03:04:05 UTC),
        };
        assert_eq!(
            serde_json::to_value(&task).unwrap(),
            serde_json::json!({
                "id": "00000000-0000-0000-0000-000000000000", "user_id": "u1", "title": "Buy milk",
                "description": null, "completed": true, "is_completed": true, "priority": "high",
                "due_date": "2026-01-31T00:00:00.000Z", "tags": ["home"],
                "created_at": "2026-01-02T03:04:05.678Z", "updated_at": "2026-01-02T03:04:05.000Z",
            })
        );
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
