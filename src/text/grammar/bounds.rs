//! Bounds what compiling a format may take where llguidance has no limit of its own.

use serde_json::Value;

use super::divisors;
use crate::response_format::ResponseFormat;

/// The pairs of `patternProperties` of the same object, which are all compared with each other: some tenths of a second.
const MAX_PAIRS: usize = 100 * 100;

/// Fails if a format would take too much time or memory to compile.
pub(super) fn check(format: &ResponseFormat) -> Result<(), String> {
    match format {
        ResponseFormat::JsonSchema(schema) => check_schema(schema),
        ResponseFormat::Lark(grammar) => {
            let embedded = grammar.split("%json").skip(1);
            let parsed = embedded.filter_map(|text| {
                let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
                values.next()?.ok()
            });
            parsed
                .into_iter()
                .try_for_each(|schema| check_schema(&schema))
        }
        ResponseFormat::JsonObject | ResponseFormat::Regex(_) => Ok(()),
    }
}

fn check_schema(schema: &Value) -> Result<(), String> {
    divisors::check(schema)?;
    match pairs(schema) {
        0..=MAX_PAIRS => Ok(()),
        _ => Err("an object may have at most 100 patternProperties".into()),
    }
}

/// The pairs of patterns in all objects of a schema.
fn pairs(schema: &Value) -> usize {
    let inner: usize = match schema {
        Value::Object(fields) => fields.values().map(pairs).sum(),
        Value::Array(list) => list.iter().map(pairs).sum(),
        _ => 0,
    };
    let patterns = schema.get("patternProperties").and_then(Value::as_object);
    let patterns = patterns.map_or(0, serde_json::Map::len);
    inner + patterns * patterns
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A schema with so many patterns in each of some objects.
    fn patterns(objects: usize, count: usize) -> Value {
        let patterns = (0..count).map(|number| (format!("^a{number}(b|c)*$"), json!({})));
        let object = json!({"patternProperties": patterns.collect::<serde_json::Map<_, _>>()});
        json!({"anyOf": vec![object; objects]})
    }

    #[test]
    fn patterns_are_bounded_in_all_objects_together() {
        let check = |schema| check(&ResponseFormat::JsonSchema(schema));
        assert_eq!(check(patterns(1, 100)), Ok(()));
        assert_eq!(check(patterns(25, 20)), Ok(()));
        assert!(check(patterns(1, 101)).is_err());
        assert!(check(patterns(26, 20)).is_err());
    }

    #[test]
    fn schemas_within_grammars_are_bounded_too() {
        let lark = |schema: Value| ResponseFormat::Lark(format!("start: %json {schema}"));
        assert_eq!(check(&lark(patterns(1, 3))), Ok(()));
        assert!(check(&lark(patterns(1, 101))).is_err());
        assert!(check(&lark(json!({"multipleOf": 99_999_989}))).is_err());
        let escaped = "start: a\na: %json {\"multipleO\\u0066\": 99999989}\n";
        assert!(check(&ResponseFormat::Lark(escaped.into())).is_err());
    }
}
