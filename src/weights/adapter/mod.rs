//! LoRA adapters (Hu et al., 2106.09685): small matrices that change a base model's weights. They are merged into the base's tensors
//! when those are read ([`AdaptedCheckpoint`]), so that nothing else knows of them.

mod adapted;
mod gguf;
mod layout;
mod merge;
mod peft;
mod settings;

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

pub use adapted::AdaptedCheckpoint;
pub use layout::Layout;
pub(super) use merge::Merged;

use super::gguf::GgufFile;
use super::{Checkpoint, StoredTensor};
use crate::error::{Error, Result};

/// The settings of an adapter in PEFT's layout, which mark its folder.
const CONFIG: &str = "adapter_config.json";
/// Its tensors, in the order of preference.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// An adapter's opened files.
pub struct Adapter {
    path: PathBuf,
    checkpoint: Box<dyn Checkpoint>,
    /// The file of its settings, as it was when it was opened, where that is another than the tensors'.
    config: Option<(PathBuf, Metadata)>,
    changes: Vec<Change>,
    /// The architecture of its bases, where its file names it.
    architecture: Option<String>,
    /// Whether what changes an embedding is to change an output head that shares it.
    keeps_tied: bool,
}

/// What becomes of a tensor of the base.
#[derive(Clone)]
struct Change {
    /// The tensor's name; a base may have it with another prefix.
    tensor: String,
    how: How,
}

#[derive(Clone)]
enum How {
    /// It is replaced by the adapter's tensor of this name.
    Replaced(String),
    /// The product of two matrices is added.
    Added(Product),
}

/// `scale * b * a`, of the adapter's tensors of these names.
#[derive(Clone)]
struct Product {
    a: String,
    b: String,
    scale: f64,
    /// The norms that the outputs' weights get after all (DoRA, Liu et al., 2402.09353).
    magnitude: Option<String>,
    /// Whether the base's tensor is an embedding, which is `[in, out]`.
    is_of_embedding: bool,
}

impl Adapter {
    /// Opens an adapter: a folder in PEFT's layout, or a GGUF file.
    pub fn open(path: &Path) -> Result<Self> {
        match path.is_dir() {
            true => peft::open(path),
            false => gguf::open(path),
        }
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a GGUF file, whose tensors are named as those of GGUF files are.
    pub fn is_gguf(&self) -> bool {
        self.config.is_none()
    }

    /// The architecture of the models that it is of, where its file names it.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// How many of the base's tensors it changes.
    pub fn changed(&self) -> usize {
        let names = self.changes.iter().map(|change| &change.tensor);
        names.collect::<BTreeSet<_>>().len()
    }

    /// The tensor of that name, which it has.
    fn tensor(&self, name: &str) -> Result<StoredTensor<'_>> {
        let found = self.checkpoint.tensor(name);
        found.ok_or_else(|| self.corrupt(name, "it is missing"))
    }

    /// The error of a tensor that contradicts itself, the settings or the base.
    fn corrupt(&self, tensor: &str, reason: impl std::fmt::Display) -> Error {
        Error::corrupt(
            self.checkpoint.file_of(tensor),
            format!("tensor `{tensor}`: {reason}"),
        )
    }

    /// The error of a tensor that asks for what is not done.
    fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.path.display().to_string(), reason)
    }
}

/// Whether a GGUF file holds an adapter, and no model.
pub(crate) fn is_adapter(file: &GgufFile) -> bool {
    file.metadata().string("general.type") == Some("adapter")
}
