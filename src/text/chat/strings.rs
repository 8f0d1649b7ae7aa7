//! Python's methods of texts and lists that templates call, where `minijinja_contrib::pycompat` lacks them or their keywords
//! (<https://docs.python.org/3/library/stdtypes.html#string-methods>). Positions count characters.
//!
//! `MiniJinja` takes fuel for a method's text and for its result. A result that may be much larger than the text is paid before
//! it is made.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::guard;

/// The longest text that a method pads to.
const MAX_WIDTH: usize = 1 << 16;
/// Characters that are compared for one unit of fuel.
const COMPARISONS_PER_FUEL: usize = 1 << 10;

/// Calls a method that `MiniJinja`'s own values don't have.
pub(super) fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let own = match value.as_str() {
        Some(text) => text_method(state, text, method, arguments)?,
        None if value.kind() == ValueKind::Seq => list_method(value, method, arguments)?,
        None if value.kind() == ValueKind::Map && method == "copy" => {
            let () = from_args(arguments)?;
            Some(value.clone())
        }
        None => None,
    };
    match own {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, arguments),
    }
}

/// `None`: there is no such method here.
fn text_method(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        // The library's own do the rest.
        "format" => {
            check_widths(text)?;
            pay_format(state, text, '{', arguments.iter())?;
            return Ok(None);
        }
        "strip" | "lstrip" | "rstrip" => {
            let set = arguments.first().and_then(Value::as_str);
            pay_strip(state, text, set)?;
            return Ok(None);
        }
        "split" | "rsplit" => split(state, text, method == "rsplit", arguments)?,
        "splitlines" => {
            let (keep, options): (Option<bool>, Kwargs) = from_args(arguments)?;
            let keep = keep.or(options.get("keepends")?).unwrap_or(false);
            options.assert_all_used()?;
            state.consume_fuel(text.matches(is_line_break).count() as u64)?;
            split_lines(text, keep)
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            partition(text, separator, method == "rpartition")?
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, method, arguments)?,
        "startswith" | "endswith" => {
            let (affix, start, end): (Value, Option<i64>, Option<i64>) = from_args(arguments)?;
            let (text, _) = part(text, start, end);
            let one = |affix: &str| match method {
                "startswith" => text.starts_with(affix),
                _ => text.ends_with(affix),
            };
            match affix.as_str() {
                Some(affix) => one(affix).into(),
                None => affix
                    .try_iter()?
                    .any(|affix| affix.as_str().is_some_and(one))
                    .into(),
            }
        }
        "replace" => {
            let (old, new, count, options): (&str, &str, Option<i64>, Kwargs) =
                from_args(arguments)?;
            let count = count.or(options.get("count")?).unwrap_or(-1);
            options.assert_all_used()?;
            let limit = usize::try_from(count).unwrap_or(usize::MAX);
            let replaced = text.matches(old).take(limit).count();
            pay_bytes(state, replaced.saturating_mul(new.len()))?;
            match usize::try_from(count) {
                Ok(count) => text.replacen(old, new, count).into(),
                Err(_) => text.replace(old, new).into(),
            }
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "ljust" | "rjust" | "center" | "zfill" => pad(text, method, arguments)?,
        "casefold" => {
            let () = from_args(arguments)?;
            text.to_lowercase().replace('ß', "ss").into()
        }
        "swapcase" => {
            let () = from_args(arguments)?;
            text.chars().map(swap_case).collect::<String>().into()
        }
        "expandtabs" => {
            let (size, options): (Option<usize>, Kwargs) = from_args(arguments)?;
            let size = size.or(options.get("tabsize")?).unwrap_or(8);
            options.assert_all_used()?;
            let size = size.min(MAX_WIDTH);
            pay_bytes(state, text.matches('\t').count().saturating_mul(size))?;
            expand_tabs(text, size).into()
        }
        "isdecimal" => {
            let () = from_args(arguments)?;
            let all = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
            (!text.is_empty() && all(text)).into()
        }
        "isidentifier" => {
            let () = from_args(arguments)?;
            let word = |letter: char| letter.is_alphanumeric() || letter == '_';
            (text.chars().all(word)
                && !text.starts_with(|first: char| first.is_numeric())
                && !text.is_empty())
            .into()
        }
        "isprintable" => {
            let () = from_args(arguments)?;
            (!text.chars().any(char::is_control)).into()
        }
        "istitle" => {
            let () = from_args(arguments)?;
            is_title(text).into()
        }
        _ => return Ok(None),
    }))
}

fn list_method(list: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "copy" => {
            let () = from_args(arguments)?;
            Ok(Some(list.clone()))
        }
        "index" => {
            let (wanted,): (Value,) = from_args(arguments)?;
            let position = list.try_iter()?.position(|entry| entry == wanted);
            let missing = || failed(format!("{wanted} is not in list"));
            Ok(Some(position.ok_or_else(missing)?.into()))
        }
        _ => Ok(None),
    }
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn pay_bytes(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / guard::BYTES_PER_FUEL) as u64)
}

/// Pays for a format whose every field may show all of the arguments.
fn pay_format<'a>(
    state: &State<'_, '_>,
    format: &str,
    field: char,
    arguments: impl Iterator<Item = &'a Value>,
) -> Result<(), Error> {
    let spent = || state.fuel_levels().map_or(0, |(spent, _)| spent);
    let before = spent();
    for argument in arguments {
        guard::visit_with_text(state, argument)?;
    }
    let arguments = spent() - before;
    let fields = format.matches(field).count() as u64;
    state.consume_fuel(arguments.saturating_mul(fields))
}

/// Refuses fields of `str.format` that are wider than [`MAX_WIDTH`], and so many wide ones that the text would be huge.
fn check_widths(format: &str) -> Result<(), Error> {
    let format = format.replace("{{", "");
    let fields = format.split('{').skip(1);
    let fields = fields.filter_map(|field| field.split('}').next());
    let numbers = fields.flat_map(|field| field.split(|letter: char| !letter.is_ascii_digit()));
    let mut total = 0;
    for number in numbers.filter(|number| !number.is_empty()) {
        total += number.parse().unwrap_or(usize::MAX).min(MAX_WIDTH + 1);
        if total > MAX_WIDTH {
            let message = format!("format: expected widths of at most {MAX_WIDTH} together");
            return Err(failed(message));
        }
    }
    Ok(())
}

/// The filter `format`: `'%s' % x`.
#[allow(
    clippy::needless_pass_by_value,
    reason = "minijinja's filters have this signature"
)]
pub(super) fn percent_format(
    state: &mut State<'_, '_>,
    format: &Value,
    Rest(arguments): Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let text = format.as_str().unwrap_or_default();
    pay_format(
        state,
        text,
        '%',
        arguments.iter().map(|argument| &**argument),
    )?;
    minijinja::filters::format(state, format, Rest(arguments))
}

fn pay_strip(state: &State<'_, '_>, text: &str, set: Option<&str>) -> Result<(), Error> {
    let comparisons = text.len().saturating_mul(set.unwrap_or_default().len());
    state.consume_fuel((comparisons / COMPARISONS_PER_FUEL) as u64)
}

/// The filter `trim`.
pub(super) fn trim(
    state: &State<'_, '_>,
    text: StringInput<'_>,
    set: Option<Cow<'_, str>>,
) -> Result<Value, Error> {
    pay_strip(state, text.as_str(), set.as_deref())?;
    Ok(minijinja::filters::trim(text, set))
}

fn list(texts: Vec<&str>) -> Value {
    texts.into_iter().map(Value::from).collect()
}

/// `split(sep=None, maxsplit=-1)`, from the left or from the right.
fn split(
    state: &State<'_, '_>,
    text: &str,
    from_right: bool,
    arguments: &[Value],
) -> Result<Value, Error> {
    let (separator, limit, options): (Option<Value>, Option<i64>, Kwargs) = from_args(arguments)?;
    let separator = separator.or(options.get("sep")?);
    let limit = limit.or(options.get("maxsplit")?).unwrap_or(-1);
    options.assert_all_used()?;
    // A negative limit is none.
    let count = usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1));
    let separator = separator.filter(|separator| !separator.is_none());
    let most = match separator.as_ref().and_then(Value::as_str) {
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count(),
    };
    state.consume_fuel(most.min(count) as u64)?;
    let mut parts: Vec<&str> = match separator.as_ref().map(|separator| separator.as_str()) {
        Some(None) => return Err(failed("split: the separator is not a text")),
        Some(Some("")) => return Err(failed("empty separator")),
        Some(Some(separator)) if from_right => text.rsplitn(count, separator).collect(),
        Some(Some(separator)) => text.splitn(count, separator).collect(),
        None if from_right => words_from_right(text, count),
        None => words(text, count),
    };
    if from_right {
        parts.reverse();
    }
    Ok(list(parts))
}

/// The words of a text; the last of `count` is the rest of it.
fn words(text: &str, count: usize) -> Vec<&str> {
    let mut rest = text.trim_start();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        if parts.len() + 1 == count {
            parts.push(rest);
            break;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    parts
}

/// The same from the right, the last word first.
fn words_from_right(text: &str, count: usize) -> Vec<&str> {
    let mut rest = text.trim_end();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        if parts.len() + 1 == count {
            parts.push(rest);
            break;
        }
        let space = rest
            .char_indices()
            .rfind(|(_, letter)| letter.is_whitespace());
        let start = space.map_or(0, |(index, letter)| index + letter.len_utf8());
        parts.push(&rest[start..]);
        rest = rest[..start].trim_end();
    }
    parts
}

fn is_line_break(letter: char) -> bool {
    matches!(
        letter,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

fn split_lines(text: &str, keep_ends: bool) -> Value {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(is_line_break) {
        let width = match rest[end..].starts_with("\r\n") {
            true => 2,
            false => rest[end..].chars().next().map_or(1, char::len_utf8),
        };
        lines.push(&rest[..if keep_ends { end + width } else { end }]);
        rest = &rest[end + width..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    list(lines)
}

fn partition(text: &str, separator: &str, from_right: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(failed("empty separator"));
    }
    let parts = match from_right {
        true => text.rsplit_once(separator),
        false => text.split_once(separator),
    };
    Ok(list(match (parts, from_right) {
        (Some((before, after)), _) => vec![before, separator, after],
        (None, true) => vec!["", "", text],
        (None, false) => vec![text, "", ""],
    }))
}

/// A text's characters from `start` to `end`, which may count from the end, and the position of the first.
fn part(text: &str, start: Option<i64>, end: Option<i64>) -> (&str, usize) {
    let length = text.chars().count();
    let position = |given: Option<i64>, default: usize| match given {
        None => default,
        Some(given) if given < 0 => length.saturating_sub(given.unsigned_abs() as usize),
        Some(given) => (given as usize).min(length),
    };
    let (start, end) = (position(start, 0), position(end, length));
    let byte = |position: usize| {
        let mut indices = text.char_indices();
        indices.nth(position).map_or(text.len(), |(index, _)| index)
    };
    (&text[byte(start)..byte(end.max(start))], start)
}

/// `find`, `index`, `count`, ...: `(sub, start=None, end=None)`.
fn search(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(arguments)?;
    let (text, offset) = part(text, start, end);
    if method == "count" {
        return Ok(text.matches(wanted).count().into());
    }
    let found = match method {
        "find" | "index" => text.find(wanted),
        _ => text.rfind(wanted),
    };
    match found {
        Some(byte) => Ok((offset + text[..byte].chars().count()).into()),
        None if method.ends_with("index") => Err(failed("substring not found")),
        None => Ok((-1).into()),
    }
}

fn pad(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (width, fill, Rest(rest)): (usize, Option<&str>, Rest<Value>) = from_args(arguments)?;
    let fill = match (method, fill) {
        ("zfill", None) => "0",
        ("ljust" | "rjust" | "center", None) => " ",
        ("ljust" | "rjust" | "center", Some(fill)) if fill.chars().count() == 1 => fill,
        _ => {
            return Err(failed(format!(
                "{method}: expected a width and one character"
            )));
        }
    };
    if !rest.is_empty() || width > MAX_WIDTH {
        let message = format!("{method}: expected a width of at most {MAX_WIDTH}");
        return Err(failed(message));
    }
    let length = text.chars().count();
    let missing = width.saturating_sub(length);
    let left = match method {
        "ljust" => 0,
        // Python puts the odd character to the left if the width is odd, too.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let (sign, digits) = match (method, text.strip_prefix(['+', '-'])) {
        ("zfill", Some(digits)) => (&text[..1], digits),
        _ => ("", text),
    };
    let (before, after) = (fill.repeat(left), fill.repeat(missing - left));
    Ok(format!("{sign}{before}{digits}{after}").into())
}

fn swap_case(letter: char) -> String {
    match letter.is_uppercase() {
        true => letter.to_lowercase().collect(),
        false => letter.to_uppercase().collect(),
    }
}

fn expand_tabs(text: &str, size: usize) -> String {
    let mut column = 0;
    let mut expanded = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' if size == 0 => {}
            '\t' => {
                let width = size - column % size;
                expanded.push_str(&" ".repeat(width));
                column += width;
            }
            _ => {
                expanded.push(letter);
                column = if matches!(letter, '\n' | '\r') {
                    0
                } else {
                    column + 1
                };
            }
        }
    }
    expanded
}

fn is_title(text: &str) -> bool {
    let mut after_letter = false;
    let mut any = false;
    for letter in text.chars() {
        if letter.is_uppercase() == after_letter && letter.is_alphabetic() {
            return false;
        }
        after_letter = letter.is_alphabetic();
        any |= after_letter;
    }
    any
}
