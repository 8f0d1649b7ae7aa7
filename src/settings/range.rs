//! The values that a setting may have.

use std::fmt;

use crate::response_format::ResponseFormat;
use crate::settings::{DraftKind, Verification};

/// The values that a setting may have, beyond what its type allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Range {
    /// All values of the type.
    Any,
    /// Finite numbers.
    Finite,
    /// Finite numbers from this one on.
    AtLeast(f64),
    /// Finite numbers greater than this one.
    Above(f64),
    /// From the first to the second, both included.
    Within(f64, f64),
    /// From the first, itself excluded, to the second.
    AboveUpTo(f64, f64),
    /// Integers from 0 to this one.
    UpTo(usize),
    /// Numbers, infinite ones included.
    Numbers,
    /// Texts of one byte to so many.
    Lengths(usize),
}

impl Range {
    fn contains(self, value: f64) -> bool {
        match self {
            Self::Any | Self::Lengths(_) => true,
            Self::Finite => value.is_finite(),
            Self::AtLeast(min) => value.is_finite() && value >= min,
            Self::Above(min) => value.is_finite() && value > min,
            Self::Within(min, max) => (min..=max).contains(&value),
            Self::AboveUpTo(min, max) => value > min && value <= max,
            Self::UpTo(max) => (0.0..=max as f64).contains(&value),
            Self::Numbers => !value.is_nan(),
        }
    }

    /// The keywords of JSON Schema that say the same.
    #[cfg(feature = "server")]
    pub(crate) fn keywords(self) -> Vec<(&'static str, serde_json::Value)> {
        // Whole numbers are written without a fraction.
        let number = |value: f64| match value.fract() == 0.0 {
            true => serde_json::json!(value as i64),
            false => serde_json::json!(value),
        };
        match self {
            Self::Any | Self::Finite | Self::Numbers | Self::Lengths(_) => Vec::new(),
            Self::AtLeast(min) => vec![("minimum", number(min))],
            Self::Above(min) => vec![("exclusiveMinimum", number(min))],
            Self::Within(min, max) => vec![("minimum", number(min)), ("maximum", number(max))],
            Self::AboveUpTo(min, max) => {
                vec![("exclusiveMinimum", number(min)), ("maximum", number(max))]
            }
            Self::UpTo(max) => vec![("minimum", 0.into()), ("maximum", max.into())],
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Finite => f.write_str("a finite number"),
            Self::AtLeast(min) => write!(f, "a finite number >= {min}"),
            Self::Above(min) => write!(f, "a finite number > {min}"),
            Self::Within(min, max) => write!(f, "a number in [{min}, {max}]"),
            Self::AboveUpTo(min, max) => write!(f, "a number in ({min}, {max}]"),
            Self::UpTo(max) => write!(f, "an integer from 0 to {max}"),
            Self::Numbers => f.write_str("numbers"),
            Self::Lengths(max) => write!(f, "strings of 1 to {max} bytes"),
        }
    }
}

/// A type of settings.
pub(crate) trait Ranged {
    /// What is outside of the range, if anything is.
    fn outside(&self, _range: Range) -> Option<String> {
        None
    }
}

impl Ranged for f64 {
    fn outside(&self, range: Range) -> Option<String> {
        (!range.contains(*self)).then(|| self.to_string())
    }
}

impl Ranged for usize {
    fn outside(&self, range: Range) -> Option<String> {
        (!range.contains(*self as f64)).then(|| self.to_string())
    }
}

impl Ranged for Option<usize> {
    fn outside(&self, range: Range) -> Option<String> {
        let value = self.filter(|value| !range.contains(*value as f64));
        value.map(|value| value.to_string())
    }
}

impl Ranged for Vec<(u32, f64)> {
    fn outside(&self, range: Range) -> Option<String> {
        let mut biases = self.iter();
        let outside = biases.find(|(_, bias)| !range.contains(*bias));
        outside.map(|(token, bias)| format!("{{{token}: {bias}}}"))
    }
}

impl Ranged for Vec<String> {
    fn outside(&self, range: Range) -> Option<String> {
        let Range::Lengths(max) = range else {
            return None;
        };
        let outside = self
            .iter()
            .find(|text| text.is_empty() || text.len() > max)?;
        Some(match outside.len() {
            0 => "\"\"".to_owned(),
            length => format!("a string of {length} bytes"),
        })
    }
}

// Every value of these is in range.
impl Ranged for bool {}
impl Ranged for Option<u64> {}
impl Ranged for Option<String> {}
impl Ranged for Option<DraftKind> {}
impl Ranged for Option<ResponseFormat> {}
impl Ranged for Verification {}
