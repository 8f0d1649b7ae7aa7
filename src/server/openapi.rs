//! `/openapi.json`: an `OpenAPI` document (<https://spec.openapis.org/oas/v3.1.0>), generated from the router's list of
//! endpoints and the types of their requests and responses.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::routing::MethodRouter;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::error::ErrorBody;
use super::state::AppState;

type Describe = fn(&mut SchemaGenerator) -> Schema;

/// A path of the server.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<Arc<AppState>>,
    /// Whether a request must send an API key, if the server has any.
    pub(super) needs_key: bool,
    id: &'static str,
    summary: &'static str,
    /// The types that a body is parsed as; if there are none, the method is GET.
    request: Vec<Describe>,
    response: Describe,
    content_type: &'static str,
    streams: bool,
    parameter: Option<&'static str>,
}

impl Endpoint {
    pub(super) fn new(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            path,
            handler: MethodRouter::new(),
            needs_key: true,
            id,
            summary,
            request: Vec::new(),
            response: SchemaGenerator::subschema_for::<Value>,
            content_type: "application/json",
            streams: false,
            parameter: None,
        }
    }

    pub(super) fn handler(self, handler: MethodRouter<Arc<AppState>>) -> Self {
        Self { handler, ..self }
    }

    /// A type that the body is parsed as.
    pub(super) fn accepts<T: JsonSchema>(mut self) -> Self {
        self.request.push(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// The type of a response.
    pub(super) fn returns<T: JsonSchema>(self) -> Self {
        Self {
            response: SchemaGenerator::subschema_for::<T>,
            ..self
        }
    }

    pub(super) fn content_type(self, content_type: &'static str) -> Self {
        Self {
            content_type,
            ..self
        }
    }

    /// The response may be a stream of server-sent events.
    pub(super) fn streams(self) -> Self {
        Self {
            streams: true,
            ..self
        }
    }

    pub(super) fn without_key(self) -> Self {
        Self {
            needs_key: false,
            ..self
        }
    }

    /// The path ends with a name.
    pub(super) fn parameter(self, name: &'static str) -> Self {
        Self {
            parameter: Some(name),
            ..self
        }
    }

    /// The statuses of errors.
    fn errors(&self) -> Vec<(u16, &'static str)> {
        let mut errors = vec![(403, "The request is from a page of another site.")];
        if self.needs_key {
            errors.push((401, "No API key, or an unknown one."));
        }
        if self.parameter.is_some() {
            errors.push((400, "The name is not valid text."));
            errors.push((404, "There is nothing with this name."));
        }
        if !self.request.is_empty() {
            errors.extend([
                (400, "A field of the request is wrong."),
                (413, "The body is too large."),
                (429, "Too many requests are waiting: try again."),
                (500, "The server failed."),
                (503, "The server is shutting down."),
                (504, "The answer took longer than a request may take."),
            ]);
        }
        errors
    }

    fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        let mut content = Map::new();
        let schema = (self.response)(generator);
        content.insert(self.content_type.into(), json!({"schema": schema}));
        if self.streams {
            let event = json!({
                "type": "object",
                "required": ["data"],
                "properties": {
                    "data": {
                        "type": "string",
                        "description": "A chunk of the answer as JSON, or [DONE].",
                    },
                },
            });
            content.insert("text/event-stream".into(), json!({"schema": event}));
        }
        let mut responses = BTreeMap::new();
        responses.insert(
            "200".to_owned(),
            json!({"description": "The answer.", "content": content}),
        );
        for (status, description) in self.errors() {
            let schema = generator.subschema_for::<ErrorBody>();
            let content = json!({"application/json": {"schema": schema}});
            let response = json!({"description": description, "content": content});
            responses.insert(status.to_string(), response);
        }
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": responses,
        });
        if self.needs_key {
            operation["security"] = json!([{"key": []}, {}]);
        }
        if let Some(name) = self.parameter {
            let schema = json!({"type": "string", "minLength": 1});
            let parameter = json!({"name": name, "in": "path", "required": true, "schema": schema});
            operation["parameters"] = json!([parameter]);
        }
        if self.request.is_empty() {
            return json!({"get": operation});
        }
        let parts: Vec<Schema> = self.request.iter().map(|part| part(generator)).collect();
        let schema = match &parts[..] {
            [whole] => json!(whole),
            parts => json!({"allOf": parts}),
        };
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema}},
        });
        json!({"post": operation})
    }
}

/// The document that describes some endpoints.
pub(super) fn document(endpoints: Vec<Endpoint>) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints {
        // OpenAPI has no wildcards like the router's.
        let path = endpoint.path.replace("{*", "{");
        paths.insert(path, endpoint.describe(&mut generator));
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "specdec",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Lossless speculative decoding over OpenAI's API. Fields that are not listed are refused if they would change the answer, and ignored otherwise.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": generator.take_definitions(true),
        },
    });
    remove_formats(&mut document);
    document
}

/// Removes the names of Rust's number types, which JSON Schema doesn't know.
fn remove_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("format").is_some_and(Value::is_string) {
                fields.remove("format");
            }
            fields.values_mut().for_each(remove_formats);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_formats),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::router::endpoints;
    use crate::settings::SETTINGS;

    #[test]
    fn settings_have_their_ranges_and_meanings() {
        let document = document(endpoints());
        let fields = &document["components"]["schemas"]["SettingFields"]["properties"];
        assert_eq!(fields["min_p"]["minimum"], 0);
        assert_eq!(fields["min_p"]["maximum"], 1);
        assert_eq!(fields["top_p"]["exclusiveMinimum"], 0);
        assert_eq!(fields["temperature"]["maximum"], 2);
        for setting in SETTINGS {
            if let Some(field) = fields.get(setting.name) {
                assert!(field["description"].is_string(), "{}", setting.name);
            }
        }
    }

    #[test]
    fn every_reference_has_a_schema() {
        let document = document(endpoints());
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
