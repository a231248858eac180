//! An id in a query, whatever type its column has.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// An id, for the server to read as what it is compared with: Better Auth's are text in tokens and JSON, and in tables
/// text, uuid or a number. A text that can't be that is an error of the server's, a misfit.
///
/// To compare the column's text instead would read the whole table: its index is over what the column holds. But one
/// number has many spellings, so that what is found by an [`Id`] must have its [`Text`] too.
#[derive(Debug)]
pub struct Id<'a>(pub &'a str);

/// The one spelling of an id.
#[derive(Debug)]
pub struct Text<'a>(pub &'a str);

impl ToSql for Id<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(written(self.0, out))
    }

    fn accepts(column: &Type) -> bool {
        *column == Type::UNKNOWN
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(written(self.0, out))
    }

    fn accepts(column: &Type) -> bool {
        *column == Type::TEXT
    }

    to_sql_checked!();
}

/// A text that no database can hold is null, which equals nothing: there is no such id.
fn written(text: &str, out: &mut BytesMut) -> IsNull {
    if text.contains('\0') {
        return IsNull::Yes;
    }
    out.put_slice(text.as_bytes());
    IsNull::No
}
