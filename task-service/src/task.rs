//! What a task is, and what may become one.
//!
//! Everything from outside becomes a type of [`fields`] before it goes further. A [`draft`], read from a [`Body`], and
//! a [`listing`] name all that is wrong at once.

mod body;
pub mod draft;
pub mod fault;
pub mod fields;
pub mod json;
pub mod listing;
pub mod moment;

use uuid::Uuid;

pub use self::body::Body;
use self::{fields::Priority, moment::Moment};

/// A task's id: a UUID v7, made by us, so that a repeated insert is recognised.
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

    /// As the database keeps it.
    pub fn uuid(self) -> Uuid {
        self.0
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
    pub due_date: Option<Moment>,
    pub tags: Vec<&'a str>,
    pub created_at: Moment,
    pub updated_at: Moment,
}

#[cfg(test)]
mod tests {
    use super::*;

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
