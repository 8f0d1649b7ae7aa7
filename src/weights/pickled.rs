//! PyTorch's own files of tensors (`pytorch_model.bin`): a zip archive with a pickle, which describes tensors, and their data.
//!
//! The pickle is read as a description alone (`machine`): no function that it names is called, whatever it asks for. Data are not
//! copied: archives hold them uncompressed.

mod machine;

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use zip::{CompressionMethod, ZipArchive};

use super::safetensors::FoundTensor;
use crate::error::{Error, Result};
use machine::{Id, Object, Objects};

/// The most bytes of a description: the largest known have a megabyte.
const MAX_PICKLE: usize = 32 << 20;

/// The tensors of a file, which `path` names in errors.
pub(super) fn tensors(path: &Path, file: &[u8]) -> Result<Vec<FoundTensor>> {
    let corrupt = |reason: String| Error::corrupt(path, reason);
    if !file.starts_with(b"PK") {
        let reason = "it is no zip archive, which torch.save writes since PyTorch 1.6: save its tensors again, or as safetensors";
        return Err(Error::unsupported(path.display().to_string(), reason));
    }
    let entries = entries(file).map_err(&corrupt)?;
    let is_pickle = |name: &&String| *name == "data.pkl" || name.ends_with("/data.pkl");
    let mut pickles = entries.keys().filter(is_pickle);
    let (Some(pickle), None) = (pickles.next(), pickles.next()) else {
        return Err(corrupt("it has no data.pkl, or several".into()));
    };
    let folder = pickle.trim_end_matches("data.pkl");
    let bytes = |name: &str| file.get(entries.get(&format!("{folder}{name}"))?.clone());
    if bytes("byteorder").is_some_and(|order| order != b"little") {
        return Err(corrupt("its numbers are not little-endian".into()));
    }
    let pickle = bytes("data.pkl").unwrap_or_default();
    if pickle.len() > MAX_PICKLE {
        let length = pickle.len();
        let reason = format!("data.pkl has {length} bytes: expected at most {MAX_PICKLE}");
        return Err(corrupt(reason));
    }
    let objects = Objects::read(pickle).map_err(|found| corrupt(format!("data.pkl: {found}")))?;
    let Object::Dict(items) = objects.get(objects.root) else {
        return Err(corrupt("data.pkl: no dictionary of tensors".into()));
    };
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for (name, value) in items {
        let name = objects.text(*name);
        let name = name.ok_or_else(|| corrupt("data.pkl: a name that is no text".into()))?;
        let wrong = |reason: &str| corrupt(format!("tensor {name:?}: {reason}"));
        if !names.insert(name) {
            return Err(wrong("it is there twice"));
        }
        let Some(stored) = stored(&objects, *value) else {
            tracing::debug!(name, "skipped: no dense tensor");
            continue;
        };
        let data = entries.get(&format!("{folder}data/{}", stored.key));
        let data = data.ok_or_else(|| wrong("its data are missing"))?;
        let bytes = stored
            .bytes()
            .ok_or_else(|| wrong("its rows do not follow one another"))?;
        if bytes.end > data.len() {
            return Err(wrong("it reaches beyond its data"));
        }
        tensors.push(FoundTensor {
            name: name.to_owned(),
            dtype: stored.dtype,
            shape: stored.shape,
            bytes: data.start + bytes.start..data.start + bytes.end,
        });
    }
    Ok(tensors)
}

/// Where the uncompressed files of an archive lie in it.
fn entries(archive: &[u8]) -> Result<HashMap<String, Range<usize>>, String> {
    let mut zip = ZipArchive::new(Cursor::new(archive)).map_err(|error| error.to_string())?;
    let mut entries = HashMap::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = entry
            .name()
            .map_err(|error| error.to_string())?
            .into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("{name:?} is compressed or encrypted"));
        }
        let start = entry
            .data_start()
            .and_then(|start| usize::try_from(start).ok());
        let size = usize::try_from(entry.size()).ok();
        let range = start.zip(size);
        let range = range.and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let range = range.filter(|range| range.end <= archive.len());
        let range = range.ok_or_else(|| format!("{name:?} lies past its end"))?;
        entries.insert(name, range);
    }
    Ok(entries)
}

/// A tensor as a pickle describes it.
struct Stored<'a> {
    dtype: Dtype,
    /// The name of its data.
    key: &'a str,
    /// Its first element among them.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Stored<'_> {
    /// The bytes of its data; `None` if its rows do not follow one another.
    fn bytes(&self) -> Option<Range<usize>> {
        let mut count = 1_usize;
        for (size, stride) in self.shape.iter().zip(&self.strides).rev() {
            if *size > 1 && *stride != count {
                return None;
            }
            count = count.checked_mul(*size)?;
        }
        let width = self.dtype.bitsize() / 8;
        let start = self.offset.checked_mul(width)?;
        Some(start..start.checked_add(count.checked_mul(width)?)?)
    }
}

/// A tensor, or a parameter, of a pickle; `None` if the object is none.
fn stored<'a>(objects: &Objects<'a>, id: Id) -> Option<Stored<'a>> {
    let utils = "torch._utils";
    let id = match objects.arguments(id, utils, "_rebuild_parameter") {
        Some([tensor, ..]) => *tensor,
        _ => id,
    };
    let arguments = objects.arguments(id, utils, "_rebuild_tensor_v2")?;
    let [storage, offset, shape, strides, ..] = arguments else {
        return None;
    };
    let Object::Persistent(storage) = objects.get(*storage) else {
        return None;
    };
    let [_, kind, key, ..] = objects.tuple(*storage)? else {
        return None;
    };
    let Object::Global("torch", kind) = objects.get(*kind) else {
        return None;
    };
    let dtype = match *kind {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    };
    let (shape, strides) = (objects.sizes(*shape)?, objects.sizes(*strides)?);
    (shape.len() == strides.len()).then_some(Stored {
        dtype,
        key: objects.text(*key)?,
        offset: objects.size(*offset)?,
        shape,
        strides,
    })
}
