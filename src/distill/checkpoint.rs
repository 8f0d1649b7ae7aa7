//! What a head's folder holds: the head, and what its training needs to go on.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::network::Network;
use crate::error::{Error, Result};
use crate::files::{self, Access};

/// The name of the number of steps, in a checkpoint.
const STEPS: &str = "steps";

/// A training that was interrupted.
pub(super) struct Checkpoint {
    pub(super) steps: usize,
    /// What was learned, by the names of the head's tensors.
    pub(super) values: HashMap<String, Tensor>,
    /// The same of the best head so far.
    pub(super) best: HashMap<String, Tensor>,
}

fn training_file(folder: &Path) -> PathBuf {
    folder.join("training.safetensors")
}

fn head_file(folder: &Path) -> PathBuf {
    folder.join("model.safetensors")
}

impl Checkpoint {
    /// Reads that of a folder, if there is one.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>> {
        let file = training_file(folder);
        let (Some(values), Some(best)) = (read(&file)?, read(&head_file(folder))?) else {
            return Ok(None);
        };
        let steps = values
            .get(STEPS)
            .and_then(|steps| steps.to_vec1::<u32>().ok());
        match steps.as_deref() {
            Some([steps]) => Ok(Some(Self {
                steps: *steps as usize,
                values,
                best,
            })),
            _ => Err(Error::corrupt(file, "it lacks the number of steps")),
        }
    }

    /// Writes one, beside the best head.
    pub(super) fn save(network: &Network, steps: usize, folder: &Path) -> Result<()> {
        let mut values = network.values();
        let steps = Tensor::new(&[steps as u32], &Device::Cpu)?;
        values.insert(STEPS.to_owned(), steps);
        write(&training_file(folder), &values)
    }
}

/// Writes a head that decoders load.
pub(super) fn save_head(network: &Network, folder: &Path) -> Result<()> {
    write(&head_file(folder), &network.tensors()?)?;
    let config = folder.join("config.json");
    let text = serde_json::to_string_pretty(network.config())
        .map_err(|error| Error::io(&config, error.into()))?;
    files::write(&config, text + "\n", Access::Shared)
}

/// A file's tensors; numbers of 16 bits are widened. `None`: there is no such file.
fn read(file: &Path) -> Result<Option<HashMap<String, Tensor>>> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(file, error)),
    };
    let corrupt = |error: candle_core::Error| Error::corrupt(file, error.to_string());
    let mut tensors =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(corrupt)?;
    for tensor in tensors.values_mut() {
        if tensor.dtype() == DType::BF16 {
            *tensor = tensor.to_dtype(DType::F32).map_err(corrupt)?;
        }
    }
    Ok(Some(tensors))
}

fn write(file: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    let bytes = safetensors::serialize(tensors, None);
    let bytes = bytes.map_err(|error| Error::Compute(error.to_string()))?;
    files::write(file, bytes, Access::Shared)
}
