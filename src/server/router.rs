//! The routes: which handler serves which path.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use serde_json::{Map, Value};

use super::access::{self, ApiKeys};
use super::error::ApiError;
use super::log;
use super::openai::{
    Chat, ChatRequest, CommonFields, Completion, CompletionRequest, DetokenizeRequest,
    FormatFields, Health, Model, ModelList, SettingFields, TemplateFields, Text, TokenList,
    TokenizeRequest, Whole,
};
use super::openapi::{self, Endpoint};
use super::routes::{completions, metrics, models, page, tokens};
use super::state::AppState;

/// All endpoints: the router and `/openapi.json` are built from this list.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new("/v1/chat/completions", "chat", "Answer a conversation.")
            .handler(post(completions::chat))
            .accepts::<SettingFields>()
            .accepts::<CommonFields>()
            .accepts::<FormatFields>()
            .accepts::<TemplateFields>()
            .accepts::<ChatRequest>()
            .returns::<Whole<Chat>>()
            .streams(),
        Endpoint::new("/v1/completions", "complete", "Continue texts.")
            .handler(post(completions::completions))
            .accepts::<SettingFields>()
            .accepts::<CommonFields>()
            .accepts::<FormatFields>()
            .accepts::<CompletionRequest>()
            .returns::<Whole<Completion>>()
            .streams(),
        Endpoint::new(
            "/v1/models",
            "listModels",
            "The list of models: it has one.",
        )
        .handler(get(models::list))
        .returns::<ModelList>(),
        Endpoint::new("/v1/models/{*model}", "getModel", "A model.")
            .handler(get(models::one))
            .returns::<Model>()
            .parameter("model"),
        Endpoint::new(
            "/tokenize",
            "tokenize",
            "The tokens of a text, or of a conversation in the model's chat template.",
        )
        .handler(post(tokens::tokenize))
        .accepts::<TokenizeRequest>()
        .returns::<TokenList>(),
        Endpoint::new("/detokenize", "detokenize", "The text of tokens.")
            .handler(post(tokens::detokenize))
            .accepts::<DetokenizeRequest>()
            .returns::<Text>(),
        Endpoint::new("/health", "health", "Whether requests are answered.")
            .handler(get(models::health))
            .returns::<Health>()
            .without_key(),
        Endpoint::new("/metrics", "metrics", "Counters for Prometheus.")
            .handler(get(metrics::show))
            .returns::<String>()
            .content_type("application/openmetrics-text")
            .without_key(),
        Endpoint::new("/openapi.json", "openapi", "This document.")
            .handler(get(openapi_document))
            .returns::<Map<String, Value>>()
            .without_key(),
    ]
}

/// All paths: the page, and the endpoints.
pub(super) fn router(state: &Arc<AppState>) -> Result<Router, crate::error::Error> {
    let keys = Arc::new(ApiKeys::new(
        &state.options.api_keys,
        state.options.share_cache,
    ));
    let mut closed = Router::new();
    let mut open = Router::new()
        .route("/", get(page::show))
        .route("/playground/{*file}", get(page::file));
    for endpoint in endpoints() {
        let (path, needs_key) = (endpoint.path, endpoint.needs_key);
        let router = if needs_key { &mut closed } else { &mut open };
        *router = std::mem::take(router).route(path, endpoint.handler);
    }
    let closed = closed.layer(from_fn_with_state(keys, access::authenticate));
    let without_keys = state.options.api_keys.is_empty();
    let origins = Arc::new(access::Origins {
        allowed: state.options.cors_origins.clone(),
        host: (without_keys && !state.options.allow_unauthenticated)
            .then(|| state.options.host.clone()),
    });
    let mut router = closed
        .merge(open)
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(origins, access::check_origin));
    if !state.options.cors_origins.is_empty() {
        router = router.layer(access::cors(&state.options.cors_origins)?);
    }
    Ok(router
        .layer(from_fn(access::check_head))
        .layer(from_fn(log::request))
        .with_state(state.clone()))
}

async fn openapi_document() -> Json<Value> {
    Json(openapi::document(endpoints()))
}

async fn not_found(uri: Uri) -> ApiError {
    let message = format!("no such path: {}; /openapi.json lists them all", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not allowed for {}", uri.path());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
