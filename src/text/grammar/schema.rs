//! JSON schemas in the keywords that llguidance compiles: those that say nothing are left out, and older forms are written as
//! newer ones. A keyword that does restrict a value stays, and is refused by its name where it isn't supported.

use serde_json::{Map, Value, json};

/// The formats of texts that llguidance knows; any other is an annotation (JSON Schema, Validation, 7.2.1).
const FORMATS: [&str; 10] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
];

/// Keywords whose value is a schema.
const ONE: [&str; 11] = [
    "additionalProperties",
    "additionalItems",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords whose value is a list of schemas. (`items` may be one, too.)
const LISTS: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];

/// Keywords whose value is an object of schemas.
const MAPS: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];

/// Rewrites a schema, and those within it.
pub(super) fn simplify(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    for name in ONE {
        fields.get_mut(name).map(simplify);
    }
    for name in LISTS {
        let list = fields.get_mut(name).and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(simplify);
    }
    for name in MAPS {
        let map = fields.get_mut(name).and_then(Value::as_object_mut);
        map.into_iter().flat_map(Map::values_mut).for_each(simplify);
    }
    exclusive_bounds(fields);
    nullable(fields);
    fields.retain(|name, value| !says_nothing(name, value));
    without_partner(fields);
}

/// Whether a keyword with this value allows everything.
fn says_nothing(name: &str, value: &Value) -> bool {
    let is_empty = value.as_object().is_some_and(Map::is_empty);
    let anything = is_empty || *value == true;
    match name {
        "dependencies" | "dependentRequired" | "dependentSchemas" => is_empty,
        "unevaluatedProperties" | "unevaluatedItems" => anything,
        // Names are texts in any case.
        "propertyNames" => anything || *value == json!({"type": "string"}),
        "uniqueItems" | "not" => *value == false,
        "format" => !value
            .as_str()
            .is_some_and(|format| FORMATS.contains(&format)),
        _ => false,
    }
}

/// Removes keywords that mean something only beside others which are not there.
fn without_partner(fields: &mut Map<String, Value>) {
    if !fields.contains_key("contains") {
        fields.remove("minContains");
        fields.remove("maxContains");
    }
    let branches = ["then", "else"]
        .iter()
        .any(|name| fields.contains_key(*name));
    if !(fields.contains_key("if") && branches) {
        for name in ["if", "then", "else"] {
            fields.remove(name);
        }
    }
    // What is evaluated elsewhere may only come from these.
    let elsewhere = ["allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas"];
    if fields.get("unevaluatedProperties") == Some(&false.into())
        && !elsewhere.iter().any(|name| fields.contains_key(*name))
        && !fields.contains_key("additionalProperties")
    {
        fields.insert("additionalProperties".into(), false.into());
    }
    if fields.get("additionalProperties") == Some(&false.into())
        && !elsewhere.iter().any(|name| fields.contains_key(*name))
    {
        fields.remove("unevaluatedProperties");
    }
}

/// Draft 4 says that a bound is excluded by a flag beside it.
fn exclusive_bounds(fields: &mut Map<String, Value>) {
    for (flag, bound) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        match fields.get(flag) {
            Some(Value::Bool(true)) => match fields.remove(bound) {
                Some(value) => fields.insert(flag.into(), value),
                None => fields.remove(flag),
            },
            Some(Value::Bool(false)) => fields.remove(flag),
            _ => None,
        };
    }
}

/// `OpenAPI` 3.0 says by a flag that null is allowed, too.
fn nullable(fields: &mut Map<String, Value>) {
    if fields.remove("nullable") != Some(true.into()) {
        return;
    }
    if let Some(kind) = fields.get("type").and_then(Value::as_str) {
        fields.insert("type".into(), json!([kind, "null"]));
    }
    if let Some(values) = fields.get_mut("enum").and_then(Value::as_array_mut)
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simplified(mut schema: Value) -> Value {
        simplify(&mut schema);
        schema
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        for nothing in [
            json!({"dependencies": {}}),
            json!({"dependentRequired": {}}),
            json!({"unevaluatedProperties": true}),
            json!({"propertyNames": {"type": "string"}}),
            json!({"uniqueItems": false}),
            json!({"not": false}),
            json!({"if": {"type": "integer"}}),
            json!({"then": {"type": "integer"}}),
            json!({"minContains": 2}),
            json!({"format": "password"}),
            json!({"nullable": false}),
        ] {
            let mut schema = json!({"type": "string"});
            schema
                .as_object_mut()
                .unwrap()
                .extend(nothing.as_object().unwrap().clone());
            assert_eq!(simplified(schema), json!({"type": "string"}), "{nothing}");
        }
    }

    #[test]
    fn what_restricts_stays() {
        for schema in [
            json!({"uniqueItems": true}),
            json!({"not": {}}),
            json!({"propertyNames": {"pattern": "^a"}}),
            json!({"format": "date"}),
            json!({"contains": {}, "minContains": 1}),
            json!({"if": {}, "then": {"type": "null"}}),
            json!({"allOf": [{}], "unevaluatedProperties": false}),
        ] {
            assert_eq!(simplified(schema.clone()), schema);
        }
    }

    #[test]
    fn values_and_names_are_left_alone() {
        let schema = json!({
            "properties": {"nullable": {"const": {"nullable": true}}, "format": {"enum": [{"uniqueItems": false}]}},
            "default": {"format": "x"},
        });
        assert_eq!(simplified(schema.clone()), schema);
    }

    #[test]
    fn older_forms_are_written_as_newer_ones() {
        let schema = json!({"items": {"type": "number", "minimum": 0, "exclusiveMinimum": true}});
        let newer = json!({"items": {"type": "number", "exclusiveMinimum": 0}});
        assert_eq!(simplified(schema), newer);
        let schema =
            json!({"properties": {"a": {"type": "string", "nullable": true, "enum": ["x"]}}});
        let newer = json!({"properties": {"a": {"type": ["string", "null"], "enum": ["x", null]}}});
        assert_eq!(simplified(schema), newer);
        let schema = json!({"type": "object", "unevaluatedProperties": false});
        let newer = json!({"type": "object", "additionalProperties": false});
        assert_eq!(simplified(schema), newer);
    }
}
