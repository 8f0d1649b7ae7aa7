//! Text to tokens and back: tokenizers, chat templates, grammars, and incremental detokenizing.

mod bounds;
mod chat;
mod detokenize;
mod folder;
mod gguf;
mod grammar;
mod spec;
mod splits;
mod tokenizer;

pub(crate) use chat::builtin as chat_templates;
pub use chat::{ChatTemplate, Message, RenderOptions};
pub use detokenize::Detokenizer;
pub use grammar::{AllowedTokens, Grammar};
pub use tokenizer::Tokenizer;
#[cfg(feature = "server")]
pub(crate) use tokenizer::no_chat_template;
