//! Texts for a decoder's table, without any data: the target asks itself questions, and answers them.

use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::Generation;
use crate::error::Result;
use crate::settings::{DraftKind, SpeculativeConfig};
use crate::text::Message;

/// Longest question and longest answer, in tokens.
const QUESTION: usize = 64;
const ANSWER: usize = 256;

/// Lets a decoder learn from so many tokens that its target writes; returns how many there were.
///
/// Questions are sampled from where a user's turn begins in the model's chat template, and answered greedily; without a
/// template texts are sampled from the beginning. `run` is [`Stream::run`], or that of a caller who watches; `progress` is
/// told how many tokens there are.
pub fn learn(
    decoder: &SpeculativeDecoder,
    tokens: usize,
    seed: u64,
    run: impl Fn(Stream) -> Result<Generation>,
    progress: impl Fn(usize),
) -> Result<usize> {
    let mut learned = 0;
    let mut seed = seed;
    let question = QUESTION.min(decoder.info().context_length / 4);
    while learned < tokens {
        seed = seed.wrapping_add(1);
        let sampled = SpeculativeConfig {
            seed: Some(seed),
            max_new_tokens: question,
            ..SpeculativeConfig::default()
        };
        let begun = run(decoder.stream(turn(decoder)?, &sampled)?)?;
        let (prompt, config) = match decoder.tokenizer().chat_template() {
            Some(_) => {
                let question = Message::new("user", begun.text.trim());
                (decoder.chat_prompt(&[question])?, greedy())
            }
            None => (Prompt::Text(begun.text), greedy()),
        };
        let prompt = decoder.prompt_tokens(prompt)?;
        let answer = run(decoder.stream(prompt.clone(), &config)?)?;
        let text = [&prompt[..], &answer.token_ids()].concat();
        decoder.learn(text, prompt.len())?;
        // A model that writes nothing at all ends too.
        learned += answer.tokens.len().max(1);
        progress(learned);
    }
    Ok(learned)
}

fn greedy() -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens: ANSWER,
        draft: Some(DraftKind::Auto),
        ..SpeculativeConfig::default()
    }
}

/// Where a user begins to write.
fn turn(decoder: &SpeculativeDecoder) -> Result<Prompt> {
    /// Stands for what the user writes.
    const WORDS: &str = "WORDS";
    let tokenizer = decoder.tokenizer();
    let Some(template) = tokenizer.chat_template() else {
        return Ok(Prompt::Text(String::new()));
    };
    let text = template.render(&[Message::new("user", WORDS)], false)?;
    let before = text.split(WORDS).next().unwrap_or_default();
    Ok(match tokenizer.encode(before, false)? {
        nothing if nothing.is_empty() => Prompt::Text(String::new()),
        tokens => Prompt::Tokens(tokens),
    })
}
