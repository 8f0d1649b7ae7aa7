//! The GGUF container (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>), versions 2 and 3.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    Checkpoint, MatrixSource, PackedTensor, StorageType, StoredRows, StoredTensor, dequantize,
    mapped::{Location, MappedFile, MappedTensors},
};
use crate::error::{Error, Result};

mod cursor;
mod header;
mod metadata;

use header::{Header, Integers};
pub use metadata::{Metadata, Value};

/// A GGUF file, or the parts of a split one, mapped into memory.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    metadata: Metadata,
    tensors: MappedTensors,
    /// The tensors of integers, each with its file's number.
    integers: Vec<(usize, Integers)>,
}

impl GgufFile {
    /// Opens a file; of a split model, the first part (`...-00001-of-0000N.gguf`), with the others in the same folder.
    ///
    /// The header is checked for consistency with itself and with the file's length; no tensor data are read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = MappedFile::open(path)?;
        let Header {
            metadata,
            tensors,
            integers,
        } = Header::parse(path, file.bytes())?;
        let mut checkpoint = Self {
            path: path.to_owned(),
            metadata,
            tensors: MappedTensors::default(),
            integers: Vec::new(),
        };
        checkpoint.add(file, tensors, integers)?;
        let parts = checkpoint.metadata.integer("split.count").unwrap_or(1);
        if parts > 1 {
            checkpoint.open_other_parts(parts)?;
        }
        Ok(checkpoint)
    }

    fn add(
        &mut self,
        file: MappedFile,
        tensors: Vec<Location>,
        integers: Vec<Integers>,
    ) -> Result<()> {
        self.tensors.add(file, tensors)?;
        let number = self.tensors.last_file();
        let integers = integers.into_iter();
        self.integers
            .extend(integers.map(|tensor| (number, tensor)));
        Ok(())
    }

    /// The metadata; of a split model, its first part's.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The file; of a split model, its first part.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_other_parts(&mut self, parts: u64) -> Result<()> {
        let first = self.path.clone();
        let name = first.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        let number = self.metadata.integer("split.no").unwrap_or(0);
        if number != 0 {
            let reason = format!(
                "this is part {} of {parts}: open the first part instead",
                number.saturating_add(1)
            );
            return Err(Error::unsupported(name, reason));
        }
        let Some(stem) = name.strip_suffix(&part_suffix(1, parts)) else {
            let reason = format!(
                "the first of {parts} parts: expected a name that ends in {:?}, by which the others are found",
                part_suffix(1, parts)
            );
            return Err(Error::unsupported(name, reason));
        };
        for part in 2..=parts {
            let path = self
                .path
                .with_file_name(format!("{stem}{}", part_suffix(part, parts)));
            if !path.exists() {
                let reason = format!(
                    "part {part} of {parts} is missing: put {} there",
                    path.display()
                );
                return Err(Error::not_found(name, reason));
            }
            let file = MappedFile::open(&path)?;
            let Header {
                metadata,
                tensors,
                integers,
            } = Header::parse(&path, file.bytes())?;
            for (key, expected) in [("split.no", part - 1), ("split.count", parts)] {
                let found = metadata.integer(key);
                if found != Some(expected) {
                    let reason = format!("{key}: expected {expected}, found {found:?}");
                    return Err(Error::corrupt(path, reason));
                }
            }
            self.add(file, tensors, integers)?;
        }
        let found = (self.tensors.len() + self.integers.len()) as u64;
        let expected = self.metadata.integer("split.tensors.count");
        if expected.is_some_and(|expected| expected != found) {
            let reason = format!(
                "split.tensors.count: expected {expected:?}, found {found} tensors in all the parts"
            );
            return Err(Error::corrupt(&self.path, reason));
        }
        Ok(())
    }
}

/// How the name of a split model's part ends; parts count from 1.
fn part_suffix(part: u64, parts: u64) -> String {
    format!("-{part:05}-of-{parts:05}.gguf")
}

impl Checkpoint for GgufFile {
    fn names(&self) -> Vec<&str> {
        self.tensors.names()
    }

    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        self.tensors.tensor(name)
    }

    fn packed(&self, name: &str) -> Option<PackedTensor<'_>> {
        let tensor = self.tensor(name)?;
        let stem = name.strip_suffix(".weight")?;
        let scale = self.tensor(&format!("{stem}.scale"))?;
        let scales = dequantize(&scale).ok()?;
        let matrices = match tensor.shape[..] {
            [matrices, _, _] => matrices,
            _ => 1,
        };
        let fits = scales.len() == 1 || scales.len() == matrices;
        // Gemma 4's routers have such a tensor of their own.
        let is_of_router = name.contains("ffn_down_exps")
            && self.metadata.string("general.architecture") == Some("gemma4");
        let is_scaled = tensor.storage == StorageType::NVFP4 && fits && !is_of_router;
        is_scaled.then_some(PackedTensor::Scaled(tensor, scales))
    }

    fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let mut tensors = self.integers.iter();
        let Some((file, tensor)) = tensors.find(|(_, tensor)| tensor.name == name) else {
            return Ok(None);
        };
        let bytes = self.tensors.bytes(*file, tensor.bytes.clone());
        let bytes = bytes.ok_or_else(|| {
            Error::corrupt(&self.path, format!("tensor {name:?} lies past its end"))
        })?;
        let integers = bytes.chunks_exact(tensor.width).map(|bytes| {
            let mut wide = [if bytes[tensor.width - 1] < 128 {
                0
            } else {
                255
            }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            i64::from_le_bytes(wide)
        });
        Ok(Some(integers.collect()))
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
