//! An id in a query, whatever type its column has.

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

/// The text of an id. Better Auth's are text in tokens and JSON, and in tables text, uuid or a number.
///
/// To compare the column's text instead would read the whole table: its index is over what the column holds.
#[derive(Debug)]
pub struct Id<'a>(pub &'a str);

impl ToSql for Id<'_> {
    /// A text that can't be of the column's type is null, which equals nothing: nobody has that id.
    fn to_sql(
        &self,
        column: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        fn canonical<T: ToString + std::str::FromStr>(text: &str) -> Option<T> {
            text.parse().ok().filter(|value: &T| value.to_string() == text)
        }
        let text = self.0;
        let written = match *column {
            Type::UUID => canonical::<Uuid>(text).map(|id| out.put_slice(id.as_bytes())),
            Type::INT2 => canonical(text).map(|id| out.put_i16(id)),
            Type::INT4 => canonical(text).map(|id| out.put_i32(id)),
            Type::INT8 => canonical(text).map(|id| out.put_i64(id)),
            _ => (!text.contains('\0')).then(|| out.put_slice(text.as_bytes())),
        };
        Ok(written.map_or(IsNull::Yes, |()| IsNull::No))
    }

    fn accepts(column: &Type) -> bool {
        let text = matches!(*column, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN);
        text || column.name() == "citext"
            || matches!(*column, Type::UUID | Type::INT2 | Type::INT4 | Type::INT8)
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_its_column_has_it_or_is_nobodys() {
        let uuid = "0199f7a2-6c1e-7b63-9d4f-2f6f2b1d9a10";
        for (column, id, want) in [
            (Type::TEXT, "u1", Some(b"u1".to_vec())),
            (Type::VARCHAR, "", Some(vec![])),
            (Type::TEXT, "a\0b", None),
            (Type::UUID, uuid, Some(Uuid::parse_str(uuid).unwrap().as_bytes().to_vec())),
            (Type::UUID, &uuid.to_uppercase(), None),
            (Type::UUID, "u1", None),
            (Type::INT4, "258", Some(vec![0, 0, 1, 2])),
            (Type::INT4, "2147483648", None),
            (Type::INT4, "01", None),
            (Type::INT4, "+1", None),
            (Type::INT8, "1", Some(vec![0, 0, 0, 0, 0, 0, 0, 1])),
            (Type::INT2, "-1", Some(vec![255, 255])),
        ] {
            let mut out = BytesMut::new();
            let null = Id(id).to_sql(&column, &mut out).unwrap();
            let written = matches!(null, IsNull::No).then(|| out.to_vec());
            assert_eq!(written, want, "{id:?} as {column}");
        }
    }
}
