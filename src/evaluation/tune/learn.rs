//! Fills a decoder's n-gram table without any data: the target generates prompts and answers them.

use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::distill::questions::{self, MAX_QUESTION};
use crate::engine::Generation;
use crate::error::Result;
use crate::evaluation::runner::Runner;
use crate::settings::{DraftKind, SpeculativeConfig};

/// The longest answer, in tokens.
const MAX_ANSWER: usize = 256;

/// Adds at least this many tokens that the target generates to a decoder's n-gram table; returns how many there were.
///
/// Prompts are sampled from where a user's message starts in the model's chat template, and answered greedily; without a
/// template, texts are sampled from an empty prompt. `run` is [`Stream::run`], or a function of the caller that also counts
/// or can be interrupted; `progress` receives the number of tokens so far.
pub fn learn(
    decoder: &SpeculativeDecoder,
    tokens: usize,
    seed: u64,
    run: impl Fn(Stream) -> Result<Generation>,
    progress: impl Fn(usize),
) -> Result<usize> {
    let runner = Runner::new(&run);
    let start = questions::start(decoder)?;
    let mut learned = 0;
    let mut seed = seed;
    let max_prompt = MAX_QUESTION.min(decoder.info().context_length / 4);
    while learned < tokens {
        seed = seed.wrapping_add(1);
        let sampled = SpeculativeConfig {
            seed: Some(seed),
            max_new_tokens: max_prompt,
            ..SpeculativeConfig::default()
        };
        let text = runner.generate(decoder, &start, &sampled)?.text;
        let prompt = decoder.prompt_tokens(questions::prompt(decoder, &text)?)?;
        let length = prompt.len();
        let answer = runner.generate(decoder, &Prompt::Tokens(prompt.clone()), &greedy())?;
        let text = [prompt, answer.token_ids()].concat();
        decoder.learn(text, length)?;
        // At least 1, so that a model that only generates empty answers ends too.
        learned += answer.tokens.len().max(1);
        progress(learned);
    }
    Ok(learned)
}

fn greedy() -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens: MAX_ANSWER,
        draft: Some(DraftKind::AUTO),
        ..SpeculativeConfig::default()
    }
}
