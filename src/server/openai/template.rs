//! The fields that a chat template reads beside the messages, by the names of OpenAI's API, vLLM and llama.cpp.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::decoder::SpeculativeDecoder;
use crate::server::error::ApiError;
use crate::text::{RenderOptions, no_chat_template};

/// What the model's chat template reads beside the messages.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::server) struct TemplateFields {
    /// Functions that the template describes to the model. An answer calls none: chat completions take them only with
    /// `tool_choice` "none", and then leave them out.
    tools: Option<Vec<Value>>,
    /// Only "none", or "auto" without tools.
    tool_choice: Option<Value>,
    /// Variables of the template, such as `enable_thinking`.
    chat_template_kwargs: Option<Map<String, Value>>,
    /// Texts for templates that read `documents`.
    documents: Option<Vec<Value>>,
    /// How much a model thinks, for templates that read it.
    reasoning_effort: Option<String>,
    /// End the prompt where the model's answer starts.
    add_generation_prompt: Option<bool>,
    /// Let the answer continue the last message; with `add_generation_prompt` false.
    continue_final_message: Option<bool>,
}

impl TemplateFields {
    /// How the prompt of an answer is rendered.
    pub(in crate::server) fn for_answer(
        mut self,
        decoder: &SpeculativeDecoder,
    ) -> Result<(RenderOptions, Vec<String>), ApiError> {
        let tools = self.tools.take().unwrap_or_default();
        let choice = self
            .tool_choice
            .as_ref()
            .map(|choice| choice.as_str().unwrap_or("a function"));
        match choice {
            Some("none") => {}
            None | Some("auto") if tools.is_empty() => {}
            _ => {
                let message = "tool calls are not supported: describe the answer's format with response_format, \
                               or set tool_choice to \"none\"";
                return Err(ApiError::invalid("tools", message));
            }
        }
        self.options(decoder)
    }

    /// How a conversation is rendered, and the names of variables that the template does not read.
    pub(in crate::server) fn options(
        self,
        decoder: &SpeculativeDecoder,
    ) -> Result<(RenderOptions, Vec<String>), ApiError> {
        let template = decoder
            .tokenizer()
            .chat_template()
            .ok_or_else(no_chat_template)?;
        let mut variables = self.chat_template_kwargs.unwrap_or_default();
        let unread = template.unread(&variables);
        let unread = unread
            .map(|name| format!("chat_template_kwargs.{name}"))
            .collect();
        let more = [
            ("documents", self.documents.map(Value::from)),
            ("reasoning_effort", self.reasoning_effort.map(Value::from)),
        ];
        for (name, value) in more {
            let Some(value) = value else { continue };
            if !template.mentions(name) {
                let message =
                    format!("{name} is not supported: the model's chat template does not read it");
                return Err(ApiError::invalid(name, message));
            }
            variables.entry(name).or_insert(value);
        }
        let continues = self.continue_final_message.unwrap_or(false);
        let options = RenderOptions {
            add_generation_prompt: self.add_generation_prompt.unwrap_or(!continues),
            continue_final_message: continues,
            tools: self.tools.unwrap_or_default(),
            variables,
        };
        Ok((options, unread))
    }
}
