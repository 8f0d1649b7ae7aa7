//! A request's body: JSON, whatever its content type says, of a bounded size.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// A body that was read and understood.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
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
        let mut parser = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
            let path = error.path().to_string();
            Failure::invalid(&path, format!("invalid {path}: {}", error.inner()))
        })?;
        parser
            .end()
            .map_err(|error| Failure::invalid(".", format!("invalid body: {error}")))?;
        Ok(Self(value))
    }
}
