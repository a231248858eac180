//! What a client sent, as it came: the fields that mean something, each with what was given for it.

use std::borrow::Cow;

use chassis::json::{Malformed, Raw, Shape};

use super::fields::Tags;

/// The most items of a list that are kept: one more than may be there, which shows that there are too many.
const ITEMS_MAX: usize = Tags::COUNT_MAX + 1;

/// A body in JSON; nothing in it is judged yet.
pub struct Body<'a>(Option<Fields<'a>>);

/// The fields; `None` is one that is not there.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) title: Option<Field<'a>>,
    pub(super) description: Option<Field<'a>>,
    pub(super) completed: Option<Field<'a>>,
    pub(super) is_completed: Option<Field<'a>>,
    pub(super) priority: Option<Field<'a>>,
    pub(super) due_date: Option<Field<'a>>,
    pub(super) tags: Option<Field<'a>>,
}

/// What was given for a field.
pub(super) enum Field<'a> {
    Null,
    Bool(bool),
    Text(Cow<'a, str>),
    /// Its first items; `None` is one that is no text.
    List(Vec<Option<Cow<'a, str>>>),
    /// A number or an object, which no field takes.
    Other,
}

impl<'a> Body<'a> {
    /// Reads a body. What has another name is passed over, whatever it is and however deep; of a field that stands
    /// twice the last counts, as in JavaScript and Python.
    pub fn read(json: &'a [u8]) -> Result<Self, Malformed> {
        let Shape::Object(members) = Raw::parse(json)?.shape() else { return Ok(Self(None)) };
        let mut fields = Fields::default();
        for (name, value) in members {
            let field = match name.text().as_deref() {
                Some("title") => &mut fields.title,
                Some("description") => &mut fields.description,
                Some("completed") => &mut fields.completed,
                Some("is_completed") => &mut fields.is_completed,
                Some("priority") => &mut fields.priority,
                Some("due_date") => &mut fields.due_date,
                Some("tags") => &mut fields.tags,
                _ => continue,
            };
            *field = Some(Field::of(value).map_err(|broken| broken.malformed(json))?);
        }
        Ok(Self(Some(fields)))
    }

    /// The fields, if it is an object.
    pub(super) fn fields(&self) -> Option<&Fields<'a>> {
        self.0.as_ref()
    }
}

impl<'a> Field<'a> {
    /// An error is text that can't be any: then that is no JSON which anybody could keep.
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
