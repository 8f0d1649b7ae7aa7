//! The types of requests and responses: the fields of OpenAI's API
//! (<https://platform.openai.com/docs/api-reference>), those that vLLM and llama.cpp add to them, and our own.
//!
//! `/openapi.json` describes these types. In requests `null` is the same as leaving a field out, and fields that are not
//! listed are ignored.

mod chat;
mod completion;
mod content;
mod models;
mod respond;
mod sampling;
mod tokens;
mod usage;

pub(super) use chat::{Chat, ChatRequest};
pub(super) use completion::{Completion, CompletionRequest, MAX_PROMPTS, PromptField};
pub(super) use content::messages;
pub(super) use models::{Health, Model, ModelList};
pub(super) use respond::{Format, Object, Responder, Spelling, Whole};
pub(super) use sampling::{CommonFields, SettingFields, config};
pub(super) use tokens::{DetokenizeRequest, Text, TokenList, TokenizeRequest};
