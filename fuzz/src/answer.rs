//! A model in use.

use std::path::Path;

use specdec_rs::{
    Device, DraftKind, Error, Message, RenderOptions, ResponseFormat, Result, SpeculativeConfig,
    SpeculativeDecoder,
};

/// The most bytes of an error: it is for people.
const MAX_ERROR: usize = 5000;

/// Settings of a few greedy tokens without drafts.
pub fn settings() -> SpeculativeConfig {
    SpeculativeConfig {
        draft: Some(DraftKind::NONE),
        temperature: 0.0,
        seed: Some(1),
        max_new_tokens: 4,
        ..SpeculativeConfig::unmodified()
    }
}

/// Loads a model and lets it write a few tokens: with the settings that its files recommend, in a conversation, and in JSON.
pub fn answer(target: &Path) {
    let name = target.to_str().unwrap();
    let builder = SpeculativeDecoder::builder().target(name).draft("none");
    let decoder = match builder.device(Device::Cpu).threads(1).load() {
        Ok(decoder) => decoder,
        Err(error) => return check_error(&error),
    };
    let own = SpeculativeConfig {
        seed: Some(1),
        max_new_tokens: 4,
        ..decoder.default_config()
    };
    checked(decoder.generate_with("You may copy", &own));
    let messages = [Message::new("user", "Is 1 < 2?")];
    let prompt = decoder.chat_prompt(&messages, &RenderOptions::default());
    if let Some(prompt) = checked(prompt) {
        checked(decoder.generate_with(prompt, &settings()));
    }
    let json = SpeculativeConfig {
        response_format: Some(ResponseFormat::JsonObject),
        ..settings()
    };
    checked(decoder.generate_with("{", &json));
}

/// A result's value; its error is checked.
fn checked<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(check_error).ok()
}

/// An error says something, and not too much.
pub fn check_error(error: &Error) {
    let message = error.to_string();
    let length = message.len();
    assert!(
        (20..MAX_ERROR).contains(&length),
        "{length} bytes: {message}"
    );
}
