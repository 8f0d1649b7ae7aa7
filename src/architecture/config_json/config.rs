//! Looks fields up in a config.json, and what its family takes for those that are left out.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value};

use crate::architecture::keys::{self, Key};
use crate::error::{Error, Result};

/// What every file says of its whole model, but not of a multimodal one's decoder.
const SIZES: [&Key; 5] = [
    &keys::VOCAB_SIZE,
    &keys::HIDDEN_SIZE,
    &keys::LAYERS,
    &keys::HEADS,
    &keys::INTERMEDIATE_SIZE,
];

/// A config.json's fields, and what its family takes for those that are left out.
pub(super) struct Config<'a> {
    pub(super) fields: &'a Map<String, Value>,
    pub(super) defaults: &'static Map<String, Value>,
    /// Whether these are a multimodal model's, of its decoder.
    pub(super) is_part: bool,
    pub(super) file: &'a Path,
}

impl Config<'_> {
    /// A key's value, under the first of its names that has one: stated, or else the family's.
    pub(super) fn value(&self, key: &Key) -> Option<(&'static str, &Value)> {
        let is_required = !self.is_part && SIZES.iter().any(|size| size.json == key.json);
        // A null says that there is no such thing.
        let is_stated = key.json.iter().any(|name| self.fields.contains_key(*name));
        match is_required || is_stated {
            true => value_among(self.fields, key),
            false => value_among(self.defaults, key),
        }
    }

    /// A field, stated or the family's.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        let field = self.fields.get(name).or_else(|| self.defaults.get(name));
        field.filter(|value| !value.is_null())
    }

    pub(super) fn positive(&self, name: &str) -> Result<Option<f64>> {
        let number = self
            .field(name)
            .map(|value| self.checked_number(name, value));
        number.transpose()
    }

    pub(super) fn checked_number(&self, name: &str, value: &Value) -> Result<f64> {
        match value.as_f64() {
            Some(number) if number > 0.0 => Ok(number),
            _ => Err(self.wrong_value(name, "a positive number", value)),
        }
    }

    pub(super) fn checked_size(&self, name: &str, value: &Value) -> Result<usize> {
        match whole_number(value) {
            Some(size) if (1..=keys::MAX_SIZE).contains(&size) => Ok(size as usize),
            _ => {
                let expected = format!("an integer in 1..={}", keys::MAX_SIZE);
                Err(self.wrong_value(name, &expected, value))
            }
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.field(name).and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn list(&self, name: &str) -> Option<&Vec<Value>> {
        self.fields.get(name).and_then(Value::as_array)
    }

    /// A list of some of the layers' numbers.
    pub(super) fn layer_list(&self, name: &str, layers: usize) -> Result<Option<&Vec<Value>>> {
        match self.list(name) {
            Some(list) if list.len() > layers => {
                let expected = format!("at most {layers} entries");
                Err(self.wrong_value(name, &expected, &list.len()))
            }
            list => Ok(list),
        }
    }

    pub(super) fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.fields.get(name).and_then(Value::as_object)
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.file.display().to_string(), reason)
    }

    pub(super) fn wrong_value(&self, name: &str, expected: &str, found: &dyn Display) -> Error {
        let reason = format!("`{name}` is {found}, expected {expected}");
        Error::corrupt(self.file, reason)
    }
}

/// The first of a key's names that has a value, and that.
fn value_among<'a>(fields: &'a Map<String, Value>, key: &Key) -> Option<(&'static str, &'a Value)> {
    key.json.iter().find_map(|name| {
        let value = fields.get(*name).filter(|value| !value.is_null());
        value.map(|value| (*name, value))
    })
}

/// A value that is a whole number, which some files write as a float.
pub(super) fn whole_number(value: &Value) -> Option<u64> {
    let float = || {
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && *number >= 0.0)
    };
    value
        .as_u64()
        .or_else(|| float().map(|number| number as u64))
}
