//! A request's body: JSON, whatever its content type says, of a bounded size.
//!
//! What kinds of requests have in common is read out of the same body apart: a flattened structure would lose the names of the
//! fields that are wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// A body that was read.
pub(super) struct Body(Value);

impl Body {
    /// What it says.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_path_to_error::deserialize(&self.0).map_err(|error| {
            let path = error.path().to_string();
            Failure::invalid(&path, format!("invalid {path}: {}", error.inner()))
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                let message = rejection.body_text();
                match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Failure::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "body_too_large",
                        format!("{message}: send less text, or start the server with a larger --max-body"),
                    ),
                    _ => Failure::new(StatusCode::BAD_REQUEST, "unreadable_body", message),
                }
            })?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the body is no JSON: {error}");
            Failure::new(StatusCode::BAD_REQUEST, "invalid_json", message)
        })?;
        Ok(Self(value))
    }
}
