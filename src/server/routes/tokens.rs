//! Texts to tokens, and back.

use axum::Json;
use axum::extract::State;

use crate::limits;
use crate::server::body::Body;
use crate::server::error::ApiError;
use crate::server::openai::{DetokenizeRequest, Text, TokenList, TokenizeRequest, messages};
use crate::server::state::{AppState, SharedState};

/// A text's tokens, or those of a conversation in the model's chat template.
pub(in crate::server) async fn tokenize(
    State(state): SharedState,
    body: Body,
) -> Result<Json<TokenList>, ApiError> {
    let request: TokenizeRequest = body.parse()?;
    let work = move |state: &AppState| {
        let tokenizer = state.decoder.tokenizer();
        match (request.content, request.prompt, request.messages) {
            (Some(text), None, None) | (None, Some(text), None) => {
                Ok(tokenizer.encode(&text, request.add_special_tokens)?)
            }
            (None, None, Some(conversation)) => {
                let prompt = state.decoder.chat_prompt(&messages(conversation)?)?;
                Ok(state.decoder.prompt_tokens(prompt)?)
            }
            _ => {
                let message = "expected either content, a text, or messages, a conversation";
                Err(ApiError::invalid("content", message))
            }
        }
    };
    let tokens = state.blocking(work).await?;
    Ok(Json(TokenList {
        count: tokens.len(),
        tokens,
        max_model_len: state.decoder.info().context_length,
    }))
}

/// The text of some tokens.
pub(in crate::server) async fn detokenize(
    State(state): SharedState,
    body: Body,
) -> Result<Json<Text>, ApiError> {
    let request: DetokenizeRequest = body.parse()?;
    let work = move |state: &AppState| {
        let tokenizer = state.decoder.tokenizer();
        limits::known("tokens", &request.tokens, tokenizer.vocab_size())?;
        Ok(tokenizer.decode(&request.tokens, request.skip_special_tokens)?)
    };
    let text = state.blocking(work).await?;
    Ok(Json(Text {
        content: text.clone(),
        prompt: text,
    }))
}
