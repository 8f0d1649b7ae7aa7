//! An assistant's files, in Hugging Face's layout and in GGUF.

use std::path::Path;

use serde_json::Value;

use crate::architecture::{KeyValueSource, MixerSpec, ModelSpec, gguf};
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::json;
use crate::model::open_model::OpenModel;
use crate::weights::Checkpoint;

/// What GGUF files call the architecture, and that of its layers.
const GGUF: [&str; 2] = ["gemma4-assistant", "gemma4"];

/// The names of the tensors that models don't have.
pub(super) struct Names {
    pub(super) input: &'static str,
    pub(super) output: &'static str,
    pub(super) centroids: &'static str,
    pub(super) ordering: &'static str,
}

const OF_FOLDER: Names = Names {
    input: "pre_projection",
    output: "post_projection",
    centroids: "masked_embedding.centroids",
    ordering: "masked_embedding.token_ordering",
};

const OF_GGUF: Names = Names {
    input: "nextn.pre_projection",
    output: "nextn.post_projection",
    centroids: "masked_embd_centroids",
    ordering: "masked_embd_ordering",
};

/// An assistant's opened files.
pub struct AssistantFiles {
    pub(super) opened: OpenModel,
    pub(super) spec: ModelSpec,
    /// The width of its targets.
    pub(super) target_width: usize,
    /// The clusters of tokens that it chooses among, if it does.
    pub(super) clusters: Option<ClustersSpec>,
}

/// Clusters of tokens, of which only those are scored whose centroids are nearest to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClustersSpec {
    pub(super) count: usize,
    pub(super) chosen: usize,
}

impl AssistantFiles {
    /// What reports call it.
    pub(in crate::model::heads) const KIND: &'static str = "assistant";

    /// Whether files hold an assistant.
    pub(in crate::model::heads) fn are_there(opened: &OpenModel) -> bool {
        match opened {
            OpenModel::Gguf(file) => {
                file.metadata().string("general.architecture") == Some(GGUF[0])
            }
            OpenModel::Folder(_, checkpoint) => {
                let input = format!("{}.weight", OF_FOLDER.input);
                checkpoint.tensor(&input).is_some()
            }
            OpenModel::Adapted(_) => false,
        }
    }

    /// Reads the settings of an assistant.
    pub(in crate::model::heads) fn open(opened: OpenModel) -> Result<Self> {
        let (spec, target_width, clusters) = match &opened {
            OpenModel::Gguf(file) => {
                let key = format!("{}.embedding_length_out", GGUF[0]);
                let width = file.metadata().integer(&key);
                let width = width.and_then(|width| usize::try_from(width).ok());
                let width = width.ok_or_else(|| {
                    Error::corrupt(
                        file.path(),
                        format!("metadata {key} is missing, or no size"),
                    )
                })?;
                // Its converter leaves clusters out, and llama.cpp scores all tokens.
                (gguf::read_head(file, GGUF[1])?, width, None)
            }
            OpenModel::Folder(folder, _) => {
                let file = folder.join("config.json");
                let text = files::read_text(&file, Small::Settings)?;
                let settings = Settings {
                    value: json::parse(&file, text.as_bytes())?,
                    file: &file,
                };
                let width = settings.size("backbone_hidden_size")?;
                (opened.spec()?, width, settings.clusters()?)
            }
            OpenModel::Adapted(_) => {
                let reason = "a draft head takes no adapters";
                return Err(Error::unsupported(
                    opened.source().display().to_string(),
                    reason,
                ));
            }
        };
        let files = Self {
            opened,
            spec,
            target_width,
            clusters,
        };
        files.check_layers()?;
        Ok(files)
    }

    /// Refuses layers other than attention to the target's keys and values.
    fn check_layers(&self) -> Result<()> {
        let reads_target = |mixer: &MixerSpec| match mixer {
            MixerSpec::Attention(attention) => attention.source == KeyValueSource::Target,
            _ => false,
        };
        let mut layers = self.spec.layers.iter();
        if !layers.all(|layer| reads_target(&layer.mixer)) {
            let reason = "its layers have keys and values of their own (num_kv_shared_layers)";
            return Err(self.unsupported(reason));
        }
        match self.spec.layer_inputs.is_some() || self.spec.streams.is_some() {
            true => Err(self.unsupported("its layers have inputs of their own")),
            false => Ok(()),
        }
    }

    /// The file or folder.
    pub(in crate::model::heads) fn source(&self) -> &Path {
        self.opened.source()
    }

    /// The hidden size and the vocabulary size of its targets.
    pub(in crate::model::heads) fn target_shape(&self) -> [usize; 2] {
        [self.target_width, self.spec.vocab_size]
    }

    /// Why it does not fit a target; `None`: it fits.
    pub(in crate::model::heads) fn misfit(&self, target: &ModelSpec) -> Option<String> {
        let [own, theirs] = [self.spec.vocab_size, target.vocab_size];
        if own != theirs {
            return Some(format!("it has {own} tokens, and the target {theirs}"));
        }
        let lent = |slides| {
            let lender = lender(target, slides)?;
            let shape = target.layers[lender].mixer.cached_shape()?;
            Some((shape.head_dim, shape.kv_heads))
        };
        let attentions = self
            .spec
            .layers
            .iter()
            .filter_map(|layer| layer.mixer.attention());
        let mut misfits = attentions.filter_map(|attention| {
            let shape = attention.shape;
            let slides = attention.window.is_some();
            let kind = if slides { "sliding" } else { "full" };
            let read = format!(
                "it reads {} heads of {} of a layer with {kind} attention",
                shape.kv_heads, shape.head_dim
            );
            match lent(slides) {
                Some(lent) if lent == (shape.head_dim, shape.kv_heads) => None,
                Some((head_dim, heads)) => Some(format!(
                    "{read}, and the target's has {heads} of {head_dim}"
                )),
                None => Some(format!("{read}, and the target has no such layer")),
            }
        });
        misfits.next()
    }

    pub(super) fn names(&self) -> &'static Names {
        match self.opened.is_gguf() {
            true => &OF_GGUF,
            false => &OF_FOLDER,
        }
    }

    pub(super) fn checkpoint(&self) -> &dyn Checkpoint {
        self.opened.checkpoint()
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.source().display().to_string(), reason)
    }
}

/// A target's layer whose keys and values an assistant's layers read: the last with its own that slides, or does not.
pub(super) fn lender(target: &ModelSpec, slides: bool) -> Option<usize> {
    target.layers.iter().rposition(|layer| match layer.mixer {
        MixerSpec::Attention(attention) => {
            attention.source.is_own() && attention.window.is_some() == slides
        }
        _ => false,
    })
}

/// An assistant's config.json.
struct Settings<'a> {
    value: Value,
    file: &'a Path,
}

impl Settings<'_> {
    fn size(&self, name: &str) -> Result<usize> {
        let value = &self.value[name];
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| *size > 0).ok_or_else(|| {
            let reason = format!("{name}: expected a number of at least 1, found {value}");
            Error::corrupt(self.file, reason)
        })
    }

    fn clusters(&self) -> Result<Option<ClustersSpec>> {
        match &self.value["use_ordered_embeddings"] {
            Value::Null | Value::Bool(false) => Ok(None),
            Value::Bool(true) => Ok(Some(ClustersSpec {
                count: self.size("num_centroids")?,
                chosen: self.size("centroid_intermediate_top_k")?,
            })),
            other => {
                let name = "use_ordered_embeddings";
                let reason = format!("{name}: expected true or false, found {other}");
                Err(Error::corrupt(self.file, reason))
            }
        }
    }
}
