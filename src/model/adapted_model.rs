//! A model's files with LoRA adapters.

use std::path::PathBuf;

use super::open_model::OpenModel;
use crate::architecture::ModelSpec;
use crate::architecture::names::NamedWeights;
use crate::error::{Error, Result};
use crate::hub::AdaptedFiles;
use crate::text::Tokenizer;
use crate::weights::{AdaptedCheckpoint, Adapter};

/// A model with LoRA adapters, merged when its weights are read.
pub struct AdaptedModel {
    pub(super) checkpoint: AdaptedCheckpoint<OpenModel>,
    /// The folder of another tokenizer than the base's.
    tokenizer: Option<PathBuf>,
}

impl AdaptedModel {
    pub(super) fn open(files: &AdaptedFiles) -> Result<Self> {
        let base = OpenModel::open(&files.base).map_err(with_advice)?;
        let adapters = files.adapters.iter().map(|path| Adapter::open(path));
        let adapters: Vec<Adapter> = adapters.collect::<Result<_>>()?;
        adapters
            .iter()
            .try_for_each(|adapter| check_kind(adapter, &base))?;
        let spec = base.spec()?;
        let names = NamedWeights::new(base.checkpoint(), &spec, base.is_gguf(), base.source())?;
        let layout = names.layout();
        let model = Self {
            checkpoint: AdaptedCheckpoint::new(base, adapters, layout)?,
            tokenizer: files.tokenizer.clone(),
        };
        model.warn_of_unused()?;
        Ok(model)
    }

    /// Says which tensors are changed without effect: those of a vision tower, say, which is not loaded.
    fn warn_of_unused(&self) -> Result<()> {
        let (spec, base) = (self.spec()?, self.base());
        let source = base.source();
        let names = NamedWeights::new(&self.checkpoint, &spec, base.is_gguf(), source)?;
        let mut unused = self.checkpoint.changed();
        unused.retain(|name| !names.is_loaded(name) && !names.is_table(name));
        if let Some(first) = unused.first() {
            tracing::warn!(
                "an adapter changes {} tensors that are not loaded, such as {first:?}",
                unused.len()
            );
        }
        Ok(())
    }

    pub(super) fn base(&self) -> &OpenModel {
        self.checkpoint.base()
    }

    pub(super) fn spec(&self) -> Result<ModelSpec> {
        let spec = self.base().spec()?;
        Ok(match self.checkpoint.is_untied() {
            true => ModelSpec {
                tied_head: Some(false),
                ..spec
            },
            false => spec,
        })
    }

    pub(super) fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match (&self.tokenizer, self.base()) {
            (Some(folder), OpenModel::Folder(base, _)) => {
                Tokenizer::from_folders(folder, base).map(Some)
            }
            (_, base) => base.tokenizer(),
        }
    }
}

/// The error of a base model of a kind that is not read: adapters are often trained on a quantized copy.
fn with_advice(error: Error) -> Error {
    match error {
        Error::UnsupportedModel { model, reason } => {
            let advice = "another copy of an adapter's base model can be named as the target, and the adapter with `lora`";
            Error::unsupported(model, format!("{reason}; {advice}"))
        }
        other => other,
    }
}

/// Fails if an adapter's tensors are named in another way than the base's.
fn check_kind(adapter: &Adapter, base: &OpenModel) -> Result<()> {
    let refused = |reason: String| {
        Err(Error::unsupported(
            adapter.path().display().to_string(),
            reason,
        ))
    };
    match (base, adapter.is_gguf()) {
        (OpenModel::Gguf(base), true) => {
            let theirs = base.metadata().string("general.architecture");
            match adapter.architecture() {
                Some(own) if Some(own) != theirs => refused(format!(
                    "it is an adapter of a model of architecture {own}, and the base model is of {}",
                    theirs.unwrap_or("none")
                )),
                _ => Ok(()),
            }
        }
        (OpenModel::Gguf(_), false) => refused(
            "an adapter in PEFT's layout does not fit a GGUF file: name a base model with safetensors weights, or convert \
             the adapter with llama.cpp's convert_lora_to_gguf.py"
                .into(),
        ),
        (_, true) => refused(
            "an adapter in a GGUF file fits a base model in a GGUF file alone: name such a target, or take the adapter in \
             PEFT's layout"
                .into(),
        ),
        (_, false) => Ok(()),
    }
}
