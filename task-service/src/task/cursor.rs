//! Where a page of a list begins: behind a task, which need not be there any more.
//!
//! A cursor is a text for the client to send back. It holds the task's place in the order, and a digest of that, of the
//! user and of the list: with another user, sort, order or filter it is refused. There is no secret in it, so somebody can
//! make one up; all that it does is to begin a list of their own tasks elsewhere, at a place that could be one.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::{
    Task,
    digest::digest,
    fields::{Priority, Title},
    listing::{Listing, Sort},
    moment::{Due, Moment},
};

/// The first byte; another one is for another form.
const FORM: u8 = 1;

/// How much of the digest is kept, in bytes.
const DIGEST_BYTES: usize = 16;
const ID_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + DIGEST_BYTES + ID_BYTES;

/// The longest key, a title, in bytes.
const KEY_BYTES_MAX: usize = 4 * Title::CHARS_MAX;

/// The longest cursor, in characters.
const CHARS_MAX: usize = (HEAD_BYTES + KEY_BYTES_MAX).div_ceil(3) * 4;

/// A task's place in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the list is sorted by.
    pub key: Key,
    /// The task's id, which breaks ties.
    pub id: Uuid,
}

/// What a list is sorted by; `None` is a task that lacks it, and comes last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sorts' names")]
pub enum Key {
    Moment(Option<Moment>),
    Title(String),
    Priority(Option<Priority>),
}

impl Place {
    /// The place of a task in a list that is sorted so.
    pub fn of(task: &Task<'_>, sort: Sort) -> Self {
        let key = match sort {
            Sort::CreatedAt => Key::Moment(Some(task.created_at)),
            Sort::UpdatedAt => Key::Moment(Some(task.updated_at)),
            Sort::Title => Key::Title(task.title.to_owned()),
            Sort::DueDate => Key::Moment(task.due_date.map(|(Due::Day(at) | Due::Moment(at))| at)),
            Sort::Priority => Key::Priority(task.priority),
        };
        Self { key, id: task.id }
    }

    /// The cursor for it, in that list of that user.
    pub fn cursor(&self, user: &str, listing: &Listing) -> String {
        let key = self.key.bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + key.len());
        bytes.push(FORM);
        bytes.extend_from_slice(&binding(user, listing, self.id.as_bytes(), &key));
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&key);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor; `None` if it is not one of that list of that user.
    pub fn read(cursor: &str, user: &str, listing: &Listing) -> Option<Self> {
        if cursor.len() > CHARS_MAX {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (&[form], rest) = bytes.split_first_chunk::<1>()?;
        let (said, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
        let (id, key) = rest.split_first_chunk::<ID_BYTES>()?;
        if form != FORM || *said != binding(user, listing, id, key) {
            return None;
        }
        Some(Self { key: Key::read(key, listing.sort)?, id: Uuid::from_bytes(*id) })
    }
}

impl Key {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Moment(moment) => {
                moment.map_or_else(Vec::new, |moment| moment.micros().to_be_bytes().into())
            }
            Self::Title(title) => title.clone().into_bytes(),
            Self::Priority(priority) => {
                priority.map_or_else(Vec::new, |priority| priority.rank().to_be_bytes().into())
            }
        }
    }

    /// Only what the database takes: it would answer anything else with an error.
    fn read(bytes: &[u8], sort: Sort) -> Option<Self> {
        let is_there = !bytes.is_empty();
        match sort {
            Sort::CreatedAt | Sort::UpdatedAt | Sort::DueDate => {
                let moment =
                    |bytes: &[u8]| Some(Moment::of_micros(i64::from_be_bytes(bytes.try_into().ok()?)));
                let read =
                    if is_there { Some(moment(bytes).filter(|moment| moment.is_keepable())?) } else { None };
                (is_there || sort == Sort::DueDate).then_some(Self::Moment(read))
            }
            Sort::Title => {
                let title = str::from_utf8(bytes).ok().filter(|title| !title.contains('\0'));
                title.map(|title| Self::Title(title.to_owned()))
            }
            Sort::Priority => {
                let priority = |bytes: &[u8]| Priority::of_rank(i16::from_be_bytes(bytes.try_into().ok()?));
                Some(Self::Priority(if is_there { Some(priority(bytes)?) } else { None }))
            }
        }
    }
}

/// What binds a place to a list.
fn binding(user: &str, listing: &Listing, id: &[u8; ID_BYTES], key: &[u8]) -> [u8; DIGEST_BYTES] {
    let digest = digest(&[b"tasks cursor", user.as_bytes(), listing.query().as_bytes(), id, key]);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listing(query: &[(&str, &str)]) -> Listing {
        Listing::parse(query, "u1").unwrap()
    }

    fn place(key: Key) -> Place {
        Place { key, id: Uuid::from_u128(7) }
    }

    #[test]
    fn a_place_comes_back_in_its_own_list_alone() {
        let lists = [
            listing(&[]),
            listing(&[("order", "asc")]),
            listing(&[("sort", "updated_at")]),
            listing(&[("sort", "due_date")]),
            listing(&[("status", "pending")]),
            listing(&[("status", "completed")]),
            listing(&[("tag", "a")]),
            listing(&[("search", "a")]),
            listing(&[("priority", "low")]),
        ];
        let here = place(Key::Moment(Some(Moment::of_micros(5))));
        for (at, list) in lists.iter().enumerate() {
            let cursor = here.cursor("u1", list);
            for (other, elsewhere) in lists.iter().enumerate() {
                let read = Place::read(&cursor, "u1", elsewhere);
                assert_eq!(read, (at == other).then(|| here.clone()), "{list:?} {elsewhere:?}");
            }
            assert_eq!(Place::read(&cursor, "u2", list), None);
            assert_eq!(Place::read(&cursor, "", list), None);
        }
        // A page may be larger than the one before.
        let cursor = here.cursor("u1", &lists[0]);
        assert_eq!(Place::read(&cursor, "u1", &listing(&[("limit", "5")])), Some(here));
    }

    #[test]
    fn every_key_comes_back() {
        let title = "ü".repeat(200);
        for (sort, key) in [
            ("due_date", Key::Moment(None)),
            ("due_date", Key::Moment(Some(Moment::of_micros(i64::MAX)))),
            ("created_at", Key::Moment(Some(Moment::of_micros(i64::MIN)))),
            ("title", Key::Title(title)),
            ("title", Key::Title("🦀".repeat(200))),
            ("priority", Key::Priority(None)),
            ("priority", Key::Priority(Some(Priority::Urgent))),
        ] {
            let list = listing(&[("sort", sort)]);
            let cursor = place(key.clone()).cursor("u1", &list);
            assert!(cursor.len() <= CHARS_MAX, "{}", cursor.len());
            assert_eq!(Place::read(&cursor, "u1", &list), Some(place(key)));
        }
    }

    #[test]
    fn what_was_made_up_with_the_right_digest_is_still_nothing_that_the_database_refuses() {
        for (sort, key) in [
            ("created_at", &b""[..]),
            ("created_at", b"short"),
            ("created_at", &(i64::MAX - 1).to_be_bytes()),
            ("due_date", &(i64::MIN + 1).to_be_bytes()),
            ("title", b"a\0"),
            ("title", b"\xff"),
            ("priority", &9_i16.to_be_bytes()),
            ("priority", b"x"),
        ] {
            let list = listing(&[("sort", sort)]);
            let id = [7; ID_BYTES];
            let bytes = [&[FORM][..], &binding("u1", &list, &id, key), &id, key].concat();
            assert_eq!(
                Place::read(&BASE64_URL_SAFE_NO_PAD.encode(bytes), "u1", &list),
                None,
                "{sort} {key:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_cursor_with_any_byte_changed_is_none(at in 0_usize..40, bit in 0_u8..8) {
            let list = listing(&[]);
            let cursor = place(Key::Moment(Some(Moment::of_micros(5)))).cursor("u1", &list);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).unwrap();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Place::read(&BASE64_URL_SAFE_NO_PAD.encode(bytes), "u1", &list), None);
        }

        #[test]
        fn any_text_is_read_without_harm(text in any::<String>()) {
            prop_assert_eq!(Place::read(&text, "u1", &listing(&[])), None);
        }
    }
}
