//! A draft that is the target itself, made cheaper.

use std::ops::RangeInclusive;

/// How such a draft is named.
const PREFIX: &str = "self:";

/// Layers that are read from a name at most: more than any model has.
const MOST_LAYERS: usize = 4096;

/// The target as its own draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SelfDraft {
    /// Some of its layers, counted from 0; they take no memory of their own.
    Layers(Vec<usize>),
    /// All of it, quantized further.
    Quantized(String),
}

impl SelfDraft {
    /// What a draft's name asks for: "self:0-9,26-29" or `self:q4_0`; `None`: another draft.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let what = name.strip_prefix(PREFIX)?;
        let ranges: Option<Vec<_>> = what.split(',').map(range).collect();
        Some(match ranges {
            Some(ranges) => Self::Layers(ranges.into_iter().flatten().take(MOST_LAYERS).collect()),
            None => Self::Quantized(what.to_owned()),
        })
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
        let layers = |layers: &[usize]| Some(SelfDraft::Layers(layers.to_vec()));
        assert_eq!(SelfDraft::parse("self:0-2,7"), layers(&[0, 1, 2, 7]));
        assert_eq!(SelfDraft::parse("self: 3 "), layers(&[3]));
        assert_eq!(SelfDraft::parse("self:5-4"), layers(&[]));
        let endless = SelfDraft::parse("self:0-99999999999");
        assert!(matches!(endless, Some(SelfDraft::Layers(layers)) if layers.len() == 4096));
        let format = |name: &str| Some(SelfDraft::Quantized(name.to_owned()));
        assert_eq!(SelfDraft::parse("self:q4_0"), format("q4_0"));
        assert_eq!(SelfDraft::parse("self:"), format(""));
        assert_eq!(SelfDraft::parse("myself:1"), None);
    }
}
