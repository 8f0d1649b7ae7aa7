//! The fixture models, opened with given kernels.

use std::path::{Path, PathBuf};
use std::sync::Once;

use specdec_rs::backend::WeightPrecision;
use specdec_rs::backend::cpu::Tier;
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{Kernels, LoadOptions, TargetModel, load};
use specdec_rs::{Device, Extend, LanguageModel, Logits, Parents, SequenceId};

use super::{fixtures, shared};

/// Our own kernels at every tier that this processor has, and Candle's.
pub fn all_kernels() -> impl Iterator<Item = Kernels> {
    let available = Tier::ALL.iter().filter(|tier| tier.is_available());
    available
        .map(|tier| Kernels::Tier(*tier))
        .chain([Kernels::Candle])
}

/// Opens a model on the CPU. Candle's threads (Rayon's) wait for each other at every one of a tiny model's operations, which
/// takes a hundred times as long where the processor is busy: one does.
pub fn open(
    files: &ModelFiles,
    precision: WeightPrecision,
    kernels: Kernels,
) -> Box<dyn TargetModel> {
    static RAYON: Once = Once::new();
    RAYON.call_once(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
        // An error says that it is in use already.
        let _ = pool.build_global();
    });
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

/// The models in Hugging Face's layout within a folder of fixtures.
pub fn hugging_face_models(fixtures: &Path) -> Vec<ModelFiles> {
    let folders = folders(&fixtures.join("hf")).into_iter();
    folders.map(ModelFiles::Folder).collect()
}

/// The GGUF files within a folder of fixtures.
pub fn gguf_models(fixtures: &Path) -> Vec<ModelFiles> {
    let files = folders(&fixtures.join("gguf")).into_iter();
    files
        .filter(|file| file.extension().is_some_and(|e| e == "gguf"))
        .map(ModelFiles::Gguf)
        .collect()
}

/// Every model within a folder of fixtures.
pub fn all_models(fixtures: &Path) -> Vec<ModelFiles> {
    [hugging_face_models(fixtures), gguf_models(fixtures)].concat()
}

/// The repository's own fixture models.
pub fn all_fixtures() -> Vec<ModelFiles> {
    all_models(&fixtures())
}

/// Those in the folder that `SPECDEC_SHARED` names.
pub fn shared_fixtures() -> Vec<ModelFiles> {
    all_models(&shared().join("fixtures"))
}
