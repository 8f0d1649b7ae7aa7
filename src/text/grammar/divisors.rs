//! Bounds `multipleOf` of JSON schemas: its automaton has a state for each remainder, and nothing else limits their number.

use serde_json::Value;

/// The remainders that an automaton may have: with about a kilobyte each, tens of megabytes.
const MOST: u128 = 20_000;

/// Fails if numbers of a schema would have to be multiples of too large a number. Where schemas are joined (`allOf`, `$ref`), a
/// number may have to be a multiple of all of them.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut divisors = Vec::new();
    let joined = collect(schema, &mut divisors);
    for divisor in &divisors {
        bounded(divisor, divisor.coefficient)?;
    }
    if !joined {
        return Ok(());
    }
    let finest = divisors.iter().map(|divisor| divisor.decimals).max();
    let mut common: u128 = 1;
    for divisor in &divisors {
        let finer = finest.unwrap_or(0) - divisor.decimals;
        let scaled = divisor.coefficient * 10_u128.pow(finer.min(MAX_DECIMALS));
        common = common / gcd(common, scaled) * scaled;
        bounded(divisor, common)?;
    }
    Ok(())
}

/// More decimals than these are too fine in any case.
const MAX_DECIMALS: u32 = 9;

/// `coefficient` / 10^`decimals`.
struct Divisor {
    text: String,
    coefficient: u128,
    decimals: u32,
}

impl Divisor {
    /// `None`: a number that is too long or too fine.
    fn parse(text: String) -> Option<Self> {
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text.as_str(), 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let coefficient: u128 = format!("{whole}{fraction}").parse().ok()?;
        let decimals = i32::try_from(fraction.len()).ok()? - exponent;
        let zeros = u32::try_from(-decimals).unwrap_or(0);
        let decimals = u32::try_from(decimals).unwrap_or(0);
        if zeros > MAX_DECIMALS || decimals > MAX_DECIMALS {
            return None;
        }
        Some(Self {
            coefficient: coefficient.checked_mul(10_u128.pow(zeros))?,
            text,
            decimals,
        })
    }
}

fn bounded(divisor: &Divisor, remainders: u128) -> Result<(), String> {
    match remainders <= MOST {
        true => Ok(()),
        false => Err(too_many(&divisor.text)),
    }
}

fn too_many(text: &str) -> String {
    format!(
        "multipleOf {text} needs more than {MOST} remainders, alone or with others that it is joined with"
    )
}

/// Adds the divisors of a schema and those within it; returns whether any schemas are joined. One that is too large by itself
/// counts as [`MOST`] + 1.
fn collect(schema: &Value, divisors: &mut Vec<Divisor>) -> bool {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Number(number)) = fields.get("multipleOf") {
                let text = number.to_string();
                divisors.push(Divisor::parse(text.clone()).unwrap_or(Divisor {
                    text,
                    coefficient: MOST + 1,
                    decimals: 0,
                }));
            }
            let joined = fields.contains_key("allOf") || fields.contains_key("$ref");
            let within = fields.values().map(|value| collect(value, divisors));
            within.fold(joined, |any, each| any | each)
        }
        Value::Array(values) => {
            let within = values.iter().map(|value| collect(value, divisors));
            within.fold(false, |any, each| any | each)
        }
        _ => false,
    }
}

fn gcd(left: u128, right: u128) -> u128 {
    match right {
        0 => left.max(1),
        right => gcd(right, left % right),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinary_divisors_pass() {
        for schema in [
            json!({"type": "integer", "multipleOf": 1000}),
            json!({"properties": {"a": {"multipleOf": 0.01}, "b": {"multipleOf": 9973}, "c": {"multipleOf": 9967}}}),
            json!({"allOf": [{"multipleOf": 4}, {"multipleOf": 6.5}, {"multipleOf": 1e2}]}),
            json!({"multipleOf": 0}),
        ] {
            assert_eq!(check(&schema), Ok(()), "{schema}");
        }
    }

    #[test]
    fn large_ones_are_refused_alone_and_joined() {
        for schema in [
            json!({"multipleOf": 99_999_989}),
            json!({"multipleOf": 3.333_333_3}),
            json!({"items": [{"multipleOf": 1e30}]}),
            json!({"multipleOf": 1e-30}),
            json!({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}),
            json!({"$defs": {"a": {"multipleOf": 9973}}, "$ref": "#/$defs/a", "multipleOf": 0.7}),
        ] {
            let message = check(&schema).unwrap_err();
            assert!(message.contains("multipleOf"), "{message}");
        }
    }
}
