//! What can be wrong with one field, in words that end a sentence which begins with the field's name.

use std::borrow::Cow;

use chassis::layer::problem::FieldError;
use thiserror::Error;

/// What is wrong with a field, and what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FieldFault {
    /// A required field is absent.
    #[error("is required")]
    Missing,
    /// Not an object.
    #[error("must be a JSON object")]
    NotObject,
    /// Not text.
    #[error("must be text")]
    NotText,
    /// Neither true nor false.
    #[error("must be true or false")]
    NotBoolean,
    /// Not a list.
    #[error("must be a list of texts")]
    NotList,
    /// Too short or too long.
    #[error("must have {0} to {1} characters")]
    Length(usize, usize),
    /// Too long.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// Too many items.
    #[error("must have at most {0} items")]
    TooMany(usize),
    /// PostgreSQL can't keep it.
    #[error("must not contain the character U+0000")]
    Nul,
    /// None of the known words.
    #[error("must be {0}")]
    NotOneOf(&'static str),
    /// Not a whole number, or out of its bounds.
    #[error("must be a whole number from {0} to {1}")]
    NotWithin(u32, u32),
    /// Not a date.
    #[error("must be a date, such as 2026-01-31, or a date and time, such as 2026-01-31T09:30:00Z")]
    NotDate,
    /// Not a cursor, or that of another list.
    #[error("does not belong to this list; begin it again without one")]
    NotCursor,
    /// Nothing in it can be seen.
    #[error("must have a character that can be seen")]
    Invisible,
    /// Two fields that mean the same have different values.
    #[error("contradicts {0}")]
    Contradicts(&'static str),
    /// One parameter has different values.
    #[error("is given more than once, with different values")]
    Twice,
}

impl FieldFault {
    /// The fault, of the field of this name.
    pub fn of(self, field: impl Into<Cow<'static, str>>) -> FieldError {
        FieldError { field: field.into(), detail: self.to_string().into() }
    }
}
