//! Answers: to a message, to the same one again, and the rest of one that was cut off.

use std::io::{self, IsTerminal};

use super::{Chat, ROOM};
use crate::cli::answer::interrupted;
use crate::cli::error::{CliError, Outcome};
use crate::cli::terminal::note;
use crate::cli::wrap::Wrapper;
use crate::decoder::SpeculativeDecoder;
use crate::engine::{FinishReason, Generation};
use crate::error::Result;
use crate::settings::SpeculativeConfig;
use crate::text::RenderOptions;

/// An answer, with what it takes to continue it.
pub(super) struct Reply {
    /// The tokens that it answers.
    prompt: Vec<u32>,
    /// Its own tokens.
    tokens: Vec<u32>,
    /// Its last part: all of it, unless it was continued.
    pub(super) generation: Generation,
}

/// The part of an answer that is there already.
#[derive(Default)]
struct Prefix {
    tokens: Vec<u32>,
    text: String,
}

impl Chat<'_> {
    /// Answers a message; after an error the conversation is unchanged.
    pub(super) fn answer(&mut self, message: String) -> Outcome {
        self.or_as_before(|chat| {
            chat.conversation.ask(message);
            chat.answer_the_last()
        })
    }

    /// Answers the last message again.
    pub(super) fn retry(&mut self) -> Outcome {
        self.or_as_before(|chat| {
            chat.conversation.forget_answer();
            if !chat.conversation.awaits_an_answer() {
                return Err(CliError::Usage("there is no message to answer".into()));
            }
            if chat.interactive && chat.config.is_greedy() {
                note("(greedy decoding repeats itself; /set temperature 0.7 samples)");
            }
            chat.answer_the_last()
        })
    }

    /// Continues the last answer, from its own tokens.
    pub(super) fn more(&mut self) -> Outcome {
        let usage = |message: &str| Err(CliError::Usage(message.into()));
        let Some(reply) = &self.reply else {
            return usage("there is no answer to continue");
        };
        if reply.generation.finish_reason == FinishReason::Stop {
            return usage("the answer is complete: there is nothing to continue");
        }
        if self.config.response_format.is_some() {
            return usage(
                "an answer that is constrained to a format cannot be continued: raise max_new_tokens with /set, then /retry",
            );
        }
        let prefix = whole_characters(&self.decoder, &reply.tokens)?;
        let mut config = self.config.clone();
        let again = reply.tokens.len() - prefix.tokens.len();
        config.max_new_tokens = config.max_new_tokens.saturating_add(again);
        let prompt = reply.prompt.clone();
        self.or_as_before(|chat| {
            chat.conversation.forget_answer();
            chat.generate(prompt, prefix, &config)
        })
    }

    /// Does something to the conversation, or nothing if there is an error.
    fn or_as_before(&mut self, change: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        let before = self.conversation.clone();
        let changed = change(self);
        if changed.is_err() {
            self.conversation = before;
        }
        changed
    }

    fn answer_the_last(&mut self) -> Outcome {
        let options = RenderOptions::default();
        let prompt = self
            .decoder
            .chat_prompt(self.conversation.messages(), &options)?;
        let prompt = self.decoder.prompt_tokens(prompt)?;
        let config = self.config.clone();
        self.generate(prompt, Prefix::default(), &config)
    }

    /// Shows the answer, or what follows its prefix, and adds it to the conversation.
    fn generate(
        &mut self,
        prompt: Vec<u32>,
        prefix: Prefix,
        config: &SpeculativeConfig,
    ) -> Outcome {
        let Prefix { mut tokens, text } = prefix;
        let stream = self
            .decoder
            .stream([&prompt[..], &tokens].concat(), config)?;
        let mut wrapper = self.wrapped.then(|| Wrapper::after(&text));
        let generation = self.output.show(stream, wrapper.as_mut())?;
        if interrupted(&generation) && !io::stdin().is_terminal() {
            return Err(CliError::Interrupted);
        }
        tokens.extend(generation.token_ids());
        if interrupted(&generation) && tokens.is_empty() {
            return Err(CliError::Usage("stopped before the answer began".into()));
        }
        self.conversation.answer(text + &generation.text);
        if !self.output.is_json() {
            self.note_the_end(&generation, tokens.len(), config);
        }
        self.reply = Some(Reply {
            prompt,
            tokens,
            generation,
        });
        Ok(())
    }

    /// Says why an answer of so many tokens ended, unless the model ended it.
    fn note_the_end(&self, generation: &Generation, tokens: usize, config: &SpeculativeConfig) {
        let full = generation.tokens.len() < config.max_new_tokens;
        match generation.finish_reason {
            FinishReason::Stop => {}
            FinishReason::Cancelled => note("(stopped; /more continues)"),
            FinishReason::Length if full => {
                let context = self.decoder.info().context_length;
                note(&format!(
                    "(the context of {context} tokens is full: {ROOM})"
                ));
            }
            FinishReason::Length => note(&format!("(cut off at {tokens} tokens; /more continues)")),
        }
    }
}

/// The tokens up to the last that ends a character, and their text: the rest of a character is generated again.
fn whole_characters(decoder: &SpeculativeDecoder, tokens: &[u32]) -> Result<Prefix> {
    let mut detokenizer = decoder.tokenizer().detokenizer(true, true);
    let mut text = String::new();
    let mut whole = (0, 0);
    for (index, token) in tokens.iter().enumerate() {
        text.push_str(&detokenizer.push(*token)?);
        if !detokenizer.is_within_a_character() {
            whole = (index + 1, text.len());
        }
    }
    text.truncate(whole.1);
    Ok(Prefix {
        tokens: tokens[..whole.0].to_vec(),
        text,
    })
}
