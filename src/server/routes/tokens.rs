//! Texts to tokens, and back.

use std::sync::LazyLock;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use crate::limits;
use crate::server::body::Body;
use crate::server::clients::Client;
use crate::server::error::ApiError;
use crate::server::openai::{
    DetokenizeRequest, Fields, TemplateFields, Text, TokenList, TokenizeRequest, messages,
};
use crate::server::state::{AppState, SharedState};
use crate::text::RenderOptions;

static TOKENIZE_FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::none()
        .and::<TokenizeRequest>()
        .and::<TemplateFields>()
});

static DETOKENIZE_FIELDS: LazyLock<Fields> =
    LazyLock::new(|| Fields::none().and::<DetokenizeRequest>());

/// A text's tokens, or those of a conversation in the model's chat template.
pub(in crate::server) async fn tokenize(
    State(state): SharedState,
    Extension(client): Extension<Client>,
    body: Body,
) -> Result<Response, ApiError> {
    let strict = state.options.strict;
    let mut ignored = TOKENIZE_FIELDS.check(body.fields(), strict)?;
    let request: TokenizeRequest = body.parse()?;
    let add_special_tokens = request.adds_special_tokens();
    let template = match &request.messages {
        Some(_) => {
            let (options, unread) = body.parse::<TemplateFields>()?.options(&state.decoder)?;
            ignored.add(unread, strict)?;
            options
        }
        None => RenderOptions::default(),
    };
    let work = move |state: &AppState| {
        let tokenizer = state.decoder.tokenizer();
        match (request.content, request.prompt, request.messages) {
            (Some(text), None, None) | (None, Some(text), None) => {
                Ok(tokenizer.encode(&text, add_special_tokens)?)
            }
            (None, None, Some(conversation)) => {
                let prompt = state
                    .decoder
                    .chat_prompt(&messages(conversation)?, &template)?;
                Ok(state.decoder.prompt_tokens(prompt)?)
            }
            _ => {
                let message = "expected either content, a string, or messages, a conversation";
                Err(ApiError::invalid("content", message))
            }
        }
    };
    let admitted = state.admit(client, 1)?;
    let tokens = state
        .blocking(&state.texts, admitted.deadline, work)
        .await?;
    let list = Json(TokenList {
        count: tokens.len(),
        tokens,
        max_model_len: state.decoder.info().context_length,
    });
    Ok(ignored.named_in(list.into_response()))
}

/// The text of some tokens.
pub(in crate::server) async fn detokenize(
    State(state): SharedState,
    Extension(client): Extension<Client>,
    body: Body,
) -> Result<Response, ApiError> {
    let ignored = DETOKENIZE_FIELDS.check(body.fields(), state.options.strict)?;
    let request: DetokenizeRequest = body.parse()?;
    let work = move |state: &AppState| {
        let tokenizer = state.decoder.tokenizer();
        limits::known("tokens", &request.tokens, tokenizer.vocab_size())?;
        let skip = request.skip_special_tokens.unwrap_or(false);
        Ok(tokenizer.decode(&request.tokens, skip)?)
    };
    let admitted = state.admit(client, 1)?;
    let text = state
        .blocking(&state.texts, admitted.deadline, work)
        .await?;
    let text = Json(Text {
        content: text.clone(),
        prompt: text,
    });
    Ok(ignored.named_in(text.into_response()))
}
