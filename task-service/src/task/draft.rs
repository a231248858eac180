//! A new task, or changes to one, read from JSON; every wrong field is named at once.

use chassis::layer::problem::FieldError;

use super::{
    body::{Body, Field, Fields},
    fault::FieldFault,
    fields::{Description, DueDate, Priority, Tag, Tags, Title},
};

/// A new task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's names, which say it themselves")]
pub struct NewTask {
    pub title: Title,
    pub description: Option<Description>,
    pub completed: bool,
    pub priority: Option<Priority>,
    pub due_date: Option<DueDate>,
    pub tags: Tags,
}

/// Changes to a task; a field that is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's names, which say it themselves")]
pub struct Changes {
    pub title: Option<Title>,
    pub description: Change<Description>,
    pub completed: Option<bool>,
    pub priority: Change<Priority>,
    pub due_date: Change<DueDate>,
    pub tags: Option<Tags>,
}

/// A change to a field that may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It was not named.
    #[default]
    Keep,
    /// `null`.
    Clear,
    /// A value.
    Set(T),
}

impl<T> Change<T> {
    /// Whether the field was named.
    pub fn is_named(&self) -> bool {
        !matches!(self, Self::Keep)
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Keep | Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// The value, if there is one.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Keep | Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl NewTask {
    /// Reads a new task; only the title is required.
    pub fn parse(body: &Body<'_>) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader::of(body)?;
        let Changes { title, description, completed, priority, due_date, tags } = reader.changes();
        if reader.fields.title.is_none() {
            reader.wrong("title", FieldFault::Missing);
        }
        match (title, reader.errors) {
            (Some(title), errors) if errors.is_empty() => Ok(Self {
                title,
                description: description.into_value(),
                completed: completed.unwrap_or(false),
                priority: priority.into_value(),
                due_date: due_date.into_value(),
                tags: tags.unwrap_or_default(),
            }),
            (_, errors) => Err(errors),
        }
    }
}

impl Changes {
    /// Reads the changes of a PUT or a PATCH. Clients send partial bodies with either, so both mean the same.
    pub fn parse(body: &Body<'_>) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader::of(body)?;
        let changes = reader.changes();
        reader.finish(changes)
    }

    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads whether a task is to be completed; `None` if the body doesn't say.
pub fn completion(body: &Body<'_>) -> Result<Option<bool>, Vec<FieldError>> {
    let mut reader = Reader::of(body)?;
    let completed = reader.completed();
    reader.finish(completed)
}

/// Reads fields one by one, and collects what is wrong.
struct Reader<'a> {
    fields: &'a Fields<'a>,
    errors: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    fn of(body: &'a Body<'_>) -> Result<Self, Vec<FieldError>> {
        match body.fields() {
            Some(fields) => Ok(Self { fields, errors: Vec::new() }),
            None => Err(vec![FieldFault::NotObject.of("body")]),
        }
    }

    fn finish<T>(self, read: T) -> Result<T, Vec<FieldError>> {
        if self.errors.is_empty() { Ok(read) } else { Err(self.errors) }
    }

    fn wrong(&mut self, field: &'static str, fault: FieldFault) {
        self.errors.push(fault.of(field));
    }

    fn changes(&mut self) -> Changes {
        let fields = self.fields;
        Changes {
            // A title can't be cleared: `null` is no text.
            title: fields.title.as_ref().and_then(|field| self.text("title", field, Title::parse)),
            description: self.clearable("description", fields.description.as_ref(), Description::parse),
            completed: self.completed(),
            priority: self.clearable("priority", fields.priority.as_ref(), Priority::parse),
            due_date: self.clearable("due_date", fields.due_date.as_ref(), DueDate::parse),
            tags: self.tags(),
        }
    }

    fn text<T>(&mut self, name: &'static str, field: &Field<'_>, parse: ParseText<T>) -> Option<T> {
        let parsed = if let Field::Text(text) = field { parse(text) } else { Err(FieldFault::NotText) };
        parsed.map_err(|fault| self.wrong(name, fault)).ok()
    }

    fn clearable<T>(
        &mut self,
        name: &'static str,
        field: Option<&Field<'_>>,
        parse: ParseText<T>,
    ) -> Change<T> {
        match field {
            None => Change::Keep,
            Some(Field::Null) => Change::Clear,
            // A form sends it for what was not filled in.
            Some(Field::Text(text)) if text.is_empty() => Change::Clear,
            Some(field) => self.text(name, field, parse).map_or(Change::Keep, Change::Set),
        }
    }

    /// Completion under either of its names.
    fn completed(&mut self) -> Option<bool> {
        let fields = self.fields;
        let completed = self.boolean("completed", fields.completed.as_ref());
        let is_completed = self.boolean("is_completed", fields.is_completed.as_ref());
        if let (Some(one), Some(other)) = (completed, is_completed)
            && one != other
        {
            self.wrong("is_completed", FieldFault::Contradicts("completed"));
        }
        completed.or(is_completed)
    }

    fn boolean(&mut self, name: &'static str, field: Option<&Field<'_>>) -> Option<bool> {
        match field? {
            Field::Bool(is) => return Some(*is),
            // Of what is either, it says nothing.
            Field::Null => {}
            _ => self.wrong(name, FieldFault::NotBoolean),
        }
        None
    }

    fn tags(&mut self) -> Option<Tags> {
        let items = match self.fields.tags.as_ref()? {
            Field::Null => return Some(Tags::default()),
            Field::Text(text) if text.is_empty() => return Some(Tags::default()),
            Field::List(items) => items,
            _ => {
                self.wrong("tags", FieldFault::NotList);
                return None;
            }
        };
        // Before each is checked: a body could hold tens of thousands of wrong ones.
        if items.len() > Tags::COUNT_MAX {
            self.wrong("tags", FieldFault::TooMany(Tags::COUNT_MAX));
            return None;
        }
        let mut tags = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match item.as_deref().ok_or(FieldFault::NotText).and_then(Tag::parse) {
                Ok(tag) => tags.push(tag),
                Err(fault) => self.errors.push(fault.of(format!("tags[{at}]"))),
            }
        }
        Tags::new(tags).map_err(|fault| self.wrong("tags", fault)).ok()
    }
}

type ParseText<T> = fn(&str) -> Result<T, FieldFault>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use time::{Date, OffsetDateTime, Time, macros::date};

    use super::*;
    use crate::task::moment::Moment;

    /// From where the server counts.
    const BASE: Date = date!(2000 - 01 - 01);

    /// Reads what `parse` makes of a body.
    fn read<T>(body: &Value, parse: impl FnOnce(&Body<'_>) -> T) -> T {
        let json = body.to_string();
        parse(&Body::read(json.as_bytes()).unwrap())
    }

    fn new_task(body: &Value) -> Result<NewTask, Vec<FieldError>> {
        read(body, NewTask::parse)
    }

    fn changes(body: &Value) -> Result<Changes, Vec<FieldError>> {
        read(body, Changes::parse)
    }

    fn completion(body: &Value) -> Result<Option<bool>, Vec<FieldError>> {
        read(body, super::completion)
    }

    fn wrong<T>(read: Result<T, Vec<FieldError>>) -> Vec<String> {
        let errors = read.err().unwrap_or_default();
        errors.into_iter().map(|error| format!("{} {}", error.field, error.detail)).collect()
    }

    #[test]
    fn a_new_task_needs_only_a_title() {
        let task = new_task(&json!({"title": " Buy milk "})).unwrap();
        assert_eq!(task.title.as_str(), "Buy milk");
        assert_eq!((task.description, task.completed, task.priority), (None, false, None));
        assert_eq!((task.due_date, task.tags), (None, Tags::default()));
    }

    #[test]
    fn null_is_nothing_for_an_optional_field() {
        let body =
            json!({"title": "t", "description": null, "priority": null, "due_date": null, "tags": null});
        assert_eq!(new_task(&body), new_task(&json!({"title": "t"})));
        let body = json!({"title": "t", "description": "", "priority": "", "due_date": "", "tags": ""});
        assert_eq!(new_task(&body), new_task(&json!({"title": "t"})));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let body = json!({
            "title": "", "description": 1, "completed": "yes", "priority": "later", "due_date": "soon",
            "tags": ["ok", "", 3],
        });
        let faults = [
            "title must have 1 to 200 characters",
            "description must be text",
            "completed must be true or false",
            "priority must be low, medium, high or urgent",
            "due_date must be a date, such as 2026-01-31, or a date and time, such as 2026-01-31T09:30:00Z",
            "tags[1] must have 1 to 50 characters",
            "tags[2] must be text",
        ];
        assert_eq!(wrong(new_task(&body)), faults);
        assert_eq!(wrong(changes(&body)), faults);
    }

    #[test]
    fn a_body_that_is_no_task_is_wrong_as_a_whole() {
        for body in [json!(null), json!([]), json!("title"), json!(1), json!(true)] {
            assert_eq!(wrong(new_task(&body)), ["body must be a JSON object"]);
            assert_eq!(wrong(changes(&body)), ["body must be a JSON object"]);
            assert_eq!(wrong(completion(&body)), ["body must be a JSON object"]);
        }
        assert_eq!(wrong(new_task(&json!({}))), ["title is required"]);
        assert_eq!(wrong(new_task(&json!({"title": null}))), ["title must be text"]);
        assert_eq!(wrong(changes(&json!({"title": null}))), ["title must be text"]);
        assert_eq!(wrong(changes(&json!({"tags": "a,b"}))), ["tags must be a list of texts"]);
        assert_eq!(wrong(changes(&json!({"tags": vec![1; 21]}))), ["tags must have at most 20 items"]);
    }

    #[test]
    fn an_absent_field_stays_and_null_clears() {
        assert!(changes(&json!({})).unwrap().is_empty());
        let changes = changes(&json!({"description": null, "due_date": "2026-01-31"})).unwrap();
        assert_eq!(changes.description, Change::Clear);
        assert_eq!(changes.priority, Change::Keep);
        assert!(matches!(changes.due_date, Change::Set(_)));
    }

    #[test]
    fn what_only_we_may_say_is_not_read() {
        let body = json!({"id": 7, "user_id": "u2", "created_at": 1, "updated_at": 2, "version": 3, "x": {}});
        assert!(changes(&body).unwrap().is_empty());
    }

    #[test]
    fn completion_has_two_names_that_must_agree() {
        for (body, want) in [
            (json!({}), None),
            (json!({"completed": true}), Some(true)),
            (json!({"is_completed": false}), Some(false)),
            (json!({"completed": true, "is_completed": true}), Some(true)),
        ] {
            assert_eq!(completion(&body), Ok(want));
        }
        let both = json!({"completed": true, "is_completed": false});
        assert_eq!(wrong(completion(&both)), ["is_completed contradicts completed"]);
        assert_eq!(wrong(changes(&both)), ["is_completed contradicts completed"]);
        for none in [json!({"completed": null}), json!({"is_completed": null, "completed": null})] {
            assert_eq!(completion(&none), Ok(None));
            assert!(changes(&none).unwrap().is_empty());
        }
        for bad in [json!([]), json!("true"), json!(1)] {
            assert_eq!(wrong(completion(&json!({"completed": bad}))), ["completed must be true or false"]);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_fail_otherwise_than_with_a_fault(text in any::<String>()) {
            let body = json!({
                "title": text, "description": text, "priority": text, "due_date": text, "tags": [text],
            });
            if let Ok(task) = new_task(&body) {
                prop_assert!((1..=200).contains(&task.title.as_str().chars().count()));
                prop_assert_eq!(task.title.as_str().trim(), task.title.as_str());
            }
        }

        #[test]
        fn any_date_that_is_read_is_of_the_years_1_to_9999_and_read_again_as_it_is_told(
            text in "[+-]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,12})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?",
        ) {
            if let Ok(date) = DueDate::parse(&text) {
                let moment = date.moment();
                let is_day = date.day().is_some();
                prop_assert!((1..=9999).contains(&moment.year()), "{moment}");
                prop_assert_eq!(moment.nanosecond() % 1_000_000, 0);
                // What a client is told, it may send back.
                let micros = (moment - OffsetDateTime::new_utc(BASE, Time::MIDNIGHT)).whole_microseconds();
                let mut told = Vec::new();
                let kept = Moment::of_micros(micros.try_into().unwrap());
                if is_day { kept.write_day(&mut told) } else { kept.write(&mut told) }
                prop_assert_eq!(DueDate::parse(str::from_utf8(&told).unwrap()), Ok(date));
            }
        }
    }
}
