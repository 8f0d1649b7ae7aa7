//! `/v1/chat/completions`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::content::{ChatMessage, messages};
use super::number::Count;
use super::respond::{Format, Object, Spelling, finite};
use crate::engine;
use crate::server::error::ApiError;
use crate::text::Message;

/// A conversation to answer.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct ChatRequest {
    #[schemars(length(min = 1))]
    messages: Vec<ChatMessage>,
    /// Report each token's log-probability.
    #[serde(default)]
    logprobs: Option<bool>,
    /// And those of this many most probable alternatives.
    #[serde(default)]
    #[schemars(range(max = 20))]
    top_logprobs: Option<Count>,
}

impl ChatRequest {
    /// The conversation.
    pub(in crate::server) fn take_messages(&mut self) -> Result<Vec<Message>, ApiError> {
        messages(std::mem::take(&mut self.messages))
    }

    /// The value of the setting `logprobs`.
    pub(in crate::server) fn logprobs(&self) -> Result<Option<usize>, ApiError> {
        /// The maximum number of alternatives, as in OpenAI's API.
        const MOST: usize = 20;
        match (self.logprobs, self.top_logprobs.map(|Count(count)| count)) {
            (_, Some(count)) if count > MOST => {
                let message =
                    format!("invalid top_logprobs = {count}: expected an integer from 0 to {MOST}");
                Err(ApiError::invalid("top_logprobs", message))
            }
            (Some(true), count) => Ok(Some(count.unwrap_or(0))),
            (_, Some(count)) if count > 0 => {
                let message = "top_logprobs without logprobs: set logprobs to true";
                Err(ApiError::invalid("top_logprobs", message))
            }
            _ => Ok(None),
        }
    }
}

/// Chat completions.
pub(in crate::server) struct Chat;

#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct ChatContent {
    message: Answer,
}

#[derive(Serialize, JsonSchema)]
struct Answer {
    role: Role,
    content: String,
    refusal: (),
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    Assistant,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct ChatDelta {
    delta: Delta,
}

#[derive(Default, Serialize, JsonSchema)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct ChatLogprobs {
    content: Vec<TokenLogprob>,
    refusal: (),
}

#[derive(Serialize, JsonSchema)]
struct TokenLogprob {
    #[serde(flatten)]
    token: ScoredToken,
    top_logprobs: Vec<ScoredToken>,
}

#[derive(Serialize, JsonSchema)]
struct ScoredToken {
    token: String,
    logprob: Option<f64>,
    bytes: Vec<u8>,
}

impl Format for Chat {
    const ID_PREFIX: &'static str = "chatcmpl-";
    const OBJECT: Object = Object::ChatCompletion;
    const CHUNK_OBJECT: Object = Object::ChatCompletionChunk;

    type Content = ChatContent;
    type Delta = ChatDelta;
    type Logprobs = ChatLogprobs;

    fn content(_: &str, text: &str) -> ChatContent {
        ChatContent {
            message: Answer {
                role: Role::Assistant,
                content: text.to_owned(),
                refusal: (),
            },
        }
    }

    fn first(_: &str) -> Option<ChatDelta> {
        let delta = Delta {
            role: Some(Role::Assistant),
            content: Some(String::new()),
        };
        Some(ChatDelta { delta })
    }

    fn delta(text: &str) -> ChatDelta {
        let delta = Delta {
            role: None,
            content: Some(text.to_owned()),
        };
        ChatDelta { delta }
    }

    fn last() -> ChatDelta {
        ChatDelta {
            delta: Delta::default(),
        }
    }

    fn logprobs(spelling: &Spelling, tokens: &[engine::Token], _: &mut usize) -> ChatLogprobs {
        let logprob = |id, logprob| {
            let bytes = spelling.bytes(id);
            ScoredToken {
                token: String::from_utf8_lossy(&bytes).into_owned(),
                logprob: finite(logprob),
                bytes,
            }
        };
        let content = tokens.iter().map(|token| {
            let top = token.top_logprobs.iter();
            TokenLogprob {
                token: logprob(token.id, token.logprob),
                top_logprobs: top.map(|(id, value)| logprob(*id, Some(*value))).collect(),
            }
        });
        ChatLogprobs {
            content: content.collect(),
            refusal: (),
        }
    }
}
