//! What a head learns from: tokens of the target's answers, with its hidden states of them.

use half::bf16;

use super::texts::Text;
use crate::decoder::SpeculativeDecoder;
use crate::error::Result;

/// Consecutive tokens from each of which the head drafts.
pub(super) const ROWS: usize = 32;

/// How many tokens the head drafts from each.
pub(super) const STEPS: usize = 3;

/// Tokens whose hidden states an example has: those that are drafted from, and those after the last of them that the head reads.
pub(super) const TOKENS: usize = ROWS + STEPS;

/// Consecutive tokens of one text.
pub(super) struct Example {
    /// [`TOKENS`] of them, and the next one.
    pub(super) tokens: Vec<u32>,
    /// The target's hidden states, `[TOKENS][layers][hidden size]`.
    pub(super) hidden: Vec<bf16>,
}

impl Example {
    /// The bytes of an example of so many values a token.
    pub(super) fn bytes(width: usize) -> usize {
        (TOKENS + 1) * size_of::<u32>() + TOKENS * width * size_of::<bf16>()
    }
}

/// Where the examples of a text begin; the last one may overlap the one before it. An answer that is too short has none.
fn starts(text: &Text) -> impl Iterator<Item = usize> + use<> {
    // The head drafts its first token from the state of the prompt's last one.
    let first = text.prompt.saturating_sub(1);
    let last = match text.answer().len() > TOKENS {
        true => Some(text.tokens.len() - (TOKENS + 1)),
        false => None,
    };
    last.into_iter()
        .flat_map(move |last| (first..last).step_by(ROWS).chain([last]))
}

/// How many examples a text has.
pub(super) fn count(text: &Text) -> usize {
    starts(text).count()
}

/// Lets the target read a text, and captures its hidden states before these layers; those of the answer become examples.
pub(super) fn examples(
    decoder: &SpeculativeDecoder,
    layers: &[usize],
    text: &Text,
) -> Result<Vec<Example>> {
    if count(text) == 0 {
        return Ok(Vec::new());
    }
    let mut sequence = decoder.sequence();
    sequence.capture(layers);
    let logits = sequence.extend(&text.tokens, 1)?;
    let width = logits.hidden().len() / text.tokens.len();
    let example = |start: usize| {
        let hidden = &logits.hidden()[start * width..][..TOKENS * width];
        Example {
            tokens: text.tokens[start..=start + TOKENS].to_vec(),
            hidden: hidden.iter().copied().map(bf16::from_f32).collect(),
        }
    };
    Ok(starts(text).map(example).collect())
}
