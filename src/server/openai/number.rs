//! Numbers as clients send them: some languages write integers as floats.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// An integer from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Count(pub(in crate::server) usize);

/// An integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Integer(pub(super) i128);

/// A number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number(pub(super) f64);

/// The maximum number of an answer's tokens; -1 is no limit, as in llama.cpp and LM Studio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Tokens(usize),
    None,
}

/// Reads any number.
struct AnyNumber(&'static str);

/// A number as JSON has it.
enum Parsed {
    Integer(i128),
    Float(f64),
}

impl Visitor<'_> for AnyNumber {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Parsed, E> {
        // Whole numbers that a float holds exactly.
        const MAX: f64 = (1_u64 << 53) as f64;
        Ok(match value.fract() == 0.0 && value.abs() <= MAX {
            true => Parsed::Integer(value as i128),
            false => Parsed::Float(value),
        })
    }
}

/// An integer from `min` on; an error says what is expected.
fn integer<'de, D: Deserializer<'de>>(
    deserializer: D,
    min: i128,
    expected: &'static str,
) -> Result<i128, D::Error> {
    match deserializer.deserialize_any(AnyNumber(expected))? {
        Parsed::Integer(value) if value >= min => Ok(value),
        Parsed::Integer(value) => {
            let value = Unexpected::Signed(value as i64);
            Err(D::Error::invalid_value(value, &expected))
        }
        Parsed::Float(value) => Err(D::Error::invalid_value(Unexpected::Float(value), &expected)),
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = integer(deserializer, 0, "an integer >= 0")?;
        Ok(Self(usize::try_from(value).unwrap_or(usize::MAX)))
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer(deserializer, i128::MIN, "an integer").map(Self)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = integer(deserializer, -1, "an integer >= 0, or -1 for no limit")?;
        Ok(match usize::try_from(value) {
            Ok(tokens) => Self::Tokens(tokens),
            Err(_) if value < 0 => Self::None,
            Err(_) => Self::Tokens(usize::MAX),
        })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            match deserializer.deserialize_any(AnyNumber("a number"))? {
                Parsed::Integer(value) => value as f64,
                Parsed::Float(value) => value,
            },
        ))
    }
}

macro_rules! describe {
    ($($type:ident: $schema:expr;)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        })*
    };
}

describe! {
    Count: json_schema!({"type": "integer", "minimum": 0});
    Integer: json_schema!({"type": "integer"});
    Limit: json_schema!({"type": "integer", "minimum": -1});
    Number: json_schema!({"type": "number"});
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_floats_are_integers() {
        let count = |value| serde_json::from_value::<Count>(value).map(|Count(count)| count);
        assert_eq!(count(json!(16)).unwrap(), 16);
        assert_eq!(count(json!(16.0)).unwrap(), 16);
        for (wrong, named) in [
            (json!(1.5), "1.5"),
            (json!(-1), "-1"),
            (json!("8"), "\"8\""),
        ] {
            let message = count(wrong).unwrap_err().to_string();
            assert!(
                message.contains(named) && message.contains("an integer >= 0"),
                "{message}"
            );
        }
    }

    #[test]
    fn minus_one_is_no_limit() {
        let limit = |value| serde_json::from_value::<Limit>(value).ok();
        assert_eq!(limit(json!(-1)), Some(Limit::None));
        assert_eq!(limit(json!(-1.0)), Some(Limit::None));
        assert_eq!(limit(json!(7)), Some(Limit::Tokens(7)));
        assert_eq!(limit(json!(-2)), None);
    }
}
