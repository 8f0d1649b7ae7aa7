//! What a head's folder holds: the head, and what its training needs to go on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::network::Network;
use crate::error::{Error, Result};
use crate::files::{self, Access};

/// The name of the number of steps, in a checkpoint.
const STEPS: &str = "steps";

/// The name of how often the best head's drafts are right.
const ACCEPTANCE: &str = "acceptance";

/// The name of the head's tokens.
const TOKENS: &str = "tokens";

/// A training that was interrupted.
pub(super) struct Checkpoint {
    pub(super) steps: usize,
    /// How often the drafts of the best head so far are right; for the first drafted token, the second, ...
    pub(super) acceptance: Vec<f64>,
    /// The target's token of each of the head's.
    pub(super) to_target: Vec<u32>,
    pub(super) values: HashMap<String, Tensor>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("training.safetensors")
}

impl Checkpoint {
    /// Reads that of a folder, if there is one.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>> {
        let path = path(folder);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, error)),
        };
        let corrupt = |reason: String| Error::corrupt(&path, reason);
        let values = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
        let values = values.map_err(|error| corrupt(error.to_string()))?;
        let find = |name: &str| {
            let missing = || corrupt(format!("tensor {name:?} is missing"));
            values.get(name).ok_or_else(missing)
        };
        Ok(Some(Self {
            steps: find(STEPS)?.to_vec1::<i64>()?.iter().sum::<i64>() as usize,
            acceptance: find(ACCEPTANCE)?.to_vec1()?,
            to_target: find(TOKENS)?.to_vec1()?,
            values,
        }))
    }

    /// Writes one.
    pub(super) fn save(
        network: &Network,
        steps: usize,
        acceptance: &[f64],
        folder: &Path,
    ) -> Result<()> {
        let mut values = network.values();
        let others = [
            (STEPS, Tensor::new(&[steps as i64], &Device::Cpu)?),
            (ACCEPTANCE, Tensor::new(acceptance, &Device::Cpu)?),
            (TOKENS, Tensor::new(network.to_target(), &Device::Cpu)?),
        ];
        values.extend(others.map(|(name, value)| (name.to_owned(), value)));
        write(&path(folder), &values)
    }
}

/// Writes a head that decoders load.
pub(super) fn save_head(network: &Network, folder: &Path) -> Result<()> {
    write(&folder.join("model.safetensors"), &network.tensors()?)?;
    let config = folder.join("config.json");
    let text = serde_json::to_string_pretty(network.config())
        .map_err(|error| Error::io(&config, error.into()))?;
    files::write(&config, text + "\n", Access::Shared)
}

fn write(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    let bytes = safetensors::serialize(tensors, None);
    let bytes = bytes.map_err(|error| Error::Compute(error.to_string()))?;
    files::write(path, bytes, Access::Shared)
}
