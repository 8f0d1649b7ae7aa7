//! Who proposes tokens, by name: draft sources, and the target itself.

use std::fmt;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use super::choices::Choice;
use crate::error::{Error, Result};

/// A draft source, by its name in the [registry](crate::speculation::registry); or what stands for all of them, for none,
/// or for the target, to which its own tokens are attributed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftKind(u8);

/// What a kind is called.
struct Name {
    name: &'static str,
    /// Whether a request may ask for it.
    is_setting: bool,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $constant:ident = $name:literal, $is_setting:literal;)*) => {
        impl DraftKind {
            $($(#[doc = $doc])* pub const $constant: Self = Self(Number::$constant as u8);)*
        }

        /// The kinds' numbers: their order.
        #[allow(clippy::upper_case_acronyms)]
        enum Number {
            $($constant,)*
        }

        /// Their names, in the order of their numbers.
        const BUILT_IN: &[Name] = &[
            $(Name { name: $name, is_setting: $is_setting },)*
        ];
    };
}

kinds! {
    /// The target itself.
    TARGET = "target", false;
    /// Prompt lookup: what followed the last few tokens at an earlier position.
    NGRAM = "ngram", true;
    /// The decoder's draft model.
    MODEL = "model", true;
    /// The response format, where it leaves no choice.
    GRAMMAR = "grammar", false;
    /// The request's own prediction.
    PREDICTION = "prediction", true;
    /// What followed the same tokens in texts that the decoder learned from.
    TABLE = "table", true;
    /// What followed the same tokens in the texts that the operator gave.
    CORPUS = "corpus", true;
    /// What the target found probable after the same token before.
    RECYCLING = "recycling", true;
    /// A drafter that was handed to [`stream_with`](crate::SpeculativeDecoder::stream_with).
    CUSTOM = "custom", false;
}

/// The names that were registered, whose numbers follow those of the built-in ones.
static REGISTERED: RwLock<Vec<&'static str>> = RwLock::new(Vec::new());

impl DraftKind {
    /// No drafts: plain decoding.
    pub const NONE: Self = Self(u8::MAX);
    /// All of the decoder's sources together: step by step, the one with the best estimate.
    pub const AUTO: Self = Self(u8::MAX - 1);

    /// How many sources of tokens there may be.
    pub(crate) const MOST: usize = 24;

    /// The number of a source of tokens, below [`Self::MOST`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.0).min(Self::MOST - 1)
    }

    /// A kind of a new name.
    pub(crate) fn register(name: &'static str) -> Result<Self> {
        let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
        let known = BUILT_IN.iter().map(|built_in| built_in.name);
        let mut known = known
            .chain([Self::AUTO, Self::NONE].map(Self::name))
            .chain(registered.iter().copied());
        let letter = |letter: char| letter.is_ascii_lowercase() || "0123456789_-".contains(letter);
        if name.is_empty() || !name.chars().all(letter) || known.any(|known| known == name) {
            let expected = "a name of its own, of the letters a to z, 0 to 9, _ and -";
            return Err(Error::invalid("the draft source's name", name, expected));
        }
        let number = BUILT_IN.len() + registered.len();
        if number == Self::MOST {
            let expected = format!("at most {} in a process", Self::MOST - BUILT_IN.len());
            return Err(Error::invalid("registered draft sources", number, expected));
        }
        registered.push(name);
        Ok(Self(number as u8))
    }

    /// The kind of a name, whether or not a request may ask for it.
    #[cfg(feature = "python")]
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let registered = REGISTERED
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        let sources = (0..BUILT_IN.len() + registered).map(|number| Self(number as u8));
        let mut kinds = sources.chain([Self::AUTO, Self::NONE]);
        kinds.find(|kind| kind.name() == name)
    }

    /// The source's name.
    pub fn name(self) -> &'static str {
        if self == Self::AUTO {
            return "auto";
        }
        if self == Self::NONE {
            return "none";
        }
        let number = usize::from(self.0);
        match BUILT_IN.get(number) {
            Some(built_in) => built_in.name,
            None => {
                let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
                registered[number - BUILT_IN.len()]
            }
        }
    }
}

impl Choice for DraftKind {
    const SETTING: &'static str = "draft";

    fn all() -> Vec<Self> {
        let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
        let built_in = (0..).zip(BUILT_IN).filter(|(_, kind)| kind.is_setting);
        let registered =
            (BUILT_IN.len()..BUILT_IN.len() + registered.len()).map(|index| index as u8);
        let numbers = built_in.map(|(number, _)| number).chain(registered);
        [Self::AUTO, Self::NONE]
            .into_iter()
            .chain(numbers.map(Self))
            .collect()
    }
}

impl fmt::Display for DraftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for DraftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DraftKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

impl serde::Serialize for DraftKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for DraftKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_name(deserializer)
    }
}

#[cfg(feature = "server")]
impl schemars::JsonSchema for DraftKind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DraftKind".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "enum": Self::names() })
    }
}
