//! The types of requests and responses: the fields of OpenAI's API
//! (<https://platform.openai.com/docs/api-reference>), those that vLLM and llama.cpp add to them, and our own.
//!
//! `/openapi.json` describes these types. In requests `null` is the same as leaving a field out. Fields of other servers that
//! would change the answer are refused ([`fields`]), and unknown ones named in a header of the response.

mod chat;
mod completion;
mod content;
mod fields;
mod format;
mod models;
mod number;
mod respond;
mod sampling;
mod template;
mod tokens;
mod usage;

pub(super) use chat::{Chat, ChatRequest};
pub(super) use completion::{Completion, CompletionRequest, MAX_PROMPTS, PromptField};
pub(super) use content::messages;
pub(super) use fields::{Fields, IGNORED_FIELDS, Ignored};
pub(super) use format::FormatFields;
pub(super) use models::{Health, Model, ModelList};
pub(super) use number::Count;
pub(super) use respond::{Format, Object, Responder, Spelling, Whole};
pub(super) use sampling::{CommonFields, SettingFields, config};
pub(super) use template::TemplateFields;
pub(super) use tokens::{DetokenizeRequest, Text, TokenList, TokenizeRequest};
