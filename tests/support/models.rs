//! The fixture models, opened with given kernels.

use std::path::{Path, PathBuf};

use specdec_rs::backend::WeightPrecision;
use specdec_rs::backend::cpu::Tier;
use specdec_rs::model::{Kernels, LoadOptions, load};
use specdec_rs::weights::locate::ModelFiles;
use specdec_rs::{Device, Extend, LanguageModel, Logits, Parents, SequenceId};

use super::fixtures;

/// Our own kernels at every tier that this processor has, and Candle's.
pub fn all_kernels() -> impl Iterator<Item = Kernels> {
    let available = Tier::ALL.iter().filter(|tier| tier.is_available());
    available
        .map(|tier| Kernels::Tier(*tier))
        .chain([Kernels::Candle])
}

pub fn open(
    files: &ModelFiles,
    precision: WeightPrecision,
    kernels: Kernels,
) -> Box<dyn LanguageModel> {
    let options = LoadOptions {
        device: Some(Device::Cpu),
        precision,
        kernels,
        ..LoadOptions::default()
    };
    load(files, &options).unwrap().model
}

pub fn extend(
    model: &mut dyn LanguageModel,
    sequence: u64,
    tokens: &[u32],
    rows: usize,
) -> Vec<f32> {
    let sequence = SequenceId(sequence);
    let batch = [Extend {
        sequence,
        tokens,
        parents: Parents::Chain,
        rows,
        hidden: &[],
    }];
    extend_all(model, &batch)
}

/// The requested rows of a whole batch, concatenated.
pub fn extend_all(model: &mut dyn LanguageModel, batch: &[Extend<'_>]) -> Vec<f32> {
    let mut logits = Logits::new(model.vocab_size());
    model.extend(batch, &mut logits).unwrap();
    logits.into_vec()
}

pub fn folders(parent: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(parent)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

pub fn gguf_fixtures() -> Vec<ModelFiles> {
    let files = folders(&fixtures().join("gguf")).into_iter();
    files
        .filter(|file| file.extension().is_some_and(|e| e == "gguf"))
        .map(ModelFiles::Gguf)
        .collect()
}

/// Every fixture model.
pub fn all_fixtures() -> Vec<ModelFiles> {
    let folders = folders(&fixtures().join("hf"));
    let mut models: Vec<ModelFiles> = folders.into_iter().map(ModelFiles::Folder).collect();
    models.extend(gguf_fixtures());
    models
}
