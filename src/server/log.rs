//! One line, and one span, for each request.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::completions::fresh_id;

/// Names a request, by whoever sends it or by us.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer name is not taken over.
const LONGEST_ID: usize = 128;

/// Names a request, and tells what came of it: until the answer begins, for a stream.
pub(super) async fn request(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let sent = request.headers().get(REQUEST_ID);
    let sent = sent.and_then(|id| id.to_str().ok());
    let sent = sent.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    let id = sent.map_or_else(fresh_id, str::to_owned);
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
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(parent: &span, %method, path, status, seconds, request_id = id, "request");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
