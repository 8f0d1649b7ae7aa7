//! A request's body: JSON, whatever its content type says, of a bounded size, received in a bounded time.
//!
//! The fields that several kinds of requests share are parsed from the same body separately: a flattened structure would lose
//! the names of invalid fields.

use std::sync::{Arc, LazyLock};

use axum::body::HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;

use super::clients::Client;
use super::error::ApiError;
use super::state::AppState;
use crate::quota::{Quota, Taken};

/// Larger bodies are parsed outside the threads that serve connections.
const LARGE: usize = 64 << 10;

/// The end of a body that is refused is received, and dropped, up to so many times the limit: clients that are answered while they
/// send see a broken connection, and no answer.
const LISTENED_TO: usize = 4;

/// The bodies of greatest size that are in memory at once: they are received, or their requests are prepared.
const BODIES: usize = 8;

/// Those of them that one client may have.
const BODIES_OF_CLIENT: usize = 6;

/// Memory for bodies, in bytes.
pub(super) type Room = Quota<Client>;

/// Memory for bodies of so many bytes.
pub(super) fn room(max_body: usize) -> Room {
    let bodies = |count: usize| count.saturating_mul(max_body);
    Quota::new(bodies(BODIES), bodies(BODIES_OF_CLIENT))
}

/// A parsed body: an object.
pub(super) struct Body {
    value: Value,
    _room: Taken<Client>,
}

impl Body {
    /// Parses the fields of a type.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            let path = error.path().to_string();
            let message = error.inner().to_string();
            let missing = message.strip_prefix("missing field `");
            if let Some(field) = missing.and_then(|rest| rest.split('`').next()) {
                let path = match &path[..] {
                    "." => field.to_owned(),
                    path => format!("{path}.{field}"),
                };
                return ApiError::invalid(&path, format!("{path} is missing"));
            }
            // Errors from a setting's own type name the setting already.
            let message = match message.starts_with(&format!("invalid {path}")) {
                true => message,
                false => match expected(&message) {
                    Some(expected) => {
                        let found = self.at(error.path()).map(shown).unwrap_or_default();
                        format!("invalid {path} = {found}: expected {expected}")
                    }
                    None => format!("invalid {path}: {message}"),
                },
            };
            ApiError::invalid(&path, message)
        })
    }

    /// The value at a path.
    fn at(&self, path: &serde_path_to_error::Path) -> Option<&Value> {
        path.iter()
            .try_fold(&self.value, |value, segment| match segment {
                Segment::Seq { index } => value.get(*index),
                Segment::Map { key } => value.get(key),
                Segment::Enum { .. } | Segment::Unknown => Some(value),
            })
    }

    /// All fields.
    pub(super) fn fields(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.value.as_object().unwrap_or(&NONE)
    }
}

/// What was expected, of an error of serde's, in the words of JSON.
fn expected(message: &str) -> Option<String> {
    let (_, expected) = message.split_once("expected ")?;
    let words = expected.replace(['`'], "");
    Some(match words.as_str() {
        "usize" | "u64" | "u32" => "an integer >= 0".into(),
        "i64" => "an integer".into(),
        "f64" => "a number".into(),
        "a sequence" => "a list".into(),
        "a map" => "an object".into(),
        "a boolean" => "true or false".into(),
        structure if structure.starts_with("struct ") => "an object".into(),
        words => words.to_owned(),
    })
}

/// A value in an error's message: the start of a long one.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl FromRequest<Arc<AppState>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, ApiError> {
        let limit = state.options.client_timeout;
        let read = timeout(limit, read(request, state)).await;
        let (bytes, room) = read.map_err(|_| ApiError::slow_body(limit.as_secs()))??;
        let value = match bytes.len() > LARGE {
            true => {
                let deadline = Instant::now() + state.options.timeout;
                let parse = move |_: &AppState| parse(&bytes);
                state.blocking(&state.texts, deadline, parse).await?
            }
            false => parse(&bytes)?,
        };
        Ok(Self { value, _room: room })
    }
}

/// Receives a body, and takes room for it as it comes.
async fn read(request: Request, state: &AppState) -> Result<(Vec<u8>, Taken<Client>), ApiError> {
    let limit = state.options.max_body;
    let too_large = || {
        let message = format!(
            "the request body is longer than {limit} bytes: send less text, or start the server with a larger --max-body"
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let unreadable = |error: axum::Error| {
        let message = format!("the request body could not be read: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "unreadable_body", message)
    };
    let client = request.extensions().get::<Client>().copied();
    let body = request.into_body();
    let mut left = LISTENED_TO.saturating_mul(limit);
    if body.size_hint().lower() > left as u64 {
        return Err(too_large());
    }
    let room = state.bodies.take(client.unwrap_or_default(), 0);
    let mut kept = Ok((Vec::new(), room.map_err(ApiError::bodies_full)?));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(unreadable)?;
        left = left.checked_sub(chunk.len()).ok_or_else(too_large)?;
        kept = kept.and_then(|(mut bytes, mut room): (Vec<u8>, Taken<Client>)| {
            if bytes.len() + chunk.len() > limit {
                return Err(too_large());
            }
            room.take_more(chunk.len()).map_err(ApiError::bodies_full)?;
            bytes.extend_from_slice(&chunk);
            Ok((bytes, room))
        });
    }
    kept
}

fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let invalid = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(invalid(
            "the request body is empty: expected a JSON object".into(),
        ));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let reason = match error.is_eof() {
            true => "it ends too early".to_owned(),
            false => error.to_string(),
        };
        invalid(format!("the request body is not valid JSON: {reason}"))
    })?;
    match value.is_object() {
        true => Ok(value),
        false => Err(invalid("the request body is not a JSON object".into())),
    }
}
