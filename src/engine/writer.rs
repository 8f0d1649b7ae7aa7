//! From token ids to an answer: text, stop strings, end-of-text tokens, log-probabilities.

use super::output::{Chunk, Token};
use super::stop::StopMatcher;
use crate::error::Result;
use crate::model::LogitsRow;
use crate::sampling::top_k;
use crate::settings::DraftKind;
use crate::settings::SpeculativeConfig;
use crate::text::{Detokenizer, Tokenizer};

/// The answer so far, and the text that is still held back.
pub(super) struct Writer {
    tokenizer: Tokenizer,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    eos: Vec<u32>,
    logprobs: Option<usize>,
    text: String,
    tokens: Vec<Token>,
}

impl Writer {
    /// An empty answer.
    pub(super) fn new(tokenizer: &Tokenizer, config: &SpeculativeConfig) -> Self {
        Self {
            detokenizer: tokenizer.detokenizer(true, true),
            tokenizer: tokenizer.clone(),
            stop: StopMatcher::new(&config.stop),
            eos: match config.ignore_eos {
                true => Vec::new(),
                false => tokenizer.eos_token_ids().to_vec(),
            },
            logprobs: config.logprobs,
            text: String::new(),
            tokens: Vec::new(),
        }
    }

    /// The tokens delivered so far.
    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Adds a token, chosen by such logits, to a step's chunk; `true` if the text stops with it.
    pub(super) fn push(
        &mut self,
        id: u32,
        source: DraftKind,
        step: usize,
        logits: LogitsRow<'_>,
        chunk: &mut Chunk,
    ) -> Result<bool> {
        let text = self.detokenizer.push(id)?;
        chunk.text.push_str(&self.stop.push(&text));
        let (logprob, top_logprobs) = match self.logprobs {
            Some(count) => logprobs(logits.values()?, id, count),
            None => (None, Vec::new()),
        };
        let top_texts = top_logprobs
            .iter()
            .map(|(id, _)| self.tokenizer.token_text(*id).unwrap_or_default())
            .collect();
        chunk.tokens.push(Token {
            id,
            text,
            logprob,
            top_logprobs,
            top_texts,
            source,
            step,
        });
        Ok(self.stop.stopped() || self.eos.contains(&id))
    }

    /// Adds the text that was held back to the last chunk.
    pub(super) fn finish(&mut self, chunk: &mut Chunk) -> Result<()> {
        let rest = self.detokenizer.finish()?;
        chunk.text.push_str(&self.stop.push(&rest));
        chunk.text.push_str(&self.stop.finish());
        Ok(())
    }

    /// Adds a chunk to the answer.
    pub(super) fn deliver(&mut self, chunk: &Chunk) {
        self.text.push_str(&chunk.text);
        self.tokens.extend_from_slice(&chunk.tokens);
    }

    /// The answer's text and tokens.
    pub(super) fn into_parts(self) -> (String, Vec<Token>) {
        (self.text, self.tokens)
    }
}

/// The log-probability of a token, and the `count` most probable tokens with theirs.
fn logprobs(logits: &[f32], token: u32, count: usize) -> (Option<f32>, Vec<(u32, f32)>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - highest).exp())
        .sum();
    let normalizer = f64::from(highest) + total.ln();
    let logprob = |token: u32| (f64::from(logits[token as usize]) - normalizer) as f32;
    let best = top_k(logits, count).into_iter();
    let best = best.map(|token| (token, logprob(token)));
    (Some(logprob(token)), best.collect())
}
