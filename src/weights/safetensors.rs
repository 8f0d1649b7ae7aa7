//! Hugging Face checkpoints: one safetensors file, or several under an index
//! (<https://huggingface.co/docs/safetensors>); or PyTorch's own files in their place.

pub(crate) mod quantized;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Component, Path, PathBuf},
};

use safetensors::{Dtype, tensor::Metadata};
use serde::Deserialize;

use super::{
    Checkpoint, MatrixSource, PackedTensor, StorageType, StoredRows, StoredTensor, dequantize,
    mapped::{Location, MappedFile, MappedTensors},
    packed::{Float8, Int4, Mxfp4, Scales},
    pickled,
};
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::json;
use quantized::{Method, Packing4};

const FILE: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";
/// PyTorch's own file, and the index of several.
const PICKLED: &str = "pytorch_model.bin";
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";
/// The format's own limit on a header's size.
const MAX_HEADER: usize = 100_000_000;

/// The files of a model folder's weights, mapped into memory.
///
/// It has the tensors of type `F32`, `F16` and `BF16`, and those that quantization methods cut into parts; others (attention
/// masks, position ids) are skipped.
#[derive(Debug)]
pub struct SafetensorsCheckpoint {
    path: PathBuf,
    tensors: MappedTensors,
    /// The tensors of integers, each with its file's number.
    integers: BTreeMap<String, (usize, Dtype, Range<usize>)>,
    /// The tensors of other types: parts of others.
    parts: BTreeMap<String, Part>,
    /// The names of the tensors that are skipped.
    skipped: Vec<String>,
    /// How weights are quantized, where config.json says it.
    method: Option<Method>,
}

/// A tensor that is a part of another.
#[derive(Debug)]
struct Part {
    dtype: Dtype,
    file: usize,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// What follows the names of a tensor's two parts.
const BLOCKS: &str = "_blocks";
const SCALES: &str = "_scales";

/// The index of several files.
#[derive(Deserialize)]
struct Index {
    /// Each tensor's file.
    weight_map: BTreeMap<String, String>,
}

impl SafetensorsCheckpoint {
    /// Opens a model folder (`model.safetensors`, or the files of `model.safetensors.index.json`, or the only
    /// `*.safetensors` there is; else `pytorch_model.bin`, or the files of its index), or a single file.
    ///
    /// Headers are checked against the files' lengths; no tensor data are read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut checkpoint = Self {
            path: path.to_owned(),
            tensors: MappedTensors::default(),
            integers: BTreeMap::new(),
            parts: BTreeMap::new(),
            skipped: Vec::new(),
            method: None,
        };
        let config = path.join(CONFIG);
        if config.is_file() {
            let text = files::read(&config, Small::Settings)?;
            checkpoint.method = quantized::method(&json::parse_config(&config, &text)?, &config)?;
        }
        if !path.is_dir() {
            checkpoint.add(path, None)?;
        } else if path.join(FILE).exists() {
            checkpoint.add(&path.join(FILE), None)?;
        } else if path.join(INDEX).exists() {
            checkpoint.add_index(path, INDEX)?;
        } else if let Some(file) = only_file(path)? {
            checkpoint.add(&file, None)?;
        } else if path.join(PICKLED).exists() {
            checkpoint.add(&path.join(PICKLED), None)?;
        } else if path.join(PICKLED_INDEX).exists() {
            checkpoint.add_index(path, PICKLED_INDEX)?;
        } else {
            return Err(no_weights(path));
        }
        Ok(checkpoint)
    }

    fn add_index(&mut self, folder: &Path, index: &str) -> Result<()> {
        let index_path = folder.join(index);
        let text = files::read(&index_path, Small::Vocabulary)?;
        let parsed: Index = json::parse(&index_path, &text)?;
        let mut shards = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (tensor, shard) in &parsed.weight_map {
            shards.entry(shard).or_default().insert(tensor);
        }
        for (shard, names) in shards {
            let mut components = Path::new(shard).components();
            let plain = matches!(components.next(), Some(Component::Normal(name)) if name == shard);
            if !plain || shard.contains(['/', '\\']) {
                let reason =
                    format!("weight_map: expected names of files in this folder, found {shard:?}");
                return Err(Error::corrupt(index_path, reason));
            }
            let path = folder.join(shard);
            if !path.exists() {
                let reason = format!(
                    "{shard:?}, which {index} names, is missing: download it into this folder"
                );
                return Err(Error::not_found(folder.display().to_string(), reason));
            }
            self.add(&path, Some((index, &names)))?;
        }
        Ok(())
    }

    /// Adds a file's tensors, or only those of these names, if an index has them.
    fn add(&mut self, path: &Path, names: Option<(&str, &BTreeSet<&str>)>) -> Result<()> {
        let file = MappedFile::open(path)?;
        let mut found = match path.extension().is_some_and(|end| end == "bin") {
            true => pickled::tensors(path, file.bytes())?,
            false => tensors(path, file.bytes())?,
        };
        if let Some((index, names)) = names {
            found.retain(|tensor| names.contains(tensor.name.as_str()));
            let known: BTreeSet<&str> = found.iter().map(|tensor| tensor.name.as_str()).collect();
            if let Some(name) = names.iter().find(|name| !known.contains(*name)) {
                let reason =
                    format!("expected tensor {name:?}, which {index} says is here, found none");
                return Err(Error::corrupt(path, reason));
            }
        }
        let mut tensors = Vec::new();
        let mut integers = Vec::new();
        let mut parts = Vec::new();
        for tensor in found {
            let FoundTensor {
                name,
                dtype,
                shape,
                bytes,
            } = tensor;
            let Some(storage) = storage_type(path, &name, dtype)? else {
                if matches!(dtype, Dtype::I64 | Dtype::I32) {
                    integers.push((name.clone(), dtype, bytes.clone()));
                }
                if matches!(dtype, Dtype::U8 | Dtype::I32 | Dtype::F8_E4M3) {
                    parts.push((name, dtype, shape, bytes));
                    continue;
                }
                tracing::debug!(tensor = name, ?dtype, "skipped");
                self.skipped.push(name);
                continue;
            };
            tensors.push(Location {
                name,
                storage,
                shape,
                bytes,
            });
        }
        self.tensors.add(file, tensors)?;
        let file = self.tensors.last_file();
        let integers = integers.into_iter();
        self.integers
            .extend(integers.map(|(name, dtype, bytes)| (name, (file, dtype, bytes))));
        let parts = parts.into_iter().map(|(name, dtype, shape, bytes)| {
            let part = Part {
                dtype,
                file,
                shape,
                bytes,
            };
            (name, part)
        });
        self.parts.extend(parts);
        Ok(())
    }

    /// The names of the tensors that are no floats.
    pub(super) fn others(&self) -> impl Iterator<Item = &String> {
        let known = self.integers.keys().chain(self.parts.keys());
        known.chain(&self.skipped)
    }

    fn part(&self, name: &str, dtype: Dtype) -> Option<(&[u8], &[usize])> {
        let part = self.parts.get(name).filter(|part| part.dtype == dtype)?;
        let bytes = self.tensors.bytes(part.file, part.bytes.clone())?;
        Some((bytes, &part.shape))
    }

    /// A matrix of GPTQ or AWQ.
    fn int4(&self, name: &str, packing: Packing4) -> Option<Int4<'_>> {
        let stem = name.strip_suffix(".weight")?;
        let part = |which: &str| self.part(&format!("{stem}.{which}"), Dtype::I32);
        let (quants, shape) = part("qweight")?;
        let (zeros, _) = part("qzeros")?;
        let scales = self.tensor(&format!("{stem}.scales"))?;
        let outputs = *scales.shape.get(1)?;
        let inputs = match packing {
            Packing4::Gptq | Packing4::Gptq2 => shape.first()?.checked_mul(8)?,
            Packing4::Awq => *shape.first()?,
        };
        let groups = part("g_idx").map(|(groups, _)| {
            let (words, _) = groups.as_chunks::<4>();
            let groups = words.iter().map(|word| u32::from_le_bytes(*word) as usize);
            groups.collect()
        });
        let scales = (dequantize(&scales).ok()?, outputs);
        Int4::new(packing.packing(), inputs, (quants, zeros), scales, groups)
    }

    /// A matrix of 8-bit floats.
    fn float8(&self, name: &str, block: [usize; 2]) -> Option<Float8<'_>> {
        let (bytes, shape) = self.part(name, Dtype::F8_E4M3)?;
        let scales = ["scale_inv", "scale"].iter();
        let scales = scales.filter_map(|which| self.tensor(&format!("{name}_{which}")));
        let scales = match scales.into_iter().next() {
            None => return None,
            Some(stored) => {
                let values = dequantize(&stored).ok()?;
                match (values.as_slice(), &stored.shape[..]) {
                    ([scale], _) => Scales::Whole(*scale),
                    (_, [rows] | [rows, 1]) if shape.first() == Some(rows) => Scales::Rows(values),
                    _ => Scales::Blocks(values, block),
                }
            }
        };
        Float8::new(bytes, shape, scales)
    }
}

/// A tensor in a file.
#[derive(Debug)]
pub(super) struct FoundTensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    /// Outermost first.
    pub(super) shape: Vec<usize>,
    /// Offsets from the file's start.
    pub(super) bytes: Range<usize>,
}

/// The tensors of a safetensors file, in the order of their data.
fn tensors(path: &Path, file: &[u8]) -> Result<Vec<FoundTensor>> {
    let (data_start, metadata) = parse_header(path, file)?;
    let names = metadata.offset_keys().into_iter();
    let found = names.filter_map(|name| {
        let info = metadata.info(&name)?;
        let (start, end) = info.data_offsets;
        Some(FoundTensor {
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: data_start + start..data_start + end,
            name,
        })
    });
    Ok(found.collect())
}

/// The offset of the data, and the header, whose offsets are checked.
fn parse_header(path: &Path, bytes: &[u8]) -> Result<(usize, Metadata)> {
    let corrupt = |reason: String| Error::corrupt(path, reason);
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Err(corrupt(format!(
            "expected a header, found a file of {} bytes (an incomplete download?)",
            bytes.len()
        )));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length)
        .ok()
        .filter(|&length| length <= MAX_HEADER)
        .and_then(|length| rest.split_at_checked(length));
    let Some((header, data)) = header else {
        let max = rest.len().min(MAX_HEADER);
        return Err(corrupt(format!(
            "header: expected at most {max} bytes (what the file's length allows), found {length} announced \
             (an incomplete download, or not a safetensors file)"
        )));
    };
    // Parsed here, since the length check of the crate's own reader can overflow.
    json::check_names(header).map_err(|error| corrupt(format!("header: {error}")))?;
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|error| corrupt(format!("header: {}", explain(header, &error))))?;
    if metadata.data_len() != data.len() {
        return Err(corrupt(format!(
            "expected {} bytes of data, as the header says, found {} (an incomplete download?)",
            metadata.data_len(),
            data.len()
        )));
    }
    Ok((bytes.len() - data.len(), metadata))
}

/// The parser's message with the tensor's name, which the parser does not give.
fn explain(header: &[u8], error: &serde_json::Error) -> String {
    #[derive(Deserialize)]
    struct Info {
        dtype: Dtype,
        shape: Vec<usize>,
        data_offsets: (usize, usize),
    }
    let entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).unwrap_or_default();
    for (name, entry) in entries {
        if name == "__metadata__" {
            continue;
        }
        match serde_json::from_value::<Info>(entry) {
            Err(error) => return format!("tensor {name:?}: {error}"),
            Ok(Info {
                dtype,
                shape,
                data_offsets: (start, end),
            }) => {
                let bits = crate::backend::elements(&shape)
                    .and_then(|count| count.checked_mul(dtype.bitsize()));
                let found = end.checked_sub(start);
                if bits.is_none() || bits != found.and_then(|bytes| bytes.checked_mul(8)) {
                    return format!(
                        "tensor {name:?}: expected the bytes of {shape:?} in {dtype:?}, found offsets {start} to {end}"
                    );
                }
            }
        }
    }
    error.to_string()
}

/// How a tensor's elements are stored; `None` for types that only buffers have.
fn storage_type(path: &Path, tensor: &str, dtype: Dtype) -> Result<Option<StorageType>> {
    Ok(match dtype {
        Dtype::F32 => Some(StorageType::F32),
        Dtype::F16 => Some(StorageType::F16),
        Dtype::BF16 => Some(StorageType::BF16),
        Dtype::F4
        | Dtype::F6_E2M3
        | Dtype::F6_E3M2
        | Dtype::F8_E5M2
        | Dtype::F8_E8M0
        | Dtype::F8_E4M3FNUZ
        | Dtype::F8_E5M2FNUZ => {
            let reason = format!(
                "tensor {tensor:?} is stored as {dtype:?}; supported are F32, F16, BF16 and F8_E4M3, and GGUF files \
                 for other quantized weights"
            );
            return Err(Error::unsupported(path.display().to_string(), reason));
        }
        _ => None,
    })
}

/// The folder's only `*.safetensors`; `None`: it has none.
fn only_file(folder: &Path) -> Result<Option<PathBuf>> {
    let io_error = |source| Error::io(folder, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            found.push(path);
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(Error::unsupported(
            folder.display().to_string(),
            format!(
                "the folder has {count} safetensors files and neither {FILE} nor {INDEX}, which would tell which \
                 belong to the model: name one file, or download the index"
            ),
        )),
    }
}

/// The error of a folder without weights.
fn no_weights(folder: &Path) -> Error {
    let reason =
        format!("the folder has no {FILE}, no {INDEX}, no other *.safetensors, and no {PICKLED}");
    Error::not_found(folder.display().to_string(), reason)
}

impl Checkpoint for SafetensorsCheckpoint {
    fn names(&self) -> Vec<&str> {
        self.tensors.names()
    }

    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        self.tensors.tensor(name)
    }

    fn packed_names(&self) -> Vec<String> {
        let parts = self.parts.iter();
        let names = parts.filter_map(|(name, part)| match self.method? {
            Method::Mxfp4 => name.strip_suffix(BLOCKS).map(ToOwned::to_owned),
            Method::Int4(_) => Some(format!("{}.weight", name.strip_suffix(".qweight")?)),
            Method::Float8(_) => (part.dtype == Dtype::F8_E4M3).then(|| name.clone()),
        });
        names.collect()
    }

    fn packed(&self, name: &str) -> Option<PackedTensor<'_>> {
        match self.method? {
            Method::Mxfp4 => {
                let part = |which| self.part(&format!("{name}{which}"), Dtype::U8);
                Mxfp4::new(part(BLOCKS)?, part(SCALES)?).map(PackedTensor::Mxfp4)
            }
            Method::Int4(packing) => self.int4(name, packing).map(PackedTensor::Int4),
            Method::Float8(block) => self.float8(name, block).map(PackedTensor::Float8),
        }
    }

    fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some((file, dtype, bytes)) = self.integers.get(name) else {
            return Ok(None);
        };
        let bytes = self.tensors.bytes(*file, bytes.clone());
        let bytes = bytes.ok_or_else(|| {
            Error::corrupt(&self.path, format!("tensor {name:?} lies past its end"))
        })?;
        Ok(Some(match dtype {
            Dtype::I32 => {
                let (values, _) = bytes.as_chunks::<4>();
                let values = values.iter().map(|value| i32::from_le_bytes(*value));
                values.map(i64::from).collect()
            }
            _ => {
                let (values, _) = bytes.as_chunks::<8>();
                let values = values.iter().map(|value| i64::from_le_bytes(*value));
                values.collect()
            }
        }))
    }

    fn rows(&self, name: &str) -> Option<StoredRows> {
        self.tensors.rows(name)
    }

    fn source(&self, tensor: &StoredTensor<'_>) -> Option<Box<dyn MatrixSource>> {
        let source = self.tensors.source(tensor)?;
        Some(Box::new(source))
    }

    fn release(&self, tensor: &StoredTensor<'_>) {
        self.tensors.release(tensor);
    }

    fn files(&self) -> Vec<(&Path, &fs::Metadata)> {
        self.tensors.files()
    }

    fn file_of(&self, name: &str) -> &Path {
        self.tensors.file_of(name).unwrap_or(&self.path)
    }
}
