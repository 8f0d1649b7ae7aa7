//! Changes to JSON: values are replaced, repeated, removed, or taken from another place, so that what follows the parser is
//! reached. They take turns with libFuzzer's own changes, which only know bytes.

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value, json};

/// The most changes to an input at once.
const MAX_CHANGES: usize = 3;

/// How often a value is repeated.
const REPEATS: [usize; 4] = [1, 2, 20, 300];

/// Changes an input, as libFuzzer asks for it: `fuzz_mutator!` calls it. Returns the new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let random = &mut Random(seed.into());
    if random.below(3) > 0
        && let Some(changed) = change_json(&data[..size], random)
        && changed.len() <= max_size
    {
        data[..changed.len()].copy_from_slice(&changed);
        return changed.len();
    }
    fuzzer_mutate(data, size, max_size)
}

/// An input, one of whose parts, which is JSON, was changed; `None` if none is.
fn change_json(input: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = input.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let is_structured = |value: &Value| value.is_object() || value.is_array();
    let parsed = parts.iter().enumerate().filter_map(|(index, part)| {
        let value = serde_json::from_slice(part).ok();
        Some((index, value.filter(is_structured)?))
    });
    let mut parsed: Vec<(usize, Value)> = parsed.collect();
    if parsed.is_empty() {
        return None;
    }
    let (index, mut value) = parsed.swap_remove(random.below(parsed.len()));
    for _ in 0..=random.below(MAX_CHANGES) {
        let count = count(&value);
        let other = nth(&mut value, &mut random.below(count)).clone();
        change(nth(&mut value, &mut random.below(count)), other, random);
    }
    parts[index] = value.to_string().into_bytes();
    Some(parts.join(&0))
}

/// The number of values in a value, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// The value of a number in a walk through all of them.
fn nth<'a>(value: &'a mut Value, number: &mut usize) -> &'a mut Value {
    let is_here = |value: &Value, number: &mut usize| {
        let size = count(value);
        let here = *number < size;
        *number -= if here { 0 } else { size };
        here
    };
    if *number == 0 {
        return value;
    }
    *number -= 1;
    match value {
        Value::Array(items) => {
            let mut items = items.iter_mut();
            let found = items.find_map(|item| is_here(item, number).then_some(item));
            nth(found.expect("the walk is as long as `count` says"), number)
        }
        Value::Object(fields) => {
            let mut items = fields.values_mut();
            let found = items.find_map(|item| is_here(item, number).then_some(item));
            nth(found.expect("the walk is as long as `count` says"), number)
        }
        leaf => leaf,
    }
}

/// Changes one value; `other` is another one of the same document.
fn change(value: &mut Value, other: Value, random: &mut Random) {
    match (random.below(5), &mut *value) {
        (0, value) => *value = other,
        (1, Value::Array(items)) if !items.is_empty() => {
            items.swap_remove(random.below(items.len()));
        }
        (1, Value::Object(fields)) if !fields.is_empty() => {
            let name = fields.keys().nth(random.below(fields.len())).cloned();
            fields.remove(&name.expect("an index below the length"));
        }
        (2, Value::Array(items)) => {
            items.extend(vec![other; REPEATS[random.below(REPEATS.len())]]);
        }
        (2, Value::Object(fields)) => add_field(fields, other, random),
        (3, Value::String(text)) => *text = change_text(text, &other, random),
        (3, Value::Number(number)) => *value = change_number(number, random),
        (4, value) => *value = json!([value]),
        (_, value) => *value = constant(random),
    }
}

/// Adds a field: by a new name, or by that of another document's field.
fn add_field(fields: &mut Map<String, Value>, other: Value, random: &mut Random) {
    let name = match &other {
        Value::String(text) => text.clone(),
        Value::Object(others) if !others.is_empty() => {
            let name = others.keys().nth(random.below(others.len())).cloned();
            name.expect("an index below the length")
        }
        _ => format!("x{}", random.below(100)),
    };
    fields.insert(name, other);
}

fn change_text(text: &str, other: &Value, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = random.below(characters.len() + 1);
    match random.below(4) {
        0 => characters.truncate(at),
        1 => characters.insert(at, random.character()),
        2 => return text.repeat(REPEATS[random.below(REPEATS.len())]),
        _ => {
            let inserted = other.as_str().unwrap_or("0").chars();
            characters.splice(at..at, inserted);
        }
    }
    characters.into_iter().collect()
}

fn change_number(number: &serde_json::Number, random: &mut Random) -> Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => match random.below(4) {
            0 => json!(whole.wrapping_add(1)),
            1 => json!(whole.wrapping_sub(1)),
            2 => json!(whole.wrapping_mul(2)),
            _ => json!(whole.wrapping_neg()),
        },
        (None, Some(number)) => json!(number * [0.5, 2.0, -1.0, 1e30][random.below(4)]),
        (None, None) => Value::Null,
    }
}

/// A value at which mistakes are usual.
fn constant(random: &mut Random) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!([]),
        json!({}),
        json!("\u{0}"),
        json!("\u{1F600}\u{301}"),
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(1 << 16),
        json!(i64::from(i32::MIN)),
        json!(u32::MAX),
        json!(1_u64 << 32),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(0.5),
        json!(-0.0),
        json!(1e-320),
        json!(1e308),
    ];
    all[random.below(all.len())].clone()
}

/// Random numbers, by Steele and others' generator of 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A character of syntax, or any.
    fn character(&mut self) -> char {
        let syntax = r#"{}[]()<>|*+?.\/"'%#-_=: "#.as_bytes();
        match self.below(4) {
            0 => char::from_u32(self.below(0x11_0000) as u32).unwrap_or('\u{fffd}'),
            _ => char::from(syntax[self.below(syntax.len())]),
        }
    }
}
