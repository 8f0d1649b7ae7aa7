//! A draft that is the target itself, made cheaper.

use std::ops::RangeInclusive;

use crate::backend::WeightPrecision;
use crate::error::{Error, Result};

/// How such a draft is named.
const PREFIX: &str = "self:";

/// What precedes the length of a window.
const WINDOW: &str = "window=";

/// Layers that are read from a name at most: more than any model has.
const MAX_LAYERS: usize = 4096;

/// The target as its own draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SelfDraft {
    /// Some of its layers, counted from 0; they take no memory of their own.
    Layers(Vec<usize>),
    /// All of it, quantized further.
    Quantized(WeightPrecision),
    /// All of it, which has only so many of the last tokens of a long text.
    Window(usize),
}

impl SelfDraft {
    /// What a draft's name asks for; `None`: another draft.
    pub(super) fn parse(name: &str) -> Result<Option<Self>> {
        let Some(what) = name.strip_prefix(PREFIX) else {
            return Ok(None);
        };
        if let Some(tokens) = what.strip_prefix(WINDOW) {
            return match tokens.parse() {
                Ok(tokens @ 1..) => Ok(Some(Self::Window(tokens))),
                _ => {
                    let expected = "how many of the last tokens it has, as in \"self:window=1024\"";
                    Err(Error::invalid("draft", name, expected))
                }
            };
        }
        let ranges: Option<Vec<_>> = what.split(',').map(range).collect();
        if let Some(ranges) = ranges {
            let layers: Vec<usize> = ranges.into_iter().flatten().take(MAX_LAYERS + 1).collect();
            if !layers.is_empty() && layers.len() <= MAX_LAYERS {
                return Ok(Some(Self::Layers(layers)));
            }
        } else if let Ok(precision) = WeightPrecision::from_names(None, Some(what)) {
            return Ok(Some(Self::Quantized(precision)));
        }
        let expected = "layers of the target, as in \"self:0-9,26-29\", a format to quantize it to, as in \"self:q4_0\", or a window, as in \"self:window=1024\"";
        Err(Error::invalid("draft", name, expected))
    }
}

/// A layer, or the first and the last of several.
fn range(text: &str) -> Option<RangeInclusive<usize>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_layers_or_formats() {
        let parsed = |name: &str| SelfDraft::parse(name).unwrap();
        let layers = |layers: &[usize]| Some(SelfDraft::Layers(layers.to_vec()));
        assert_eq!(parsed("self:0-2,7"), layers(&[0, 1, 2, 7]));
        assert_eq!(parsed("self: 3 "), layers(&[3]));
        assert!(matches!(parsed("self:q4_0"), Some(SelfDraft::Quantized(_))));
        assert_eq!(parsed("self:window=64"), Some(SelfDraft::Window(64)));
        assert_eq!(parsed("myself:1"), None);
        for wrong in [
            "self:",
            "self:5-4",
            "self:0-99999999999",
            "self:q9",
            "self:0-9;12",
            "self:-1",
            "self:window=0",
            "self:window=many",
        ] {
            let message = SelfDraft::parse(wrong).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("invalid draft = {wrong}:")),
                "{message}"
            );
        }
    }
}
