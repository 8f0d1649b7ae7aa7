//! A model's files, opened: what they describe is at hand before any weight is read.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::adapted_model::AdaptedModel;
use super::sampling_defaults;
use crate::architecture::{ModelSpec, config_json, gguf};
use crate::backend::WeightPrecision;
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::hub::ModelFiles;
use crate::settings::SpeculativeConfig;
use crate::text::Tokenizer;
use crate::weights::gguf::GgufFile;
use crate::weights::safetensors::SafetensorsCheckpoint;
use crate::weights::{Adapter, Checkpoint, is_adapter};

/// A model's opened files: what they describe is at hand, and no weight was read yet.
pub enum OpenModel {
    /// A GGUF file, which holds everything.
    Gguf(GgufFile),
    /// A folder in Hugging Face's layout.
    Folder(PathBuf, SafetensorsCheckpoint),
    /// One of these, with LoRA adapters.
    Adapted(Box<AdaptedModel>),
}

impl OpenModel {
    /// Opens a model's files.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        Ok(match files {
            ModelFiles::Gguf(file) => Self::Gguf(open_gguf(file)?),
            ModelFiles::Folder(folder) => {
                Self::Folder(folder.clone(), SafetensorsCheckpoint::open(folder)?)
            }
            ModelFiles::Adapted(files) => Self::Adapted(Box::new(AdaptedModel::open(files)?)),
        })
    }

    /// The model's shape.
    pub fn spec(&self) -> Result<ModelSpec> {
        match self {
            Self::Gguf(file) => gguf::read(file),
            Self::Folder(folder, _) => config_json::read(&folder.join("config.json")),
            Self::Adapted(model) => model.spec(),
        }
    }

    /// The tensors as they are stored.
    pub fn checkpoint(&self) -> &dyn Checkpoint {
        self.as_ref()
    }

    /// The settings that the files recommend, or the general defaults.
    pub fn defaults(&self) -> Result<SpeculativeConfig> {
        match self {
            Self::Gguf(gguf) => Ok(sampling_defaults::of_gguf(gguf.metadata(), gguf.path())),
            Self::Folder(folder, _) => sampling_defaults::of_folder(folder),
            Self::Adapted(model) => model.base().defaults(),
        }
    }

    /// Builds the tokenizer that lies beside the weights; `None` where there is none.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match self {
            Self::Gguf(gguf) => Tokenizer::from_gguf(gguf.metadata(), gguf.path()).map(Some),
            Self::Folder(folder, _) => {
                let files = ["tokenizer.json", "vocab.json"];
                let is_there = files.iter().any(|name| folder.join(name).is_file());
                is_there.then(|| Tokenizer::from_folder(folder)).transpose()
            }
            Self::Adapted(model) => model.tokenizer(),
        }
    }

    /// The token that stands for one to come, in a model that was trained to predict several at once (PARD).
    pub fn mask_token(&self) -> Result<Option<u32>> {
        let folder = match self {
            Self::Gguf(_) => return Ok(None),
            Self::Folder(folder, _) => folder,
            Self::Adapted(model) => return model.base().mask_token(),
        };
        let file = folder.join("config.json");
        let value = &files::read_json(&file, Small::Settings)?["pard_token"];
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        match (value, token) {
            (Value::Null, _) => Ok(None),
            (_, Some(token)) => Ok(Some(token)),
            _ => {
                let reason = format!("pard_token: expected a token's number, found {value}");
                Err(Error::corrupt(file, reason))
            }
        }
    }

    /// Whether it is a GGUF file, whose tensors have names of their own.
    pub fn is_gguf(&self) -> bool {
        match self {
            Self::Gguf(_) => true,
            Self::Folder(..) => false,
            Self::Adapted(model) => model.base().is_gguf(),
        }
    }

    /// Merges adapters, if there are any, for weights that will be held in this precision.
    pub(super) fn set_precision(&mut self, precision: WeightPrecision) {
        if let Self::Adapted(model) = self {
            model.checkpoint.set_precision(precision);
        }
    }

    /// The adapters that are merged into the model.
    pub fn adapters(&self) -> &[Adapter] {
        match self {
            Self::Gguf(_) | Self::Folder(..) => &[],
            Self::Adapted(model) => model.checkpoint.adapters(),
        }
    }

    /// The file or folder; of a model with adapters, the base's.
    pub fn source(&self) -> &Path {
        match self {
            Self::Gguf(file) => file.path(),
            Self::Folder(folder, _) => folder,
            Self::Adapted(model) => model.base().source(),
        }
    }
}

impl AsRef<dyn Checkpoint> for OpenModel {
    fn as_ref(&self) -> &(dyn Checkpoint + 'static) {
        match self {
            Self::Gguf(gguf) => gguf,
            Self::Folder(_, safetensors) => safetensors,
            Self::Adapted(model) => &model.checkpoint,
        }
    }
}

/// Opens a model's GGUF file.
fn open_gguf(path: &Path) -> Result<GgufFile> {
    let file = GgufFile::open(path)?;
    match is_adapter(&file) {
        false => Ok(file),
        true => {
            let reason =
                "it is a LoRA adapter: name it with `lora`, and its base model as the target";
            Err(Error::unsupported(path.display().to_string(), reason))
        }
    }
}
