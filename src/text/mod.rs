//! Text to tokens and back: tokenizers, chat templates, and text that grows token by token.

mod chat;
mod detokenize;
mod folder;
mod gguf;
mod grammar;
mod parts;
mod tokenizer;

pub use chat::{ChatTemplate, Message};
pub use detokenize::Detokenizer;
pub use grammar::{AllowedTokens, Grammar};
pub use tokenizer::Tokenizer;
