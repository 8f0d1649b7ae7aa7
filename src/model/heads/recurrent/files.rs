//! The files of a head that `specdec distill` made: its settings, and tensors by these names.
//!
//! There is no matrix for its logits: the target's rows of its tokens are one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::architecture::ModelSpec;
use crate::error::{Error, Result};
use crate::model::heads::files::HeadConfig;
use crate::model::heads::misfit_of_layers;
use crate::weights::Checkpoint;

/// The tensors' names, without `.weight`.
pub mod tensors {
    /// `[hidden, layers * hidden]`
    pub const FUSION: &str = "fc";
    /// `[hidden]`
    pub const EMBEDDING_NORM: &str = "embedding_norm";
    /// `[hidden]`
    pub const STATE_NORM: &str = "state_norm";
    /// `[intermediate, 2 * hidden]`: the columns of the embedding first.
    pub const GATE: &str = "mlp.gate_proj";
    /// `[intermediate, 2 * hidden]`
    pub const UP: &str = "mlp.up_proj";
    /// `[hidden, intermediate]`
    pub const DOWN: &str = "mlp.down_proj";
    /// `[hidden]`
    pub const FINAL_NORM: &str = "norm";
    /// Of each of the head's tokens, what is to be added for the target's; integers, under this very name.
    pub const TO_TARGET: &str = "d2t";

    /// `[hidden]`: that of one of the layers that are read.
    pub fn tap_norm(index: usize) -> String {
        format!("tap_norms.{index}")
    }
}

/// A head's config.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrentConfig {
    /// What tells it from other heads: [`RecurrentFiles::ARCHITECTURE`].
    pub architectures: [String; 1],
    /// The target's hidden size, and the head's.
    pub hidden_size: usize,
    /// The MLP's width.
    pub intermediate_size: usize,
    /// How many tokens the target has.
    pub vocab_size: usize,
    /// What is added to a mean square.
    pub rms_norm_eps: f32,
    /// The layers of the target before which its hidden states are captured; their number: after the last norm.
    pub target_layers: Vec<usize>,
}

/// A head's opened files.
pub struct RecurrentFiles {
    /// The head's folder.
    pub(super) source: PathBuf,
    pub(super) config: RecurrentConfig,
    pub(super) checkpoint: Box<dyn Checkpoint>,
}

/// The widest MLP.
const MAX_WIDTH: usize = 1 << 20;

impl RecurrentFiles {
    /// What config.json calls it.
    pub const ARCHITECTURE: &'static str = "RecurrentDraftHead";

    /// What reports call it.
    pub const KIND: &'static str = "recurrent";

    /// Whether a head is of this kind.
    pub(in crate::model::heads) fn is_one(config: &HeadConfig) -> bool {
        config.architecture() == Self::ARCHITECTURE
    }

    /// Opens a head.
    pub(in crate::model::heads) fn open(
        head: &HeadConfig,
        checkpoint: Box<dyn Checkpoint>,
    ) -> Result<Self> {
        let config: RecurrentConfig = serde_json::from_value(head.value.clone())
            .map_err(|error| Error::corrupt(&head.file, error.to_string()))?;
        let width = config.intermediate_size;
        if width == 0 || width > MAX_WIDTH {
            let expected = format!("a number from 1 to {MAX_WIDTH}");
            return Err(head.wrong("intermediate_size", &expected, &width.into()));
        }
        Ok(Self {
            source: head.source.clone(),
            config,
            checkpoint,
        })
    }

    pub(in crate::model::heads) fn source(&self) -> &Path {
        &self.source
    }

    /// The hidden size and the vocabulary size of its targets.
    pub(in crate::model::heads) fn target_shape(&self) -> [usize; 2] {
        [self.config.hidden_size, self.config.vocab_size]
    }

    /// Why it does not fit a target of its shape; `None`: it fits.
    pub(in crate::model::heads) fn misfit(&self, target: &ModelSpec) -> Option<String> {
        misfit_of_layers(target, &self.config.target_layers)
    }
}
