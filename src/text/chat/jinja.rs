//! Jinja as templates know it: Jinja2 in transformers' set-up, with Python's methods, out of `MiniJinja`.
//!
//! Templates come from strangers. What one may take is bounded: its length ([`MAX_SOURCE`]), its work and memory ([`FUEL`], which
//! our own filters, functions and methods pay as well), the nesting of its values ([`guard`]) and of its program ([`program`]),
//! and, as the parser descends once for each `elif`, the stack on which it runs ([`STACK`]).

use std::collections::BTreeMap;

use minijinja::machinery::{CodeGenerator, Instructions, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, escape_formatter};

use super::globals::{cycler, joiner};
use super::guard;
use super::json::{float_text, to_json};
use super::program;
use super::strings;
use crate::error::excerpt;

/// What errors call a template.
const NAME: &str = "chat template";
/// Bytes of the longest template; known ones have a tenth of it.
pub(super) const MAX_SOURCE: usize = 128 << 10;
/// Bytes of stack for the longest template; only what is used of them takes memory.
pub(super) const STACK: usize = 256 << 20;
/// What a template may execute: instructions, and 64 bytes each of what it makes. A long conversation needs a few thousand.
const FUEL: u64 = 5_000_000;
/// Bytes of the longest format of a date.
const MAX_DATE_FORMAT: usize = 256;

/// The compiled program of a template, and its blocks.
type Program<'source> = (
    Instructions<'source>,
    BTreeMap<&'source str, Instructions<'source>>,
);

/// Fails if a template is no valid program, or too long a one.
pub(super) fn check(source: &str) -> Result<(), Error> {
    compile(source).map(drop)
}

/// Renders a template with values by their names.
pub(super) fn render(source: &str, names: Value) -> Result<String, Error> {
    let (instructions, blocks) = compile(source)?;
    let environment = environment();
    let mut text = String::new();
    let mut output = make_string_output(&mut text);
    eval(
        &environment,
        &instructions,
        names,
        &blocks,
        &mut output,
        AutoEscape::None,
    )?;
    Ok(text)
}

fn compile(source: &str) -> Result<Program<'_>, Error> {
    if source.len() > MAX_SOURCE {
        let message = format!(
            "the template has {} bytes: expected at most {MAX_SOURCE}",
            source.len()
        );
        return Err(Error::new(ErrorKind::SyntaxError, message));
    }
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    let parsed = parse(source, NAME, syntax)?;
    program::check(&parsed)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&parsed);
    let (instructions, blocks) = generator.finish();
    Ok((
        guard::guarded(&instructions),
        guard::guarded_blocks(&blocks),
    ))
}

/// What templates find: filters, tests, functions and methods.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    guard::add_filters(&mut environment);
    environment.set_unknown_method_callback(strings::call_method);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.add_filter("tojson", to_json);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", is_callable);
    environment.add_filter("format", strings::percent_format);
    environment.add_filter("trim", strings::trim);
    environment.add_function("cycler", cycler);
    environment.add_function("joiner", joiner);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    // It prints all variables, whatever they hold.
    environment.remove_global("debug");
    environment.set_formatter(|output, state, value| {
        guard::visit(state, value)?;
        let is_float = value.is_number() && !value.is_integer();
        match f64::try_from(value.clone()) {
            Ok(number) if is_float => Ok(output.write_str(&float_text(number))?),
            _ => escape_formatter(output, state, value),
        }
    });
    environment
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

fn raise_exception(state: &State<'_, '_>, message: &Value) -> Result<Value, Error> {
    guard::visit_with_text(state, message)?;
    let message = match message.as_str() {
        Some(text) => excerpt(text),
        None => excerpt(&message.to_string()),
    };
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The current time in Python's `strftime` format.
fn strftime_now(format: &str) -> Result<String, Error> {
    let invalid = |error: String| {
        let message = format!("strftime_now: {error}");
        Error::new(ErrorKind::BadSerialization, message)
    };
    if format.len() > MAX_DATE_FORMAT {
        return Err(invalid(format!("expected at most {MAX_DATE_FORMAT} bytes")));
    }
    jiff::fmt::strtime::format(format, &jiff::Zoned::now())
        .map_err(|error| invalid(format!("{format:?}: {error}")))
}
