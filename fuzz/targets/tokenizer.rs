//! The files `tokenizer.json`, and `tokenizer_config.json` with its chat template: whatever they hold, a text and a
//! conversation that go through them give tokens or a short error; never a panic, an abort, a hang, or more than 2 GB. Tokens
//! give a text, whole or one by one.
//!
//! The input is the two files, a conversation as JSON, and a text. Only for a text in braces is a grammar made of the
//! vocabulary, as that takes longer than all the rest.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use specdec_fuzz::{Folder, catch_panics, check_error, mutate, parts, reported};
use specdec_rs::{Message, RenderOptions, ResponseFormat, Result, Tokenizer};

thread_local! {
    static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
}

fuzz_target!(init: catch_panics(), |input: &[u8]| {
    let [tokenizer, config, conversation, text] = parts(input);
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(Folder::default);
        folder.put("tokenizer.json", tokenizer);
        folder.put("tokenizer_config.json", config);
        let messages = serde_json::from_slice(conversation);
        let messages = messages.unwrap_or_else(|_| vec![Message::new("user", "Is 1 < 2?")]);
        let text = String::from_utf8_lossy(text);
        reported(|| {
            if let Err(error) = read(folder, &messages, &text) {
                check_error(&error);
            }
        });
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

fn read(folder: &Folder, messages: &[Message], text: &str) -> Result<()> {
    let tokenizer = Tokenizer::from_folder(folder.path())?;
    tokenizer.fingerprint();
    // Each of these may fail by itself.
    let results = [
        text_and_back(&tokenizer, text),
        converse(&tokenizer, messages),
        match text.starts_with('{') {
            true => follow(&tokenizer),
            false => Ok(()),
        },
    ];
    results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .for_each(check_error);
    Ok(())
}

/// A text to tokens and back.
fn text_and_back(tokenizer: &Tokenizer, text: &str) -> Result<()> {
    tokenizer.encode_continuation(text)?;
    let ids = tokenizer.encode(text, true)?;
    let whole = tokenizer.decode(&ids, true)?;
    let mut detokenizer = tokenizer.detokenizer(true, false);
    let mut streamed = String::new();
    for id in ids {
        streamed += &detokenizer.push(id)?;
        tokenizer.token_text(id)?;
    }
    streamed += &detokenizer.finish()?;
    assert_eq!(streamed, whole);
    Ok(())
}

/// A conversation to tokens.
fn converse(tokenizer: &Tokenizer, messages: &[Message]) -> Result<()> {
    for continue_final_message in [false, true] {
        let options = RenderOptions {
            add_generation_prompt: !continue_final_message,
            continue_final_message,
            ..RenderOptions::default()
        };
        let text = tokenizer.apply_chat_template(messages, &options)?;
        tokenizer.encode(&text, false)?;
    }
    Ok(())
}

/// A response format over the vocabulary.
fn follow(tokenizer: &Tokenizer) -> Result<()> {
    let mut grammar = tokenizer.grammar(&ResponseFormat::JsonObject)?;
    let forced = grammar.forced(&[]);
    grammar.allowed(&forced, &[])?;
    Ok(())
}
