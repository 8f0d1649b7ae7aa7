//! Reading GGUF's primitive values, each checked against the rest of the file.

use std::{fmt::Arguments, path::Path};

use super::metadata::Value;
use crate::error::{Error, Result};

/// Depth to which arrays may nest; no known file nests them.
const MAX_DEPTH: usize = 4;
/// Array elements that a file may hold, at 24 bytes of memory each; the largest vocabularies need 2^20.
const MAX_ELEMENTS: usize = 1 << 24;
/// Bytes of a key or of a tensor's name; ggml allows 64 for a tensor's.
const MAX_NAME: usize = 256;

/// A position in a file's bytes.
pub(super) struct Cursor<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    position: usize,
    /// Array elements read so far.
    elements: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a Path, bytes: &'a [u8]) -> Self {
        Self {
            file,
            bytes,
            position: 0,
            elements: 0,
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(self.file, reason)
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    fn ended(&self, what: Arguments<'_>, expected: usize) -> Error {
        self.corrupt(format!(
            "{what}: expected {expected} bytes at offset {}, found the file's end after {} (an incomplete download?)",
            self.position,
            self.rest().len()
        ))
    }

    pub(super) fn array<const N: usize>(&mut self, what: Arguments<'_>) -> Result<[u8; N]> {
        let Some((bytes, _)) = self.rest().split_first_chunk() else {
            return Err(self.ended(what, N));
        };
        self.position += N;
        Ok(*bytes)
    }

    pub(super) fn u32(&mut self, what: Arguments<'_>) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: Arguments<'_>) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// The count of the items that follow, each of at least `size` bytes: never more than the file can hold.
    pub(super) fn count(&mut self, size: usize, what: Arguments<'_>) -> Result<usize> {
        let found = self.u64(what)?;
        let max = self.rest().len() / size;
        let count = usize::try_from(found).ok().filter(|&count| count <= max);
        count.ok_or_else(|| {
            self.corrupt(format!(
                "{what}: expected a count of at most {max} (what the file's length allows), found {found}"
            ))
        })
    }

    pub(super) fn string(&mut self, what: Arguments<'_>) -> Result<&'a str> {
        let length = self.count(1, what)?;
        let Some((bytes, _)) = self.rest().split_at_checked(length) else {
            return Err(self.ended(what, length));
        };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            self.corrupt(format!(
                "{what}: expected UTF-8 at offset {}, found {error}",
                self.position
            ))
        })?;
        self.position += length;
        Ok(text)
    }

    /// A key, or a tensor's name: short enough to be quoted in messages.
    pub(super) fn name(&mut self, what: Arguments<'_>) -> Result<&'a str> {
        let name = self.string(what)?;
        if name.len() > MAX_NAME {
            return Err(self.corrupt(format!(
                "{what}: expected at most {MAX_NAME} bytes, found {}",
                name.len()
            )));
        }
        Ok(name)
    }

    /// A metadata value with the type code before it.
    pub(super) fn value(&mut self, key: &str) -> Result<Value> {
        let code = self.u32(format_args!("type of {key:?}"))?;
        self.value_of(code, key, 0)
    }

    fn value_of(&mut self, code: u32, key: &str, depth: usize) -> Result<Value> {
        let what = format_args!("value of {key:?}");
        Ok(match code {
            0 => Value::Unsigned(u8::from_le_bytes(self.array(what)?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array(what)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array(what)?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array(what)?).into()),
            4 => Value::Unsigned(self.u32(what)?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array(what)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(what)?).into()),
            7 => match self.array(what)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [found] => {
                    return Err(self.corrupt(format!(
                        "{what}: expected a boolean (0 or 1), found {found}"
                    )));
                }
            },
            8 => Value::String(self.string(what)?.to_owned()),
            9 => Value::Array(self.values(key, depth)?),
            10 => Value::Unsigned(self.u64(what)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(what)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(what)?)),
            _ => {
                return Err(self.corrupt(format!(
                    "type of {key:?}: expected a code from 0 to 12, found {code}"
                )));
            }
        })
    }

    fn values(&mut self, key: &str, depth: usize) -> Result<Vec<Value>> {
        let what = format_args!("array {key:?}");
        if depth == MAX_DEPTH {
            let reason = format!(
                "{what}: expected at most {MAX_DEPTH} arrays within each other, found more"
            );
            return Err(self.corrupt(reason));
        }
        let code = self.u32(what)?;
        // Bytes that an element takes at least: of a string its length, of an array its type and length.
        let size = match code {
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => 12,
            _ => 1,
        };
        let count = self.count(size, what)?;
        self.elements += count;
        if self.elements > MAX_ELEMENTS {
            return Err(self.corrupt(format!(
                "{what}: expected at most {MAX_ELEMENTS} array elements in a file, found {}",
                self.elements
            )));
        }
        (0..count)
            .map(|_| self.value_of(code, key, depth + 1))
            .collect()
    }
}
