//! The shape of what is given, where frontends were written for another backend: all of it is decided here, by settings. What
//! a task looks like is the same in every shape.

use std::borrow::Cow;

use chassis::Body;
use http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;

use super::{answer, refusal::Refusal, written};
use crate::{
    store::Found,
    task::{json, listing::Listing},
};

/// The shape of answers, as an operator sets it; `defaults.toml` explains it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// That of a list.
    pub list: ListShape,
    /// What the removal of a task is answered with.
    pub deleted: DeletedShape,
}

/// What a list looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListShape {
    /// `[…]`
    #[default]
    Array,
    /// `{"tasks": […], "total": 12, "count": 10, "limit": 10, "offset": 0, "filtered": 12}`
    Envelope,
}

/// What the removal of a task is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletedShape {
    /// 204, and nothing.
    #[default]
    Nothing,
    /// 200 and `{"ok": true, "message": "…", "id": "…", "task": {…}}`, for who reads the answer as JSON without a look at its status.
    Task,
}

/// What an envelope tells of its list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// How many tasks the list has on all pages, if that is known.
    pub(super) total: Option<i64>,
    /// How many are in this answer.
    count: usize,
    limit: i64,
    /// How many were skipped; `None` behind a cursor, where nobody has counted.
    offset: Option<i64>,
}

impl Extent {
    /// What an answer that shows `count` tasks knows by itself. If it has the last one, they need not be counted.
    pub(super) fn of(listing: &Listing, count: usize, goes_on: bool) -> Self {
        let offset = listing.after.is_none().then(|| listing.offset.get());
        // Behind the last one nobody knows how many were skipped.
        let is_last = !goes_on && (count > 0 || offset == Some(0));
        let total = i64::try_from(count).ok().zip(offset).filter(|_| is_last);
        Self {
            total: total.map(|(count, skipped)| skipped + count),
            count,
            limit: listing.limit.get(),
            offset,
        }
    }
}

impl ListShape {
    /// Whether it tells how many tasks there are, which may cost a statement.
    pub(super) fn tells_total(self) -> bool {
        self == Self::Envelope
    }

    /// What stands before the first task.
    pub(super) fn opening(self) -> &'static [u8] {
        match self {
            Self::Array => b"[",
            Self::Envelope => b"{\"tasks\":[",
        }
    }

    /// What stands behind the last one. It is part of the list's tag: it may change when no task of the page does.
    pub(super) fn closing(self, extent: &Extent) -> Cow<'static, str> {
        match self {
            Self::Array => "]".into(),
            Self::Envelope => {
                let Extent { total, count, limit, offset } = extent;
                let [total, offset] = [total, offset]
                    .map(|number| number.map_or_else(|| "null".to_owned(), |number| number.to_string()));
                let sizes = format!("\"count\":{count},\"limit\":{limit},\"offset\":{offset}");
                format!("],\"total\":{total},{sizes},\"filtered\":{total}}}").into()
            }
        }
    }
}

impl DeletedShape {
    /// The answer to the removal of the task that was found. Repeated under its key, it is the same.
    pub(super) fn answer(self, found: &Found) -> Result<Response<Body>, Refusal> {
        let headers = HeaderMap::with_capacity(4);
        match self {
            Self::Nothing => Ok(answer(StatusCode::NO_CONTENT, headers, Body::empty())),
            Self::Task => {
                let task = found.tasks().next().ok_or(Refusal::NoSuchTask)??;
                let mut body = Vec::with_capacity(2 * json::TASK_BYTES);
                body.extend_from_slice(b"{\"ok\":true,\"message\":\"the task is deleted\",\"id\":\"");
                body.extend_from_slice(task.id.to_string().as_bytes());
                body.extend_from_slice(b"\",\"task\":");
                task.write(&mut body);
                body.push(b'}');
                Ok(written(StatusCode::OK, headers, body.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::task::{
        cursor::{Key, Place},
        moment::Moment,
    };

    fn extent(offset: Option<i64>) -> Extent {
        Extent { total: Some(12), count: 2, limit: 10, offset }
    }

    #[test]
    fn tasks_are_counted_only_where_the_answer_does_not_have_the_last_one() {
        let total = |query: &[(&str, &str)], count, goes_on| {
            Extent::of(&Listing::parse(query, "u1").unwrap(), count, goes_on).total
        };
        assert_eq!(total(&[], 0, false), Some(0));
        assert_eq!(total(&[], 3, false), Some(3));
        assert_eq!(total(&[("limit", "3")], 3, true), None);
        assert_eq!(total(&[("limit", "3"), ("offset", "6")], 2, false), Some(8));
        // There may be fewer than were to be skipped.
        assert_eq!(total(&[("offset", "6")], 0, false), None);
        let mut behind = Listing::parse(&[("limit", "3")], "u1").unwrap();
        behind.after = Some(Place { key: Key::Moment(Some(Moment::BASE)), id: Uuid::nil() });
        let extent = Extent::of(&behind, 2, false);
        assert_eq!(extent, Extent { total: None, count: 2, limit: 3, offset: None });
    }

    #[test]
    fn an_array_is_bare() {
        assert_eq!(ListShape::Array.opening(), b"[");
        assert_eq!(ListShape::Array.closing(&extent(Some(0))), "]");
        assert!(!ListShape::Array.tells_total());
    }

    #[test]
    fn an_envelope_says_what_it_holds() {
        assert!(ListShape::Envelope.tells_total());
        for (offset, told) in [(Some(10), serde_json::json!(10)), (None, serde_json::Value::Null)] {
            let text =
                [ListShape::Envelope.opening(), ListShape::Envelope.closing(&extent(offset)).as_bytes()]
                    .concat();
            let envelope: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let want = serde_json::json!({
                "tasks": [], "total": 12, "count": 2, "limit": 10, "offset": told, "filtered": 12,
            });
            assert_eq!(envelope, want);
        }
    }
}
