//! A JSON value of whichever type it comes in, such as a claim that an application fills in.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

/// How many levels of lists and objects such a value may have, itself included.
const LEVELS_MAX: usize = 8;

/// Text, texts, a truth, or something of which nothing is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Loose {
    /// It isn't there, or none of the others.
    #[default]
    Nothing,
    /// True or false.
    Truth(bool),
    /// Text.
    Text(String),
    /// A list of texts, and nothing else.
    Texts(Vec<String>),
    /// An object, whatever is in it.
    Object,
}

impl Loose {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Whether it is true, if it is true or false.
    pub(crate) fn truth(&self) -> Option<bool> {
        if let Self::Truth(truth) = self { Some(*truth) } else { None }
    }

    /// Whether it is an object.
    pub(crate) fn is_object(&self) -> bool {
        *self == Self::Object
    }

    /// The text, or the texts, if there are any.
    pub(crate) fn names(&self) -> Option<&[String]> {
        match self {
            Self::Nothing | Self::Truth(_) | Self::Object => None,
            Self::Text(name) => Some(std::slice::from_ref(name)),
            Self::Texts(names) => Some(names),
        }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Levels(LEVELS_MAX).deserialize(from)
    }
}

/// Reads a value of that many levels.
#[derive(Clone, Copy)]
struct Levels(usize);

impl Levels {
    fn below<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Levels {
    type Value = Loose;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Loose, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Levels {
    type Value = Loose;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Loose, E> {
        Ok(Loose::Truth(truth))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let below = self.below()?;
        let mut texts = Some(Vec::new());
        while let Some(item) = items.next_element_seed(below)? {
            match (&mut texts, item) {
                (Some(texts), Loose::Text(text)) => texts.push(text),
                _ => texts = None,
            }
        }
        Ok(texts.map_or(Loose::Nothing, Loose::Texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Loose, A::Error> {
        let below = self.below()?;
        while members.next_key::<serde::de::IgnoredAny>()?.is_some() {
            members.next_value_seed(below)?;
        }
        Ok(Loose::Object)
    }
}

#[cfg(test)]
mod tests {
    use chassis::json;

    use super::*;

    fn said(value: &str) -> Option<Loose> {
        #[derive(Deserialize)]
        struct Claims {
            #[serde(default)]
            claim: Loose,
        }
        json::object(format!(r#"{{"claim":{value}}}"#).as_bytes()).map(|Claims { claim }| claim)
    }

    #[test]
    fn what_is_neither_text_nor_truth_nor_an_object_says_nothing() {
        assert_eq!(said(r#""a\n""#), Some(Loose::Text("a\n".into())));
        assert_eq!(said(r#"["a","b"]"#), Some(Loose::Texts(vec!["a".into(), "b".into()])));
        assert_eq!(said("[]"), Some(Loose::Texts(Vec::new())));
        assert_eq!(said("true"), Some(Loose::Truth(true)));
        assert_eq!(said("false"), Some(Loose::Truth(false)));
        for object in ["{}", r#"{"a":"b"}"#] {
            assert_eq!(said(object), Some(Loose::Object), "{object}");
        }
        for nothing in ["null", "-1", "1", "1.5", r#"["a",1]"#, r#"[["a"]]"#, r#"[1,"a"]"#, "[{}]"] {
            assert_eq!(said(nothing), Some(Loose::Nothing), "{nothing}");
        }
    }

    #[test]
    fn a_private_name_of_serde_makes_no_text_of_an_object() {
        for name in
            ["$serde_json::private::RawValue", "$serde_json::private::Number", "$__toml_private_datetime"]
        {
            assert_eq!(said(&format!(r#"{{"{name}":"\"a@b\""}}"#)), Some(Loose::Object), "{name}");
        }
    }

    #[test]
    fn its_levels_are_bounded() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            assert!(said(&nested(LEVELS_MAX)).is_some());
            assert_eq!(said(&nested(LEVELS_MAX + 1)), None);
        }
    }
}
