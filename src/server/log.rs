//! One log line, and one span, for each request.

use std::time::Instant;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::request_id::{REQUEST_ID, request_id};

/// Gives a request its id, and logs its status and time: up to the start of the answer, for a stream.
pub(super) async fn request(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // The names are those of OpenTelemetry's conventions for HTTP servers.
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.name = format!("{method} {path}"),
        http.request.method = %method,
        url.path = path,
        http.response.status_code = tracing::field::Empty,
        request_id = id,
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    let seconds = start.elapsed().as_secs_f64();
    tracing::info!(parent: &span, %method, path, status, seconds, request_id = id, "request");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
