//! Errors of requests, in the format of OpenAI's API.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::QueueFull;
use crate::error::{Error, excerpt};
use crate::quota::Exceeded;

/// Seconds after which a client may retry a request for which the server had no capacity.
const RETRY_AFTER: &str = "1";

/// The error of a request that was rejected or failed.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// The field of the request that is wrong.
    param: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            // What a model's file or a client says in it may be of any length.
            message: excerpt(&message.into()),
            param: None,
        }
    }

    /// A request with a field that is wrong.
    pub(super) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, "invalid_value", message)
        }
    }

    pub(super) fn queue_full(full: QueueFull) -> Self {
        let message = match full {
            QueueFull::ForAll => "too many requests are waiting: try again later",
            QueueFull::ForClient => "too many of your requests are waiting: try again later",
        };
        Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
    }

    pub(super) fn bodies_full(exceeded: Exceeded) -> Self {
        let message = match exceeded {
            Exceeded::OfAll => "the server has no memory for another request body: try again later",
            Exceeded::OfClient => "too many of your request bodies are in memory: try again later",
        };
        Self::new(StatusCode::TOO_MANY_REQUESTS, "bodies_full", message)
    }

    pub(super) fn slow_body(seconds: u64) -> Self {
        let message = format!(
            "the request body did not arrive within {seconds} s: send it faster, or start the server with a larger \
             --client-timeout"
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message)
    }

    pub(super) fn too_many_connections() -> Self {
        let message = "all connections are busy: try again later";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_connections",
            message,
        )
    }

    pub(super) fn timeout(seconds: u64) -> Self {
        let message = format!(
            "the answer took longer than the {seconds} s that a request may take: ask for fewer tokens"
        );
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    pub(super) fn ended() -> Self {
        let message = "the server is shutting down: try another one, or again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message)
    }

    /// What a client can't mend: the log has it, since it may tell of the server's files.
    fn internal(message: &str) -> Self {
        tracing::error!("a request failed: {message}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "internal error: the server's log tells more, by this answer's id (the header x-request-id)",
        )
    }

    /// The code under which it is counted in metrics and logs.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn body(&self) -> ErrorBody {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        let error = ErrorDetails {
            message: self.message.clone(),
            kind,
            param: self.param.clone(),
            code: self.code,
        };
        ErrorBody { error }
    }
}

/// An error, in the format of OpenAI's API.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct ErrorBody {
    error: ErrorDetails,
}

#[derive(Serialize, JsonSchema)]
struct ErrorDetails {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field of the request that is wrong.
    param: Option<String>,
    code: &'static str,
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::InvalidConfig { field, .. } => Self::invalid(&field, message),
            Error::ContextOverflow { .. } => Self {
                param: Some("messages".into()),
                ..Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message)
            },
            Error::UnsupportedModel { .. } | Error::NoChatTemplate { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "unsupported", message)
            }
            Error::NoToken { .. } => Self::new(StatusCode::BAD_REQUEST, "no_token", message),
            Error::OutOfMemory { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "out_of_memory", message)
            }
            _ => Self::internal(&message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_tells_nothing_of_the_server() {
        for error in [
            Error::Compute("panicked at src/secret.rs:1".into()),
            Error::corrupt("/home/secret/model.gguf", "a secret"),
            Error::io("/home/secret", std::io::ErrorKind::NotFound.into()),
        ] {
            let body = serde_json::to_string(&ApiError::from(error).body()).unwrap();
            assert!(body.contains("\"internal_error\""), "{body}");
            assert!(!body.contains("secret"), "{body}");
        }
    }
}
