//! Which tasks to list, and in which order, read from the query; every wrong parameter is named at once.

use chassis::layer::problem::FieldError;
use url::form_urlencoded;

use super::{
    cursor::Place,
    fault::FieldFault,
    fields::{Priority, Tag},
};

/// What clients call the number of tasks to skip.
const OFFSET: [&str; 2] = ["offset", "skip"];

/// Which of the pages of so many tasks, from 1.
const PAGE: &str = "page";

/// Which tasks, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's names, which say it themselves")]
pub struct Listing {
    pub completed: Option<bool>,
    pub priority: Option<Priority>,
    pub tag: Option<Tag>,
    pub search: Option<Search>,
    pub sort: Sort,
    pub order: Order,
    pub limit: Limit,
    /// How many tasks to skip, or those of the pages before the one that is asked for.
    pub offset: Offset,
    /// Whether its pages are counted by the client, who would pass over the rest of one that ends before its limit.
    pub by_offset: bool,
    /// Behind which task it begins.
    pub after: Option<Place>,
    /// Whether to say how many tasks there are on all pages.
    pub total: bool,
}

/// What tasks are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Sort {
    CreatedAt,
    UpdatedAt,
    Title,
    DueDate,
    Priority,
}

/// The direction of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Order {
    Ascending,
    Descending,
}

/// Text to find in a title or a description: 1 to 200 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search(String);

/// How many tasks: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u32);

/// How many tasks to skip: up to 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset(u32);

impl Listing {
    /// Reads the parameters of a query, names and values decoded. An empty value counts as none: a form that was
    /// not filled in sends one. Unknown parameters are ignored. A cursor must be one of this `user`'s.
    pub fn parse<T: AsRef<str>>(query: &[(T, T)], user: &str) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader { query, errors: Vec::new() };
        let status = reader.one(&["status"], status);
        let completed = reader.one(&["completed", "is_completed"], completed);
        if let (Some(status), Some(completed)) = (status, completed)
            && status != completed
        {
            reader.errors.push(FieldFault::Contradicts("status").of("completed"));
        }
        let sort = reader.one(&["sort", "sort_by"], Sort::parse).unwrap_or(Sort::CreatedAt);
        let order = reader.one(&["order", "sort_order"], Order::parse);
        let mut listing = Self {
            completed: status.or(completed).flatten(),
            priority: reader.one(&["priority"], Priority::parse),
            tag: reader.one(&["tag", "tags"], Tag::parse),
            search: reader.one(&["search"], Search::parse).flatten(),
            sort,
            order: order.unwrap_or(sort.natural_order()),
            limit: reader.one(&["limit"], Limit::parse).unwrap_or(Limit(Limit::MAX)),
            offset: reader.one(&OFFSET, Offset::parse).unwrap_or_default(),
            by_offset: query.iter().any(|(name, text)| {
                let name = name.as_ref();
                (OFFSET.contains(&name) || name == PAGE) && !text.as_ref().is_empty()
            }),
            after: None,
            total: reader.one(&["total"], boolean).unwrap_or(false),
        };
        if let Some(page) = reader.one(&[PAGE], page) {
            match Offset::of_page(page, listing.limit) {
                Err(fault) => reader.errors.push(fault.of(PAGE)),
                Ok(offset) if listing.offset != Offset::default() && listing.offset != offset => {
                    reader.errors.push(FieldFault::Contradicts("offset").of(PAGE));
                }
                Ok(offset) => listing.offset = offset,
            }
        }
        // What it is bound to must be known before.
        if let Some(cursor) = reader.one(&["cursor"], |text| Ok(text.to_owned())) {
            listing.after = Place::read(&cursor, user, &listing);
            listing.by_offset = false;
            if listing.offset != Offset::default() {
                reader.errors.push(FieldFault::Contradicts("offset").of("cursor"));
            } else if listing.after.is_none() && reader.errors.is_empty() {
                reader.errors.push(FieldFault::NotCursor.of("cursor"));
            }
        }
        if reader.errors.is_empty() { Ok(listing) } else { Err(reader.errors) }
    }
}

impl Listing {
    /// What it is about and how it is sorted, as a query that asks for the same: each list has one.
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(completed) = self.completed {
            query.append_pair("status", if completed { "completed" } else { "pending" });
        }
        if let Some(priority) = self.priority {
            query.append_pair("priority", priority.as_str());
        }
        if let Some(tag) = &self.tag {
            query.append_pair("tag", tag.as_str());
        }
        if let Some(search) = &self.search {
            query.append_pair("search", search.as_str());
        }
        query.append_pair("sort", self.sort.as_str()).append_pair("order", self.order.as_str());
        query.finish()
    }

    /// The query for the page behind `last`, the last task of this one.
    pub fn next(&self, last: &Place, user: &str) -> String {
        format!("{}&limit={}&cursor={}", self.query(), self.limit.0, last.cursor(user, self))
    }
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::CreatedAt, Self::UpdatedAt, Self::Title, Self::DueDate, Self::Priority];

    /// The sort in its contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Title => "title",
            Self::DueDate => "due_date",
            Self::Priority => "priority",
        }
    }

    fn parse(text: &str) -> Result<Self, FieldFault> {
        Ok(match text {
            "created_at" | "created" => Self::CreatedAt,
            "updated_at" | "updated" => Self::UpdatedAt,
            "title" => Self::Title,
            "due_date" => Self::DueDate,
            "priority" => Self::Priority,
            _ => return Err(FieldFault::NotOneOf("created_at, updated_at, title, due_date or priority")),
        })
    }

    /// The order that people expect when they don't say one: the newest, the most urgent, the next due first.
    fn natural_order(self) -> Order {
        match self {
            Self::CreatedAt | Self::UpdatedAt | Self::Priority => Order::Descending,
            Self::Title | Self::DueDate => Order::Ascending,
        }
    }
}

impl Order {
    /// The order in its contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }

    fn parse(text: &str) -> Result<Self, FieldFault> {
        match text {
            "asc" => Ok(Self::Ascending),
            "desc" => Ok(Self::Descending),
            _ => Err(FieldFault::NotOneOf("asc or desc")),
        }
    }
}

impl Search {
    /// The longest text, in characters.
    pub const CHARS_MAX: usize = 200;

    /// Space around it is not looked for; `None` if there is nothing else.
    fn parse(text: &str) -> Result<Option<Self>, FieldFault> {
        let text = text.trim();
        if text.contains('\0') {
            return Err(FieldFault::Nul);
        }
        if text.chars().count() > Self::CHARS_MAX {
            return Err(FieldFault::Length(1, Self::CHARS_MAX));
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text might stand in a task as other characters that mean the same: `é` is one or two. In ASCII there are
    /// none.
    pub fn has_other_forms(&self) -> bool {
        !self.0.is_ascii()
    }

    /// A pattern for `ilike` that finds the text anywhere, each of its characters meaning itself.
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.0.len() + 2);
        pattern.push('%');
        for character in self.0.chars() {
            if matches!(character, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('%');
        pattern
    }
}

impl Limit {
    /// The number of tasks.
    pub fn tasks(self) -> usize {
        self.0 as usize
    }

    /// The most tasks of one answer. Also the default, so that a client that knows no pages misses nothing.
    pub const MAX: u32 = 1000;

    fn parse(text: &str) -> Result<Self, FieldFault> {
        within(text, 1, Self::MAX).map(Self)
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0.into()
    }
}

impl Offset {
    /// Beyond this the database would read too many tasks that nobody sees.
    pub const MAX: u32 = 10_000;

    fn parse(text: &str) -> Result<Self, FieldFault> {
        within(text, 0, Self::MAX).map(Self)
    }

    /// Where a page begins.
    fn of_page(page: u32, Limit(limit): Limit) -> Result<Self, FieldFault> {
        let last = Self::MAX / limit + 1;
        if page <= last { Ok(Self((page - 1) * limit)) } else { Err(FieldFault::NotWithin(1, last)) }
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0.into()
    }
}

/// Its number. What it comes to hangs on the limit.
fn page(text: &str) -> Result<u32, FieldFault> {
    within(text, 1, Offset::MAX + 1)
}

fn within(text: &str, min: u32, max: u32) -> Result<u32, FieldFault> {
    text.parse().ok().filter(|number| (min..=max).contains(number)).ok_or(FieldFault::NotWithin(min, max))
}

/// `None` is all tasks.
fn status(text: &str) -> Result<Option<bool>, FieldFault> {
    match text {
        "all" => Ok(None),
        "pending" => Ok(Some(false)),
        "completed" => Ok(Some(true)),
        _ => Err(FieldFault::NotOneOf("all, pending or completed")),
    }
}

fn completed(text: &str) -> Result<Option<bool>, FieldFault> {
    boolean(text).map(Some)
}

fn boolean(text: &str) -> Result<bool, FieldFault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(FieldFault::NotBoolean),
    }
}

/// Reads parameters one by one, and collects what is wrong.
struct Reader<'a, T> {
    query: &'a [(T, T)],
    errors: Vec<FieldError>,
}

impl<Q: AsRef<str>> Reader<'_, Q> {
    /// The value of a parameter that has these names; if it is given twice, both must be the same.
    fn one<T: PartialEq>(&mut self, names: &[&str], parse: fn(&str) -> Result<T, FieldFault>) -> Option<T> {
        let mut found = None;
        let query = self.query.iter().map(|(name, text)| (name.as_ref(), text.as_ref()));
        for (name, text) in query.filter(|(name, text)| names.contains(name) && !text.is_empty()) {
            let fault = match (parse(text), &found) {
                (Err(fault), _) => fault,
                (Ok(value), Some(first)) if value != *first => FieldFault::Twice,
                (Ok(value), _) => {
                    found = Some(value);
                    continue;
                }
            };
            self.errors.push(fault.of(name.to_owned()));
            return None;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::cursor::Key;

    fn parse(query: &[(&str, &str)]) -> Result<Listing, Vec<String>> {
        Listing::parse(query, "u1").map_err(|errors| {
            errors.into_iter().map(|error| format!("{} {}", error.field, error.detail)).collect()
        })
    }

    #[test]
    fn nothing_said_is_the_newest_thousand() {
        let all = parse(&[]).unwrap();
        assert_eq!((all.sort, all.order), (Sort::CreatedAt, Order::Descending));
        assert_eq!((all.limit.get(), all.offset.get()), (1000, 0));
        assert_eq!((all.completed, all.priority, &all.tag, &all.search), (None, None, &None, &None));
        let empty = ["status", "completed", "priority", "tag", "search", "sort", "order", "limit", "offset"]
            .map(|name| (name, ""));
        assert_eq!(parse(&empty).unwrap(), all);
        assert_eq!(parse(&[("pages", "2"), ("_", "1769850000"), ("page", "")]).unwrap(), all);
    }

    #[test]
    fn both_ways_to_ask_for_completion_mean_the_same() {
        for (query, want) in [
            (&[("status", "all")][..], None),
            (&[("status", "pending")], Some(false)),
            (&[("status", "completed")], Some(true)),
            (&[("completed", "true")], Some(true)),
            (&[("completed", "false")], Some(false)),
            (&[("completed", "true"), ("status", "completed")], Some(true)),
        ] {
            assert_eq!(parse(query).unwrap().completed, want, "{query:?}");
        }
        for query in
            [[("status", "pending"), ("completed", "true")], [("status", "all"), ("completed", "true")]]
        {
            assert_eq!(parse(&query), Err(vec!["completed contradicts status".into()]));
        }
    }

    #[test]
    fn a_sort_has_its_natural_order_unless_one_is_said() {
        for (text, sort, order) in [
            ("created_at", Sort::CreatedAt, Order::Descending),
            ("created", Sort::CreatedAt, Order::Descending),
            ("updated_at", Sort::UpdatedAt, Order::Descending),
            ("updated", Sort::UpdatedAt, Order::Descending),
            ("title", Sort::Title, Order::Ascending),
            ("due_date", Sort::DueDate, Order::Ascending),
            ("priority", Sort::Priority, Order::Descending),
        ] {
            for name in ["sort", "sort_by"] {
                let listing = parse(&[(name, text)]).unwrap();
                assert_eq!((listing.sort, listing.order), (sort, order), "{text}");
                let listing = parse(&[(name, text), ("sort_order", "asc")]).unwrap();
                assert_eq!((listing.sort, listing.order), (sort, Order::Ascending), "{text}");
            }
        }
    }

    #[test]
    fn a_page_is_found_by_its_number() {
        for (query, offset) in [
            (&[("page", "1")][..], 0),
            (&[("page", "1"), ("limit", "20")], 0),
            (&[("page", "3"), ("limit", "20")], 40),
            (&[("limit", "7"), ("page", "2")], 7),
            (&[("page", "2")], 1000),
            (&[("page", "11")], 10_000),
            (&[("page", "10001"), ("limit", "1")], 10_000),
            (&[("page", "3"), ("limit", "20"), ("offset", "40")], 40),
            (&[("page", "3"), ("limit", "20"), ("offset", "0")], 40),
        ] {
            let listing = parse(query).unwrap();
            assert_eq!((listing.offset.get(), listing.by_offset), (offset, true), "{query:?}");
        }
        for (query, wrong) in [
            (&[("page", "0")][..], "page must be a whole number from 1 to 10001"),
            (&[("page", "x")], "page must be a whole number from 1 to 10001"),
            (&[("page", "12")], "page must be a whole number from 1 to 11"),
            (&[("page", "502"), ("limit", "20")], "page must be a whole number from 1 to 501"),
            (&[("page", "10002"), ("limit", "1")], "page must be a whole number from 1 to 10001"),
            (&[("page", "3"), ("limit", "20"), ("skip", "20")], "page contradicts offset"),
        ] {
            assert_eq!(parse(query), Err(vec![wrong.to_owned()]), "{query:?}");
        }
    }

    #[test]
    fn bounds_hold_from_both_sides() {
        for (name, text, good) in [
            ("limit", "1", true),
            ("limit", "1000", true),
            ("limit", "0", false),
            ("limit", "1001", false),
            ("limit", "-1", false),
            ("limit", "1.5", false),
            ("limit", "99999999999999999999", false),
            ("offset", "0", true),
            ("skip", "10000", true),
            ("offset", "10001", false),
            ("skip", "x", false),
            ("search", &"ü".repeat(200), true),
            ("search", &"ü".repeat(201), false),
            ("search", "\0", false),
            ("tag", &"ü".repeat(50), true),
            ("tag", &"ü".repeat(51), false),
        ] {
            assert_eq!(parse(&[(name, text)]).is_ok(), good, "{name}={text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let query = [
            ("status", "done"),
            ("completed", "1"),
            ("priority", "later"),
            ("sort_by", "id"),
            ("order", "up"),
            ("limit", "many"),
            ("skip", "-1"),
        ];
        assert_eq!(
            parse(&query).unwrap_err(),
            [
                "status must be all, pending or completed",
                "completed must be true or false",
                "sort_by must be created_at, updated_at, title, due_date or priority",
                "order must be asc or desc",
                "priority must be low, medium, high or urgent",
                "limit must be a whole number from 1 to 1000",
                "skip must be a whole number from 0 to 10000",
            ]
        );
    }

    #[test]
    fn a_page_is_followed_by_one_of_the_same_list() {
        let query = [
            ("completed", "true"),
            ("tag", "a&b"),
            ("search", "100 %"),
            ("sort_by", "title"),
            ("limit", "5"),
        ];
        let listing = parse(&query).unwrap();
        let last = Place { key: Key::Title("é".into()), id: uuid::Uuid::nil() };
        let next = listing.next(&last, "u1");
        let (list, cursor) = next.rsplit_once("&cursor=").unwrap();
        assert_eq!(list, "status=completed&tag=a%26b&search=100+%25&sort=title&order=asc&limit=5");
        let read: Vec<_> = form_urlencoded::parse(next.as_bytes()).collect();
        assert_eq!(Listing::parse(&read, "u1"), Ok(Listing { after: Some(last), ..listing }));
        let of_others = Listing::parse(&read, "u2").unwrap_err();
        assert_eq!(of_others[0].field, "cursor");
        for (query, fault) in [
            (&[("cursor", cursor)][..], "cursor does not belong to this list; begin it again without one"),
            (&[("cursor", "x"), ("offset", "1")], "cursor contradicts offset"),
        ] {
            assert_eq!(parse(query), Err(vec![fault.into()]));
        }
        assert!(parse(&[("cursor", ""), ("offset", "1")]).unwrap().after.is_none());
    }

    #[test]
    fn what_is_said_twice_must_be_the_same() {
        assert!(parse(&[("limit", "5"), ("limit", "5")]).is_ok());
        assert!(parse(&[("sort", "created"), ("sort_by", "created_at")]).is_ok());
        for (one, other) in [(("limit", "5"), ("limit", "6")), (("offset", "1"), ("skip", "2"))] {
            let fault = format!("{} is given more than once, with different values", other.0);
            assert_eq!(parse(&[one, other]), Err(vec![fault]));
        }
    }

    #[test]
    fn a_search_finds_its_own_characters() {
        let pattern = |text| Search::parse(text).unwrap().unwrap().pattern();
        assert_eq!(pattern("milk"), "%milk%");
        assert_eq!(pattern(" milk shake\n"), "%milk shake%");
        assert_eq!(Search::parse(" \u{2003} "), Ok(None));
        assert_eq!(pattern(r"100%_\"), r"%100\%\_\\%");
    }
}
