//! What a generation gives.

use std::fmt;

use serde::Serialize;

use super::stats::Stats;
use crate::settings::DraftKind;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model generated an end-of-text token or a stop string.
    Stop,
    /// `max_new_tokens` were generated, or the context is full.
    Length,
    /// The caller asked to end.
    Cancelled,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A generated token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The text it completed; empty in the middle of a character, and for special tokens.
    pub text: String,
    /// Natural logarithm of the probability that the target gave it, before any processor;
    /// `None` unless asked for.
    pub logprob: Option<f32>,
    /// The most probable tokens with their log-probabilities, best first.
    pub top_logprobs: Vec<(u32, f32)>,
    /// What each of those stands for alone.
    pub top_texts: Vec<String>,
    /// Where it came from: the target itself, or the drafter that proposed it.
    pub source: DraftKind,
    /// The step that accepted it, from 0.
    pub step: usize,
}

/// What one step adds to a generation.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Chunk {
    /// Text that is certain now: held back while it may be part of a stop string or a character.
    pub text: String,
    /// The step's tokens.
    pub tokens: Vec<Token>,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation {
    /// The text, without special tokens and stop string.
    pub text: String,
    /// The tokens, an end-of-text token included.
    pub tokens: Vec<Token>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Counts and times.
    pub stats: Stats,
}

impl Generation {
    /// The ids of the tokens.
    pub fn token_ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    /// The number of tokens from each source, in the order in which the sources appear.
    #[cfg(feature = "cli")]
    pub(crate) fn tokens_by_source(&self) -> Vec<(DraftKind, usize)> {
        let mut counts: Vec<(DraftKind, usize)> = Vec::new();
        for token in &self.tokens {
            match counts.iter_mut().find(|count| count.0 == token.source) {
                Some(count) => count.1 += 1,
                None => counts.push((token.source, 1)),
            }
        }
        counts
    }
}

#[cfg(all(test, feature = "cli"))]
impl Token {
    /// A token of which only text and source matter.
    pub(crate) fn of_source(text: &str, source: DraftKind) -> Self {
        Self {
            id: 0,
            text: text.to_owned(),
            logprob: None,
            top_logprobs: Vec::new(),
            top_texts: Vec::new(),
            source,
            step: 0,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
