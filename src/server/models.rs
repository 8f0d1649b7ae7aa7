//! What is served, and its tokens.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use super::app::{App, Shared};
use super::body::Body;
use super::failure::Failure;
use super::request::{DetokenizeRequest, TokenizeRequest};
use crate::error::Error;

/// Whether requests are answered.
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// What the server takes and gives, in the terms of `OpenAPI` (<https://spec.openapis.org/oas/v3.1.0>).
pub(super) async fn description() -> ([(HeaderName, &'static str); 1], String) {
    let text = include_str!("openapi.json").replace("VERSION", env!("CARGO_PKG_VERSION"));
    ([(header::CONTENT_TYPE, "application/json")], text)
}

/// The models: one.
pub(super) async fn list(State(app): Shared) -> Json<Value> {
    Json(json!({"object": "list", "data": [model(&app)]}))
}

/// The model, by its name.
pub(super) async fn one(
    State(app): Shared,
    Path(name): Path<String>,
) -> Result<Json<Value>, Failure> {
    if name == app.options.model {
        return Ok(Json(model(&app)));
    }
    let message = format!("no model {name:?}: this server has {:?}", app.options.model);
    Err(Failure::new(
        StatusCode::NOT_FOUND,
        "model_not_found",
        message,
    ))
}

fn model(app: &App) -> Value {
    let info = app.decoder.info();
    json!({
        "id": app.options.model,
        "object": "model",
        "created": app.started,
        "owned_by": "specdec_rs",
        "max_model_len": info.context_length,
        "meta": info,
    })
}

/// A text's tokens, or those of a conversation as the model reads it.
pub(super) async fn tokenize(State(app): Shared, body: Body) -> Result<Json<Value>, Failure> {
    let request: TokenizeRequest = body.parse()?;
    let work = move |app: &App| {
        let tokenizer = app.decoder.tokenizer();
        match (request.content, request.prompt, request.messages) {
            (Some(text), None, None) | (None, Some(text), None) => {
                Ok(tokenizer.encode(&text, request.add_special_tokens)?)
            }
            (None, None, Some(messages)) => {
                let messages = super::request::messages(messages)?;
                let prompt = app.decoder.chat_prompt(&messages)?;
                Ok(app.decoder.prompt_tokens(prompt)?)
            }
            _ => {
                let message = "expected either content, a text, or messages, a conversation";
                Err(Failure::invalid("content", message))
            }
        }
    };
    let tokens = app.blocking(work).await?;
    let count = tokens.len();
    let most = app.decoder.info().context_length;
    Ok(Json(
        json!({"tokens": tokens, "count": count, "max_model_len": most}),
    ))
}

/// The text of some tokens.
pub(super) async fn detokenize(State(app): Shared, body: Body) -> Result<Json<Value>, Failure> {
    let request: DetokenizeRequest = body.parse()?;
    let work = move |app: &App| {
        let tokenizer = app.decoder.tokenizer();
        let known = tokenizer.vocab_size();
        if let Some(id) = request.tokens.iter().find(|id| **id as usize >= known) {
            let expected = format!("token ids below the vocabulary's size, {known}");
            return Err(Error::invalid("tokens", id, expected).into());
        }
        Ok(tokenizer.decode(&request.tokens, request.skip_special_tokens)?)
    };
    let text = app.blocking(work).await?;
    Ok(Json(json!({"content": text, "prompt": text})))
}
