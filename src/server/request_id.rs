//! Ids of requests and answers.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use axum::http::{HeaderMap, HeaderName};

/// Identifies a request: the client's id or ours.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids from clients are replaced.
const MAX_ID: usize = 128;

/// The id that a client sent, or a fresh one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let sent = sent.filter(|id| !id.is_empty() && id.len() <= MAX_ID);
    sent.map_or_else(fresh_id, str::to_owned)
}

/// An id that no other request has.
pub(super) fn fresh_id() -> String {
    let random = || RandomState::new().hash_one(Instant::now());
    format!("{:016x}{:016x}", random(), random())
}
