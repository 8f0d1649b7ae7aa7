//! A model's files, opened: what they describe is at hand before any weight is read.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sampling_defaults;
use crate::architecture::{ModelSpec, config_json, gguf};
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::hub::ModelFiles;
use crate::settings::SpeculativeConfig;
use crate::text::Tokenizer;
use crate::weights::Checkpoint;
use crate::weights::gguf::GgufFile;
use crate::weights::safetensors::SafetensorsCheckpoint;

/// A model's opened files: what they describe is at hand, and no weight was read yet.
pub enum OpenModel {
    /// A GGUF file, which holds everything.
    Gguf(GgufFile),
    /// A folder in Hugging Face's layout.
    Folder(PathBuf, SafetensorsCheckpoint),
}

impl OpenModel {
    /// Opens a model's files.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        Ok(match files {
            ModelFiles::Gguf(file) => Self::Gguf(GgufFile::open(file)?),
            ModelFiles::Folder(folder) => {
                Self::Folder(folder.clone(), SafetensorsCheckpoint::open(folder)?)
            }
        })
    }

    /// The model's shape.
    pub fn spec(&self) -> Result<ModelSpec> {
        match self {
            Self::Gguf(file) => gguf::read(file),
            Self::Folder(folder, _) => config_json::read(&folder.join("config.json")),
        }
    }

    /// The tensors as they are stored.
    pub fn checkpoint(&self) -> &dyn Checkpoint {
        match self {
            Self::Gguf(gguf) => gguf,
            Self::Folder(_, safetensors) => safetensors,
        }
    }

    /// The settings that the files recommend, or the general defaults.
    pub fn defaults(&self) -> Result<SpeculativeConfig> {
        match self {
            Self::Gguf(gguf) => Ok(sampling_defaults::of_gguf(gguf.metadata(), gguf.path())),
            Self::Folder(folder, _) => sampling_defaults::of_folder(folder),
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
        }
    }

    /// The token that stands for one to come, in a model that was trained to predict several at once (PARD).
    pub fn mask_token(&self) -> Result<Option<u32>> {
        let Self::Folder(folder, _) = self else {
            return Ok(None);
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
        matches!(self, Self::Gguf(_))
    }

    /// The file or folder.
    pub fn source(&self) -> &Path {
        match self {
            Self::Gguf(file) => file.path(),
            Self::Folder(folder, _) => folder,
        }
    }
}
