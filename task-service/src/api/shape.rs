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
    /// `{"tasks": […], "total": 12, …}`: what it tells besides stands in `defaults.toml`.
    Envelope,
    /// The same, with its tasks as `items`.
    Items,
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

    /// The end of an envelope.
    fn told(&self) -> String {
        let Self { total, count, limit, offset } = *self;
        let number =
            |number: Option<i64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
        // What is not the beginning of a page has no number.
        let page = offset.filter(|offset| offset % limit == 0).map(|offset| offset / limit + 1);
        let pages = total.map(|total| total.div_euclid(limit) + i64::from(total % limit != 0));
        let [total, offset, page, pages] = [total, offset, page, pages].map(number);
        format!(
            "],\"total\":{total},\"count\":{count},\"limit\":{limit},\"offset\":{offset},\"filtered\":{total},\"page\":{page},\
             \"page_size\":{limit},\"per_page\":{limit},\"pages\":{pages},\"total_pages\":{pages}}}"
        )
    }
}

impl ListShape {
    /// Whether it tells how many tasks there are, which may cost a statement.
    pub(super) fn tells_total(self) -> bool {
        matches!(self, Self::Envelope | Self::Items)
    }

    /// What stands before the first task.
    pub(super) fn opening(self) -> &'static [u8] {
        match self {
            Self::Array => b"[",
            Self::Envelope => b"{\"tasks\":[",
            Self::Items => b"{\"items\":[",
        }
    }

    /// What stands behind the last one. It is part of the list's tag: it may change when no task of the page does.
    pub(super) fn closing(self, extent: &Extent) -> Cow<'static, str> {
        match self {
            Self::Array => "]".into(),
            Self::Envelope => extent.told().into(),
            // The space tells their tags apart: one is not taken for the other when the setting has changed.
            Self::Items => format!("{} ", extent.told()).into(),
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
        for (shape, name) in [(ListShape::Envelope, "tasks"), (ListShape::Items, "items")] {
            assert!(shape.tells_total());
            for (total, offset, page, pages) in [
                (Some(12), Some(0), Some(1), Some(2)),
                (Some(12), Some(10), Some(2), Some(2)),
                (Some(10), Some(0), Some(1), Some(1)),
                (Some(0), Some(0), Some(1), Some(0)),
                (Some(12), Some(5), None, Some(2)),
                (Some(12), None, None, Some(2)),
                (None, Some(20), Some(3), None),
            ] {
                let extent = Extent { total, count: 2, limit: 10, offset };
                let text = [shape.opening(), shape.closing(&extent).as_bytes()].concat();
                let envelope: serde_json::Value = serde_json::from_slice(&text).unwrap();
                let want = serde_json::json!({
                    name: [], "total": total, "count": 2, "limit": 10, "offset": offset, "filtered": total,
                    "page": page, "page_size": 10, "per_page": 10, "pages": pages, "total_pages": pages,
                });
                assert_eq!(envelope, want);
            }
        }
        let one = extent(Some(0));
        assert_ne!(ListShape::Envelope.closing(&one), ListShape::Items.closing(&one), "they are no copies");
    }
}
