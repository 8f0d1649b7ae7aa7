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
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.tokens[..]) + size_of_val(&self.hidden[..])
    }
}

/// Lets the target read a text, and captures its hidden states before these layers; those of the answer become examples, of which
/// the last one may overlap the one before it. A shorter answer gives none.
pub(super) fn examples(
    decoder: &SpeculativeDecoder,
    layers: &[usize],
    text: &Text,
) -> Result<Vec<Example>> {
    if text.answer().len() <= TOKENS {
        return Ok(Vec::new());
    }
    let mut sequence = decoder.sequence();
    sequence.capture(layers);
    let logits = sequence.extend(&text.tokens, 1)?;
    let width = logits.hidden().len() / text.tokens.len();
    // The first draft follows the prompt's last token.
    let first = text.prompt.saturating_sub(1);
    let last = text.tokens.len() - (TOKENS + 1);
    let starts = (first..last).step_by(ROWS).chain([last]);
    let example = |start: usize| {
        let hidden = &logits.hidden()[start * width..][..TOKENS * width];
        Example {
            tokens: text.tokens[start..=start + TOKENS].to_vec(),
            hidden: hidden.iter().copied().map(bf16::from_f32).collect(),
        }
    };
    Ok(starts.map(example).collect())
}
