//! The filter `tojson`: JSON as Python's `json.dumps` writes it (<https://docs.python.org/3/library/json.html#json.dumps>).

use std::fmt::Write as _;
use std::io::{self, Write};

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind, State};
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::guard;

/// The widest indentation.
const MAX_INDENT: usize = 16;

/// The filter, with the arguments that transformers gives it: `ensure_ascii=False, indent=None, separators=None,
/// sort_keys=False`.
#[allow(
    clippy::needless_pass_by_value,
    reason = "minijinja's filters have this signature"
)]
pub(super) fn to_json(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<bool>,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let invalid = |error: String| {
        let message = format!("tojson: {error}");
        Error::new(ErrorKind::BadSerialization, message)
    };
    let indent = indent.or(options.get("indent")?);
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) if indent.as_str().is_some() => indent.as_str().map(str::to_owned),
        Some(width) => {
            let width = usize::try_from(width).map_err(|error| invalid(error.to_string()))?;
            Some(" ".repeat(width.min(MAX_INDENT)))
        }
    };
    let given: Option<Vec<String>> = options.get("separators")?;
    let (item, key) = match given.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(invalid("separators: expected two texts".into())),
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let style = Style {
        item,
        key,
        indent,
        ascii: ensure_ascii
            .or(options.get("ensure_ascii")?)
            .unwrap_or(false),
        depth: 0,
        is_empty: true,
    };
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    guard::visit(state, value)?;
    let mut text = Paid {
        state,
        bytes: Vec::new(),
        unpaid: 0,
    };
    let mut serializer = Serializer::with_formatter(&mut text, style);
    let written = match sort_keys.unwrap_or(false) {
        false => value.serialize(&mut serializer),
        true => serde_json::to_value(value).and_then(|mut value| {
            value.sort_all_objects();
            value.serialize(&mut serializer)
        }),
    };
    // Without fuel, this error says so.
    state.consume_fuel(0)?;
    written.map_err(|error| invalid(error.to_string()))?;
    let text = String::from_utf8(text.bytes).map_err(|error| invalid(error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// A number as Python's `repr` writes it: the shortest text that reads as the same number.
pub(super) fn float_text(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..16 => {
            let text = value.to_string();
            match exponent >= 0 && !text.contains('.') {
                true => text + ".0",
                false => text,
            }
        }
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

/// A text that grows only as long as there is fuel.
struct Paid<'a, 'env, 'template> {
    state: &'a State<'env, 'template>,
    bytes: Vec<u8>,
    unpaid: usize,
}

impl Write for Paid<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unpaid += bytes.len();
        let fuel = self.unpaid / guard::BYTES_PER_FUEL;
        self.unpaid %= guard::BYTES_PER_FUEL;
        self.state
            .consume_fuel(fuel as u64)
            .map_err(io::Error::other)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands between the values.
struct Style {
    item: String,
    key: String,
    indent: Option<String>,
    /// Whether characters beyond ASCII are escaped.
    ascii: bool,
    depth: usize,
    /// Whether nothing was written since the last bracket opened.
    is_empty: bool,
}

impl Style {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.is_empty {
            self.new_line(writer)?;
        }
        self.is_empty = false;
        writer.write_all(bracket)
    }

    fn entry<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.is_empty = false;
        self.new_line(writer)
    }

    fn new_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else {
            return Ok(());
        };
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(indent.as_bytes()))
    }
}

impl Formatter for Style {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.entry(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.entry(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float_text(value).as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let text = match escape {
            CharEscape::Quote => "\\\"",
            CharEscape::ReverseSolidus => "\\\\",
            CharEscape::Solidus => "/",
            CharEscape::Backspace => "\\b",
            CharEscape::FormFeed => "\\f",
            CharEscape::LineFeed => "\\n",
            CharEscape::CarriageReturn => "\\r",
            CharEscape::Tab => "\\t",
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04x}"),
        };
        writer.write_all(text.as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ascii || fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        let mut text = String::new();
        for character in fragment.chars() {
            match character.is_ascii() {
                true => text.push(character),
                false => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
            }
        }
        writer.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_python() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e20, "1.5e+20"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (0.0, "0.0"),
            (1e300, "1e+300"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }
}
