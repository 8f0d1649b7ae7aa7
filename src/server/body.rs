//! A request's body: JSON, whatever its content type says, of a bounded size.
//!
//! What kinds of requests have in common is read out of the same body apart: a flattened structure would lose the names of the
//! fields that are wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;

/// A body that was read.
pub(super) struct Body(Value);

impl Body {
    /// What it says.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(&self.0).map_err(|error| {
            let path = error.path().to_string();
            let message = error.inner().to_string();
            // What a setting's own type refuses names it already.
            let message = match message.starts_with(&format!("invalid {path}")) {
                true => message,
                false => format!("invalid {path}: {message}"),
            };
            ApiError::invalid(&path, message)
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                let message = rejection.body_text();
                match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "body_too_large",
                        format!("{message}: send less text, or start the server with a larger --max-body"),
                    ),
                    _ => ApiError::new(StatusCode::BAD_REQUEST, "unreadable_body", message),
                }
            })?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the body is no JSON: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message)
        })?;
        Ok(Self(value))
    }
}
