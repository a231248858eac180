//! How Better Auth's tables and their columns are called.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// The longest name that PostgreSQL doesn't cut off, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// A table, by the name of Better Auth's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    Session,
    User,
    Jwks,
    OauthAccessToken,
    OauthClient,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Session, Self::User, Self::Jwks, Self::OauthAccessToken, Self::OauthClient];

    /// As Better Auth calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::Jwks => "jwks",
            Self::OauthAccessToken => "oauthAccessToken",
            Self::OauthClient => "oauthClient",
        }
    }

    /// The fields that are looked at.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Session => &["id", "token", "userId", "expiresAt"],
            Self::User => &["id", "email", "emailVerified", "banned", "banExpires"],
            Self::Jwks => &["id", "publicKey", "alg", "expiresAt"],
            Self::OauthAccessToken => &[
                "token",
                "clientId",
                "sessionId",
                "userId",
                "resources",
                "scopes",
                "confirmation",
                "expiresAt",
                "revoked",
            ],
            Self::OauthClient => &["clientId", "disabled"],
        }
    }

    /// Whether the table is read at all.
    pub fn is_read(self, reads: Reads) -> bool {
        match self {
            Self::Session => reads.session_tokens || reads.session_ids,
            Self::User => reads.owners(),
            Self::Jwks => reads.keys,
            Self::OauthAccessToken | Self::OauthClient => reads.access_tokens,
        }
    }

    /// The fields that are read and must be there.
    pub fn required(self, reads: Reads) -> Vec<&'static str> {
        let unread = |field: &str| match (self, field) {
            (Self::Session, "id") => !reads.session_ids,
            (Self::Session, "token") => !reads.session_tokens,
            _ => self.optional().any(|(_, fields)| fields.contains(&field)),
        };
        self.fields().iter().copied().filter(|field| !unread(field)).collect()
    }

    /// The fields that may not be there, by when they are.
    pub fn optional(self) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
        let parts: &[(_, &[_])] = match self {
            Self::User => &[
                ("Whether the address was verified.", &["emailVerified"]),
                ("The columns of the admin plugin, if there are any.", &["banned", "banExpires"]),
            ],
            Self::Jwks => &[("Since Better Auth 1.4.", &["expiresAt"]), ("Since Better Auth 1.7.", &["alg"])],
            Self::Session | Self::OauthAccessToken | Self::OauthClient => &[],
        };
        parts.iter().copied()
    }
}

/// A field whose column has a name of its own: `session.userId=owner`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    model: Model,
    field: &'static str,
    column: Name,
}

impl Renamed {
    fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not of the form session.userId=owner_id");
        let (place, column) = text.split_once('=').ok_or_else(form)?;
        let (model, field) = place.trim().split_once('.').ok_or_else(form)?;
        let model = Model::ALL.into_iter().find(|known| known.name() == model).ok_or_else(|| {
            let known = Model::ALL.map(Model::name).join(", ");
            format!("`{model}` is none of the tables that are looked at: {known}")
        })?;
        let field = model.fields().iter().find(|known| **known == field).ok_or_else(|| {
            let known = model.fields().join(", ");
            format!("`{field}` is none of the fields of {} that are looked at: {known}", model.name())
        })?;
        Ok(Self { model, field, column: Name::parse(column.trim())? })
    }
}

impl<'de> Deserialize<'de> for Renamed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// The names of all tables and columns, as SQL identifiers.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    schema: Name,
    names: [Name; Model::ALL.len()],
    columns: Columns,
    renamed: Vec<Renamed>,
}

/// How the names of columns are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Columns {
    /// As Better Auth writes them: `userId`.
    Camel,
    /// With underscores: `user_id`.
    Snake,
}

/// What is read of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that may be read")]
pub(crate) struct Reads {
    /// Sessions, by their tokens.
    pub(crate) session_tokens: bool,
    /// Sessions, by their ids.
    pub(crate) session_ids: bool,
    /// Users, by their ids.
    pub(crate) users: bool,
    /// Opaque access tokens, and their clients.
    pub(crate) access_tokens: bool,
    /// The public keys.
    pub(crate) keys: bool,
}

impl Reads {
    /// Whether there is a need for a database at all.
    pub(crate) fn any(self) -> bool {
        self.owners() || self.keys
    }

    /// Whether users are read, as the owners of something else or by themselves.
    pub(crate) fn owners(self) -> bool {
        self.session_tokens || self.session_ids || self.users || self.access_tokens
    }
}

/// A name as an SQL identifier: quoted, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// Reads a name; an error says what one must be.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(format!("must be a name of 1 to {NAME_BYTES_MAX} bytes"));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

impl Tables {
    /// Tables of these names, in the order of [`Model::ALL`]. An error names a field that is renamed twice.
    pub(crate) fn new(
        schema: Name,
        names: [Name; Model::ALL.len()],
        columns: Columns,
        renamed: Vec<Renamed>,
    ) -> Result<Self, String> {
        for (at, Renamed { model, field, .. }) in renamed.iter().enumerate() {
            if renamed[..at].iter().any(|earlier| (earlier.model, earlier.field) == (*model, *field)) {
                return Err(format!("has {}.{field} twice", model.name()));
            }
        }
        Ok(Self { schema, names, columns, renamed })
    }

    /// Neon Auth's tables, in a schema of that name: they are called as Better Auth calls them where nothing is set.
    /// (Neon's documentation, not tried against Neon.)
    pub(crate) fn of_neon(schema: Name) -> Self {
        let names = Model::ALL.map(|model| Name(model.name().to_owned()));
        Self { schema, names, columns: Columns::Camel, renamed: Vec::new() }
    }

    /// The schema.
    pub fn schema(&self) -> &Name {
        &self.schema
    }

    /// A table's own name.
    pub fn name(&self, model: Model) -> &Name {
        let at = Model::ALL.into_iter().position(|known| known == model).expect("all models are there");
        &self.names[at]
    }

    /// A table, with its schema.
    pub fn table(&self, model: Model) -> String {
        format!("{}.{}", self.schema, self.name(model))
    }

    /// The column of a field.
    pub fn column(&self, model: Model, field: &str) -> Name {
        debug_assert!(model.fields().contains(&field), "{field} is listed");
        self.stated(model, field).cloned().unwrap_or_else(|| Name(self.columns.written(field)))
    }

    /// The column of a field as the settings state it, by itself. A column that the settings name must be there, even
    /// one that otherwise may not be: a slip in its name must not hide who is banned.
    pub fn stated(&self, model: Model, field: &str) -> Option<&Name> {
        let renamed = self.renamed.iter().find(|renamed| (renamed.model, renamed.field) == (model, field));
        renamed.map(|renamed| &renamed.column)
    }
}

impl Columns {
    /// A field's name, written so.
    pub fn written(self, field: &str) -> String {
        match self {
            Self::Camel => field.to_owned(),
            Self::Snake => field.chars().fold(String::new(), |mut name, letter| {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_lowercase());
                name
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name_whatever_is_in_it() {
        for (name, want) in [
            ("session", r#""session""#),
            ("Session", r#""Session""#),
            ("my sessions", r#""my sessions""#),
            (r#"a" union select"#, r#""a"" union select""#),
            (&"x".repeat(63), &format!("\"{}\"", "x".repeat(63))),
        ] {
            assert_eq!(Name::parse(name).unwrap().to_string(), want);
        }
        for bad in ["", "a\0b", &"x".repeat(64), &"ü".repeat(32)] {
            assert_eq!(Name::parse(bad).unwrap_err(), "must be a name of 1 to 63 bytes");
        }
    }

    #[test]
    fn fields_are_written_as_the_application_writes_them() {
        assert_eq!(Columns::Camel.written("userId"), "userId");
        assert_eq!(Columns::Snake.written("userId"), "user_id");
        assert_eq!(Columns::Snake.written("id"), "id");
    }

    #[test]
    fn a_renamed_field_is_one_that_is_looked_at() {
        let renamed = Renamed::parse("session.userId = owner").unwrap();
        assert_eq!(
            (renamed.model, renamed.field, renamed.column.text()),
            (Model::Session, "userId", "owner")
        );
        for (bad, want) in [
            ("session", "not of the form"),
            ("userId=owner", "not of the form"),
            ("sessions.userId=owner", "none of the tables that are looked at: session, user"),
            ("session.ipAddress=ip", "none of the fields of session that are looked at: id, token"),
        ] {
            let error = Renamed::parse(bad).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
