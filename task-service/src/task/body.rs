//! What a client has sent: the fields of a task, as they came, not checked yet.

use std::borrow::Cow;

use chassis::json::{Malformed, Raw, Shape};

use super::fields::Tags;

/// The most items of a list that are read: one more than are allowed, which shows that there are too many.
pub(crate) const ITEMS_MAX: usize = Tags::COUNT_MAX + 1;

/// A body in JSON; nothing in it is checked yet.
pub struct Body<'a>(Option<Fields<'a>>);

/// The fields of a task; `None` is one that is absent.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub(crate) title: Option<Field<'a>>,
    pub(crate) description: Option<Field<'a>>,
    pub(crate) completed: Option<Field<'a>>,
    pub(crate) is_completed: Option<Field<'a>>,
    /// In a body it is no word of the contract; who reads one in its words alone passes it over.
    pub(crate) status: Option<Field<'a>>,
    pub(crate) priority: Option<Field<'a>>,
    pub(crate) due_date: Option<Field<'a>>,
    pub(crate) tags: Option<Field<'a>>,
}

/// The value of a field.
pub(crate) enum Field<'a> {
    Null,
    Bool(bool),
    Text(Cow<'a, str>),
    /// Its first items; `None` is one that is not text.
    List(Vec<Option<Cow<'a, str>>>),
    /// A number or an object, which no field takes.
    Other,
}

impl<'a> Body<'a> {
    /// Reads a body. A member of another name is skipped, whatever it is and however deep. Of a field that stands twice
    /// the last counts, as in JavaScript and Python.
    pub fn read(json: &'a [u8]) -> Result<Self, Malformed> {
        let Shape::Object(members) = Raw::parse(json)?.shape() else { return Ok(Self(None)) };
        let mut fields = Fields::default();
        for (name, value) in members {
            let field = match name.text().as_deref() {
                Some("title") => &mut fields.title,
                Some("description") => &mut fields.description,
                Some("completed") => &mut fields.completed,
                Some("is_completed") => &mut fields.is_completed,
                Some("status") => &mut fields.status,
                Some("priority") => &mut fields.priority,
                Some("due_date") => &mut fields.due_date,
                Some("tags") => &mut fields.tags,
                _ => continue,
            };
            *field = Some(Field::of(value).map_err(|broken| broken.malformed(json))?);
        }
        Ok(Self(Some(fields)))
    }

    /// The fields, to be put into other words.
    pub(crate) fn fields_mut(&mut self) -> Option<&mut Fields<'a>> {
        self.0.as_mut()
    }

    /// The fields, if it is an object.
    pub(crate) fn fields(&self) -> Option<&Fields<'a>> {
        self.0.as_ref()
    }
}

impl<'a> Field<'a> {
    /// An error is text that isn't any, such as half of a surrogate pair: no database could keep it.
    fn of(value: Raw<'a>) -> Result<Self, Raw<'a>> {
        Ok(match value.shape() {
            Shape::Null => Self::Null,
            Shape::Bool(is) => Self::Bool(is),
            Shape::Text(text) => Self::Text(text),
            Shape::HalfText => return Err(value),
            Shape::List(items) => {
                let items = items.take(ITEMS_MAX).map(|item| match item.shape() {
                    Shape::Text(text) => Ok(Some(text)),
                    Shape::HalfText => Err(item),
                    _ => Ok(None),
                });
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Shape::Number | Shape::Object(_) => Self::Other,
        })
    }
}
