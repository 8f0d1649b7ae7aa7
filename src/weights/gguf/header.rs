//! A GGUF file's header: its metadata, and its tensors' locations.

use std::{collections::HashSet, ops::Range, path::Path};

use super::{
    super::{StorageType, mapped::Location},
    cursor::Cursor,
    metadata::{Metadata, Value},
};
use crate::backend::elements;
use crate::error::{Error, Result};

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// ggml's limit (`GGML_MAX_DIMS`).
const MAX_RANK: u32 = 4;
/// Bytes of a key-value pair, at least: the key's length, the value's type, the value.
const MIN_PAIR: usize = 8 + 4 + 1;
/// Bytes of a tensor's description, at least: the name's length, the rank, a dimension, the type, the offset.
const MIN_TENSOR: usize = 8 + 4 + 8 + 4 + 8;

/// The parsed header.
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<Location>,
    pub(super) integers: Vec<Integers>,
}

/// A tensor of integers: maps between tokens, say.
#[derive(Debug)]
pub(super) struct Integers {
    pub(super) name: String,
    /// Bytes of each.
    pub(super) width: usize,
    /// Offsets from the file's start.
    pub(super) bytes: Range<usize>,
}

/// How a tensor is stored.
#[derive(Clone, Copy)]
enum Stored {
    Weights(StorageType),
    /// Integers of so many bytes.
    Integers(usize),
}

impl Stored {
    /// The type with this number in GGUF files.
    fn from_ggml_type(number: u32) -> Option<Self> {
        match number {
            26 => Some(Self::Integers(4)),
            27 => Some(Self::Integers(8)),
            number => StorageType::from_ggml_type(number).map(Self::Weights),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Weights(storage) => storage.name(),
            Self::Integers(_) => "integers",
        }
    }

    fn block_elements(self) -> usize {
        match self {
            Self::Weights(storage) => storage.block_elements(),
            Self::Integers(_) => 1,
        }
    }

    fn bytes(self, elements: usize) -> Option<usize> {
        match self {
            Self::Weights(storage) => storage.bytes(elements),
            Self::Integers(width) => elements.checked_mul(width),
        }
    }
}

/// A tensor as the header describes it.
struct Description {
    name: String,
    stored: Stored,
    shape: Vec<usize>,
    /// From the start of the data.
    offset: u64,
}

impl Header {
    pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(file, bytes);
        check_version(file, &mut cursor)?;
        let tensor_count = cursor.count(MIN_TENSOR, format_args!("tensor count"))?;
        let pair_count = cursor.count(MIN_PAIR, format_args!("metadata count"))?;
        let metadata = parse_metadata(&mut cursor, pair_count)?;
        let descriptions = (0..tensor_count)
            .map(|index| Description::parse(file, &mut cursor, index))
            .collect::<Result<Vec<_>>>()?;
        let alignment = alignment(&cursor, &metadata)?;
        let data_start = (cursor.position() as u64).next_multiple_of(alignment);
        let mut placed = Vec::with_capacity(descriptions.len());
        for tensor in descriptions {
            let range = tensor.locate(&cursor, alignment, data_start, bytes.len())?;
            placed.push((tensor, range));
        }
        check_overlap(&cursor, &placed)?;
        let (mut tensors, mut integers) = (Vec::new(), Vec::new());
        for (
            Description {
                name,
                stored,
                shape,
                ..
            },
            bytes,
        ) in placed
        {
            match stored {
                Stored::Integers(width) => integers.push(Integers { name, width, bytes }),
                Stored::Weights(storage) => tensors.push(Location {
                    name,
                    storage,
                    shape,
                    bytes,
                }),
            }
        }
        Ok(Self {
            metadata,
            tensors,
            integers,
        })
    }
}

fn check_version(file: &Path, cursor: &mut Cursor<'_>) -> Result<()> {
    let magic = cursor.array(format_args!("magic"))?;
    if magic != MAGIC {
        return Err(cursor.corrupt(format!(
            "expected a GGUF file, which begins with \"GGUF\", found \"{}\"",
            magic.escape_ascii()
        )));
    }
    let version = cursor.u32(format_args!("version"))?;
    let unsupported = |reason: String| Err(Error::unsupported(file.display().to_string(), reason));
    match version {
        2 | 3 => Ok(()),
        1 => unsupported(
            "GGUF version 1, of which only versions 2 and 3 are supported: convert the model again".into(),
        ),
        // The least significant byte comes last.
        _ if (1..=0xff).contains(&version.swap_bytes()) => unsupported(
            "a big-endian GGUF file, of which only little-endian ones are supported: convert the model again"
                .into(),
        ),
        _ => unsupported(format!(
            "GGUF version {version}, of which only versions 2 and 3 are supported"
        )),
    }
}

fn parse_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Metadata> {
    let mut keys = HashSet::new();
    let mut pairs = Vec::new();
    for index in 0..count {
        let key = cursor.name(format_args!("metadata key {index}"))?;
        if !keys.insert(key) {
            let reason = format!("metadata: expected {key:?} once, found it twice");
            return Err(cursor.corrupt(reason));
        }
        pairs.push((key.to_owned(), cursor.value(key)?));
    }
    Ok(pairs.into_iter().collect())
}

fn alignment(cursor: &Cursor<'_>, metadata: &Metadata) -> Result<u64> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    // The format asks for a multiple of 8, ggml for a power of two. Views of the data are then aligned, too. The upper
    // bound keeps sums from overflowing.
    let valid = |&value: &u64| value.is_power_of_two() && (8..=1 << 30).contains(&value);
    value.as_integer().filter(valid).ok_or_else(|| {
        let found = match value {
            Value::Array(_) => "an array".to_owned(),
            value => format!("{value:?}"),
        };
        cursor.corrupt(format!(
            "general.alignment: expected a power of two from 8 to 2^30, found {found}"
        ))
    })
}

impl Description {
    fn parse(file: &Path, cursor: &mut Cursor<'_>, index: usize) -> Result<Self> {
        let name = cursor.name(format_args!("name of tensor {index}"))?;
        let what = format_args!("tensor {name:?}");
        let rank = cursor.u32(what)?;
        if !(1..=MAX_RANK).contains(&rank) {
            let reason = format!("{what}: expected 1 to {MAX_RANK} dimensions, found {rank}");
            return Err(cursor.corrupt(reason));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let found = cursor.u64(what)?;
            let dimension = usize::try_from(found).ok().filter(|&found| found != 0);
            shape.push(dimension.ok_or_else(|| {
                cursor.corrupt(format!(
                    "{what}: expected a positive dimension, found {found}"
                ))
            })?);
        }
        // The file has them innermost first.
        shape.reverse();
        let code = cursor.u32(what)?;
        let stored = Stored::from_ggml_type(code).ok_or_else(|| {
            let supported = StorageType::ALL.map(StorageType::name).join(", ");
            Error::unsupported(
                file.display().to_string(),
                format!("{what} is stored as ggml type {code}; supported are {supported}"),
            )
        })?;
        let offset = cursor.u64(what)?;
        Ok(Self {
            name: name.to_owned(),
            stored,
            shape,
            offset,
        })
    }

    /// Its bytes, by their offsets from the file's start.
    fn locate(
        &self,
        cursor: &Cursor<'_>,
        alignment: u64,
        data_start: u64,
        file_length: usize,
    ) -> Result<Range<usize>> {
        let Self {
            name,
            stored,
            shape,
            offset,
        } = self;
        let (stored, offset) = (*stored, *offset);
        let corrupt = |reason| cursor.corrupt(format!("tensor {name:?}: {reason}"));
        let row = shape.last().copied().unwrap_or(1);
        let (block, storage) = (stored.block_elements(), stored.name());
        if !row.is_multiple_of(block) {
            return Err(corrupt(format!(
                "expected rows of a multiple of {block} elements ({storage}), found {row}"
            )));
        }
        if !offset.is_multiple_of(alignment) {
            return Err(corrupt(format!(
                "expected an offset that is a multiple of {alignment}, found {offset}"
            )));
        }
        let bytes = || {
            let size = stored.bytes(elements(shape)?)?;
            let start = usize::try_from(data_start.checked_add(offset)?).ok()?;
            let end = start.checked_add(size)?;
            (end <= file_length).then_some(start..end)
        };
        bytes().ok_or_else(|| {
            corrupt(format!(
                "expected {shape:?} in {storage} at offset {offset} of the data, which begins at {data_start}; \
                 found the file's end at {file_length} (an incomplete download?)"
            ))
        })
    }
}

/// Refuses tensors that overlap: one of their offsets is wrong.
fn check_overlap(cursor: &Cursor<'_>, tensors: &[(Description, Range<usize>)]) -> Result<()> {
    let mut sorted = tensors.iter().collect::<Vec<_>>();
    sorted.sort_by_key(|(_, bytes)| bytes.start);
    for pair in sorted.windows(2) {
        if let &[(left, before), (right, after)] = pair
            && before.end > after.start
        {
            return Err(cursor.corrupt(format!(
                "tensor {:?}: expected to begin after {:?}, which ends at {}, found it at {}",
                right.name, left.name, before.end, after.start
            )));
        }
    }
    Ok(())
}
