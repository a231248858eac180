//! How Better Auth's tables and their columns are called.

use std::fmt;

use chassis::settings::SettingsError;
use serde::{Deserialize, Deserializer};

use crate::settings::{Columns, Reads, TableSettings};

/// The longest name that PostgreSQL doesn't cut off, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// A table, by the name of Better Auth's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
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
pub struct Renamed {
    model: Model,
    field: &'static str,
    column: String,
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
        Ok(Self { model, field, column: column.trim().to_owned() })
    }
}

impl<'de> Deserialize<'de> for Renamed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// The names of all tables and columns, as SQL identifiers.
pub struct Tables {
    schema: Name,
    names: [Name; Model::ALL.len()],
    columns: Columns,
    renamed: Vec<(Model, &'static str, Name)>,
}

/// A name as an SQL identifier: quoted, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
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
    /// Reads the names; an error says which one can't be one.
    pub fn parse(settings: &TableSettings) -> Result<Self, SettingsError> {
        let tables = [
            ("SESSION", &settings.session),
            ("USER", &settings.user),
            ("JWKS", &settings.jwks),
            ("OAUTH_ACCESS_TOKEN", &settings.oauth_access_token),
            ("OAUTH_CLIENT", &settings.oauth_client),
        ];
        for (key, text) in tables {
            named(key, text)?;
        }
        for (at, Renamed { model, field, .. }) in settings.fields.iter().enumerate() {
            if settings.fields[..at].iter().any(|earlier| (earlier.model, earlier.field) == (*model, *field))
            {
                let name = format!("{}FIELDS", TableSettings::PREFIX);
                return Err(SettingsError::new(name, format!("has {}.{field} twice", model.name())));
            }
        }
        let renamed = settings
            .fields
            .iter()
            .map(|Renamed { model, field, column }| Ok((*model, *field, named("FIELDS", column)?)));
        Ok(Self {
            schema: named("SCHEMA", &settings.schema)?,
            names: tables.map(|(_, text)| Name(text.clone())),
            columns: settings.columns,
            renamed: renamed.collect::<Result<_, SettingsError>>()?,
        })
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

    /// The column of a field as the settings state it, by itself. A column that somebody named must be there, even one
    /// that otherwise may not be: a slip in its name must not hide who is banned.
    pub fn stated(&self, model: Model, field: &str) -> Option<&Name> {
        let renamed = self.renamed.iter().find(|(known, name, _)| (*known, *name) == (model, field));
        renamed.map(|(.., column)| column)
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

fn named(key: &str, name: &str) -> Result<Name, SettingsError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        let variable = format!("{}{key}", TableSettings::PREFIX);
        return Err(SettingsError::new(variable, format!("must be a name of 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(Name(name.to_owned()))
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
            assert_eq!(named("SCHEMA", name).unwrap().to_string(), want);
        }
        for bad in ["", "a\0b", &"x".repeat(64), &"ü".repeat(32)] {
            let error = named("SCHEMA", bad).unwrap_err().to_string();
            assert_eq!(error, "AUTH_VERIFIER_TABLES__SCHEMA: must be a name of 1 to 63 bytes");
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
        assert_eq!((renamed.model, renamed.field, &*renamed.column), (Model::Session, "userId", "owner"));
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
