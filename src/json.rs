//! The JSON of a model's files. A name twice in one object is refused: parsers differ in which of the two counts, so that one
//! program would check another model than the next one runs.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess};

use crate::error::{Error, Result};

/// Parses a file's text; an error names the file.
pub(crate) fn parse<T: DeserializeOwned>(file: &Path, text: &[u8]) -> Result<T> {
    let parsed = check_names(text).and_then(|()| serde_json::from_slice(text));
    parsed.map_err(|error| Error::corrupt(file, error.to_string()))
}

/// The same of a config.json, in which Python may have written infinities: they become null.
pub(crate) fn parse_config(file: &Path, text: &[u8]) -> Result<serde_json::Value> {
    parse(file, &without_infinities(text))
}

/// Text with null for what Python writes for numbers that JSON lacks.
fn without_infinities(text: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut rest = text;
    let mut written = Vec::with_capacity(text.len());
    let (mut in_string, mut is_escaped) = (false, false);
    while let Some((first, after)) = rest.split_first() {
        let word = WORDS
            .iter()
            .find(|word| !in_string && rest.starts_with(word));
        if let Some(word) = word {
            written.extend(b"null");
            rest = &rest[word.len()..];
            continue;
        }
        in_string ^= *first == b'"' && !is_escaped;
        is_escaped = in_string && *first == b'\\' && !is_escaped;
        written.push(*first);
        rest = after;
    }
    written
}

/// Fails for text that is not JSON, or has an object with a name twice.
pub(crate) fn check_names(text: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice(text).map(|UniqueNames| ())
}

/// A value each of whose objects has every name once.
struct UniqueNames;

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> serde::de::Visitor<'de> for Visitor {
    type Value = UniqueNames;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<UniqueNames, E> {
        Ok(UniqueNames)
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueNames, E> {
        Ok(UniqueNames)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueNames, E> {
        Ok(UniqueNames)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueNames, E> {
        Ok(UniqueNames)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueNames, E> {
        Ok(UniqueNames)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueNames, E> {
        Ok(UniqueNames)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<UniqueNames, A::Error> {
        while list.next_element::<UniqueNames>()?.is_some() {}
        Ok(UniqueNames)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<UniqueNames, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!(
                    "{twice:?} is there twice, once is expected"
                )));
            }
            object.next_value::<UniqueNames>()?;
        }
        Ok(UniqueNames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_become_null_but_in_strings() {
        let text = br#"{"a": [0.0, Infinity, -Infinity, NaN], "b\"NaN": "Infinity \\"}"#;
        let expected = br#"{"a": [0.0, null, null, null], "b\"NaN": "Infinity \\"}"#;
        assert_eq!(without_infinities(text), expected);
    }

    #[test]
    fn names_are_unique_in_their_object() {
        for good in [
            "null",
            "-1",
            "2.5",
            r#""a""#,
            r#"[{"a": 1}, {"a": 2}]"#,
            r#"{"a": {"a": [1, true]}, "b": {}}"#,
        ] {
            check_names(good.as_bytes()).unwrap();
        }
        for twice in [
            r#"{"name": 1, "name": 1}"#,
            r#"{"name": 1, "b": 2, "n\u0061me": 3}"#,
            r#"[0, {"a": {"name": 1, "name": {}}}]"#,
        ] {
            let error = parse::<serde_json::Value>(Path::new("f.json"), twice.as_bytes());
            let error = error.unwrap_err().to_string();
            assert!(error.contains("f.json: \"name\" is there twice"), "{error}");
        }
        assert!(check_names(b"{\"a\": }").is_err());
        assert!(check_names(&[b'['].repeat(1_000_000)).is_err());
    }
}
