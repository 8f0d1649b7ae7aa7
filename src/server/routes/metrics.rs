//! `/metrics`: counters for Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::server::state::SharedState;

/// All metrics, as text.
pub(in crate::server) async fn show(State(state): SharedState) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, kind)],
        state.metrics.text(&state.service),
    )
}
