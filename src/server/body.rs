//! A request's body: JSON, whatever its content type says, of a bounded size.
//!
//! The fields that several kinds of requests share are parsed from the same body separately: a flattened structure would lose
//! the names of invalid fields.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::error::ApiError;

/// A parsed body: an object.
pub(super) struct Body(Value);

impl Body {
    /// Parses the fields of a type.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(&self.0).map_err(|error| {
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
            .try_fold(&self.0, |value, segment| match segment {
                Segment::Seq { index } => value.get(*index),
                Segment::Map { key } => value.get(key),
                Segment::Enum { .. } | Segment::Unknown => Some(value),
            })
    }

    /// All fields.
    pub(super) fn fields(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.0.as_object().unwrap_or(&NONE)
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
        let invalid =
            |message: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(invalid(
                "the request body is empty: expected a JSON object".into(),
            ));
        }
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            let reason = match error.is_eof() {
                true => "it ends too early".to_owned(),
                false => error.to_string(),
            };
            invalid(format!("the request body is not valid JSON: {reason}"))
        })?;
        match value.is_object() {
            true => Ok(Self(value)),
            false => Err(invalid("the request body is not a JSON object".into())),
        }
    }
}
