//! Jinja as templates know it: Jinja2 in transformers' set-up, with Python's methods, out of `MiniJinja`.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, escape_formatter};
use minijinja_contrib::globals::cycler;

use super::json::{float_text, to_json};
use super::strings;

/// The maximum number of instructions that a template may execute; a long conversation needs a few thousand.
const FUEL: u64 = 10_000_000;

/// What templates find: filters, tests, functions and methods.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(strings::call_method);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.add_filter("tojson", to_json);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", is_callable);
    environment.add_function("cycler", |Rest(items): Rest<Value>| cycler(items));
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.set_formatter(|output, state, value| {
        let is_float = value.is_number() && !value.is_integer();
        match f64::try_from(value.clone()) {
            Ok(number) if is_float => Ok(output.write_str(&float_text(number))?),
            _ => escape_formatter(output, state, value),
        }
    });
    Ok(environment)
}

/// None is not, though a loop over it does nothing.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// What has a length and entries: texts and mappings too.
fn is_sequence(value: &Value) -> bool {
    let kinds = [
        ValueKind::Seq,
        ValueKind::String,
        ValueKind::Map,
        ValueKind::Undefined,
    ];
    kinds.contains(&value.kind())
}

fn is_callable(value: &Value) -> bool {
    value.kind() == ValueKind::Plain
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The current time in Python's `strftime` format.
fn strftime_now(format: &str) -> Result<String, Error> {
    let invalid = |error: jiff::Error| {
        let message = format!("strftime_now({format:?}): {error}");
        Error::new(ErrorKind::InvalidOperation, message)
    };
    jiff::fmt::strtime::format(format, &jiff::Zoned::now()).map_err(invalid)
}
