//! Where a head's weights lie, and of which kind it is.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    AssistantFiles, BlockFiles, EagleFiles, PredictionFiles, RecurrentFiles, gguf, misfit,
};
use crate::architecture::{
    KeyValueSource, LayerSpec, LessOne, MixerSpec, MlpSpec, ModelSpec, config_json,
};
use crate::backend::Pairing;
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::hub::ModelFiles;
use crate::json;
use crate::model::open_model::OpenModel;
use crate::weights::Checkpoint;

/// The matrix over the target's hidden states, which tells a head from a model.
const FUSION: &str = "fc.weight";

/// A head's opened files.
pub enum HeadFiles {
    /// An assistant, which reads the target's keys and values.
    Assistant(AssistantFiles),
    /// A block drafter.
    Block(BlockFiles),
    /// A head of EAGLE's or EAGLE-3's.
    Eagle(EagleFiles),
    /// A layer that predicts further tokens.
    Prediction(PredictionFiles),
    /// A head that `specdec distill` made.
    Recurrent(RecurrentFiles),
}

/// What lies where a draft was named.
pub enum OpenDraft {
    /// A draft head.
    Head(Box<HeadFiles>),
    /// A model.
    Model(Box<OpenModel>),
}

impl OpenDraft {
    /// Opens a head or a model.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        let opened = match OpenModel::open(files)? {
            OpenModel::Gguf(file) => match gguf::Kind::of(&file) {
                Some(kind) => {
                    let (config, checkpoint) = gguf::read(file, kind)?;
                    return HeadFiles::of_config(&config, checkpoint).map(Self::of_head);
                }
                None => OpenModel::Gguf(file),
            },
            OpenModel::Folder(folder, checkpoint) if checkpoint.tensor(FUSION).is_some() => {
                let config = HeadConfig::read(&folder)?;
                return HeadFiles::of_config(&config, Box::new(checkpoint)).map(Self::of_head);
            }
            model @ (OpenModel::Folder(..) | OpenModel::Adapted(_)) => model,
        };
        let head = if AssistantFiles::are_there(&opened) {
            HeadFiles::Assistant(AssistantFiles::open(opened)?)
        } else if PredictionFiles::are_alone(&opened) {
            HeadFiles::Prediction(PredictionFiles::open(opened)?)
        } else {
            return Ok(Self::Model(Box::new(opened)));
        };
        Ok(Self::of_head(head))
    }

    fn of_head(head: HeadFiles) -> Self {
        Self::Head(Box::new(head))
    }
}

impl HeadFiles {
    /// Opens a head; `None`: a model lies there.
    pub fn open(files: &ModelFiles) -> Result<Option<Self>> {
        Ok(match OpenDraft::open(files)? {
            OpenDraft::Head(head) => Some(*head),
            OpenDraft::Model(_) => None,
        })
    }

    /// The head within a model's own files; `None`: there is none.
    pub fn within(model: OpenModel) -> Result<Option<Self>> {
        Ok(PredictionFiles::within(model)?.map(Self::Prediction))
    }

    /// Whether there is a head within a model's own files.
    pub fn is_within(model: &OpenModel) -> Result<bool> {
        PredictionFiles::are_within(model)
    }

    /// Fails if the head does not fit a target: it would draft nonsense.
    pub fn check(&self, target: &ModelSpec) -> Result<()> {
        let [hidden_size, vocab_size] = self.target_shape();
        let of_shape = misfit(target, hidden_size, vocab_size);
        let (further, source) = match self {
            Self::Assistant(files) => (files.misfit(target), files.source()),
            Self::Block(files) => (files.misfit(target), files.source()),
            Self::Eagle(files) => (files.misfit(target), files.source()),
            Self::Prediction(files) => (None, files.source()),
            Self::Recurrent(files) => (files.misfit(target), files.source()),
        };
        match of_shape.or(further) {
            Some(reason) => Err(Error::unsupported(source.display().to_string(), reason)),
            None => Ok(()),
        }
    }

    /// The hidden size and the vocabulary size of the targets that it fits.
    pub fn target_shape(&self) -> [usize; 2] {
        match self {
            Self::Assistant(files) => files.target_shape(),
            Self::Block(files) => files.target_shape(),
            Self::Eagle(files) => files.target_shape(),
            Self::Prediction(files) => files.target_shape(),
            Self::Recurrent(files) => files.target_shape(),
        }
    }

    /// What it is called: "assistant", "mtp", "eagle", "eagle3", "dflash", "dspark" or "recurrent".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Assistant(_) => AssistantFiles::KIND,
            Self::Block(files) => files.kind(),
            Self::Eagle(files) => files.kind(),
            Self::Prediction(_) => PredictionFiles::KIND,
            Self::Recurrent(_) => RecurrentFiles::KIND,
        }
    }

    fn of_config(config: &HeadConfig, checkpoint: Box<dyn Checkpoint>) -> Result<Self> {
        Ok(if RecurrentFiles::is_one(config) {
            Self::Recurrent(RecurrentFiles::open(config, checkpoint)?)
        } else if BlockFiles::is_one(config) {
            Self::Block(BlockFiles::open(config, checkpoint)?)
        } else {
            Self::Eagle(EagleFiles::open(config, checkpoint)?)
        })
    }
}

/// A published head's config.json, or what a GGUF file says in its place.
pub(super) struct HeadConfig {
    pub(super) value: Value,
    /// The head's folder or file.
    pub(super) source: PathBuf,
    /// The file that holds the settings.
    pub(super) file: PathBuf,
    /// Whether rotary embeddings pair neighbouring elements, as in GGUF files of Llama's layers.
    pub(super) is_interleaved: bool,
}

impl HeadConfig {
    /// Reads that of a folder.
    fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("config.json");
        let text = files::read_text(&file, Small::Settings)?;
        Ok(Self {
            value: json::parse(&file, text.as_bytes())?,
            source: folder.to_owned(),
            file,
            is_interleaved: false,
        })
    }

    /// The head's shape, which these settings describe.
    pub(super) fn spec(&self, settings: &Value) -> Result<ModelSpec> {
        let mut spec = config_json::parse(&settings.to_string(), &self.file)?;
        if self.is_interleaved {
            for rope in &mut spec.ropes {
                rope.pairing = Pairing::Interleaved;
            }
        }
        let is_plain = |layer: &LayerSpec| {
            let own = layer.mixer.attention();
            let own = own.filter(|own| own.source == KeyValueSource::Projections);
            matches!(layer.mixer, MixerSpec::Attention(_))
                && own.is_some()
                && matches!(layer.mlp, MlpSpec::Gated { .. })
        };
        let family = spec.family;
        let of_model = spec.layer_inputs.is_some() || spec.streams.is_some() || spec.layer_scales;
        let is_less_one = family.norms_less_one != LessOne::None;
        if of_model || is_less_one || !spec.layers.iter().all(is_plain) {
            let reason = format!(
                "its layers are those of {}, which heads don't have",
                family.name()
            );
            return Err(self.unsupported(reason));
        }
        Ok(spec)
    }

    /// A flag; `false` where it is not set.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match &self.value[name] {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            other => Err(self.wrong(name, "true or false", other)),
        }
    }

    /// The kind that speculators gave it.
    pub(super) fn speculators_type(&self) -> Option<&str> {
        self.value["speculators_model_type"].as_str()
    }

    /// The name of its architecture; empty where there is none.
    pub(super) fn architecture(&self) -> &str {
        self.value["architectures"][0].as_str().unwrap_or_default()
    }

    /// Numbers of the target's layers, each `further` more than the file says.
    pub(super) fn layers(&self, name: &str, list: &Value, further: usize) -> Result<Vec<usize>> {
        let number = |layer: &Value| usize::try_from(layer.as_u64()?).ok()?.checked_add(further);
        let numbers = list.as_array();
        let numbers = numbers.and_then(|layers| layers.iter().map(number).collect());
        numbers.ok_or_else(|| self.wrong(name, "numbers of layers", list))
    }

    pub(super) fn wrong(&self, name: &str, expected: &str, found: &Value) -> Error {
        let reason = format!("{name}: expected {expected}, found {found}");
        Error::corrupt(&self.file, reason)
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.source.display().to_string(), reason)
    }
}
