//! The served model, and the server's health.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::server::error::ApiError;
use crate::server::openai::{Health, Model, ModelList, Object};
use crate::server::state::{AppState, SharedState};

/// Whether requests are answered.
pub(in crate::server) async fn health() -> Json<Health> {
    Json(Health::OK)
}

/// The list of models: it has one.
pub(in crate::server) async fn list(State(state): SharedState) -> Json<ModelList> {
    Json(ModelList {
        object: Object::List,
        data: vec![model(&state)],
    })
}

/// The model, by its name.
pub(in crate::server) async fn one(
    State(state): SharedState,
    Path(name): Path<String>,
) -> Result<Json<Model>, ApiError> {
    let served = &state.options.model;
    if name == *served {
        return Ok(Json(model(&state)));
    }
    let message = format!("no model {name:?}: this server has {served:?}");
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        "model_not_found",
        message,
    ))
}

fn model(state: &AppState) -> Model {
    let info = state.decoder.info();
    Model {
        id: state.options.model.clone(),
        object: Object::Model,
        created: state.started,
        owned_by: "specdec_rs",
        max_model_len: info.context_length,
        meta: info,
    }
}
