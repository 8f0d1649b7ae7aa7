//! Questions out of nothing: the target writes users' messages itself, from where one starts in its chat template.

use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::error::Result;
use crate::text::{Message, RenderOptions};

/// The longest question that a target writes, in tokens.
pub(crate) const MAX_QUESTION: usize = 64;

/// What the chat template puts before a user's message; without a template, an empty prompt.
pub(crate) fn start(decoder: &SpeculativeDecoder) -> Result<Prompt> {
    /// Stands for the user's message.
    const MESSAGE: &str = "WORDS";
    let tokenizer = decoder.tokenizer();
    let Some(template) = tokenizer.chat_template() else {
        return Ok(Prompt::Text(String::new()));
    };
    let options = RenderOptions {
        add_generation_prompt: false,
        ..RenderOptions::default()
    };
    let text = template.render(&[Message::new("user", MESSAGE)], &options)?;
    let before = text.split(MESSAGE).next().unwrap_or_default();
    Ok(match tokenizer.encode(before, false)? {
        nothing if nothing.is_empty() => Prompt::Text(String::new()),
        tokens => Prompt::Tokens(tokens),
    })
}

/// A question as the prompt that the target answers: a conversation, or, without a chat template, the text itself.
pub(crate) fn prompt(decoder: &SpeculativeDecoder, question: &str) -> Result<Prompt> {
    match decoder.tokenizer().chat_template() {
        Some(_) => {
            let message = Message::new("user", question.trim());
            decoder.chat_prompt(&[message], &RenderOptions::default())
        }
        None => Ok(Prompt::Text(question.to_owned())),
    }
}
