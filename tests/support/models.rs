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
    let newer = NEWER_FOLDERS.iter().map(|(name, _)| newer_folder(name));
    let files = NEWER_FILES.iter().map(|name| newer_file(name));
    let first = all_models(&shared().join("fixtures")).into_iter();
    first.chain(newer).chain(files).collect()
}

/// The folders of `2026/hf` that are supported, each with 20 times the error of transformers in f32.
pub const NEWER_FOLDERS: [(&str, f32); 32] = [
    ("cohere2", 4e-5),
    ("deepseek_v3", 8e-5),
    ("exaone4", 8e-5),
    ("falcon_h1", 6e-5),
    ("gemma3n", 1.6e-4),
    ("gemma4-dense", 1.6e-3),
    ("gemma4-e2b", 6e-4),
    ("gemma4-moe", 6e-4),
    ("glm4_moe", 6e-5),
    ("glm4_moe_lite", 6e-5),
    ("gpt_oss", 4e-4),
    ("gpt_oss-mxfp4", 1.6e-4),
    ("granite", 4e-5),
    ("granitemoehybrid", 8e-5),
    ("hunyuan_v1_dense", 8e-5),
    ("lfm2", 1.2e-4),
    ("lfm2_moe", 8e-5),
    ("mistral3", 8e-5),
    ("mixtral", 6e-5),
    ("muse_glimmer", 6e-5),
    ("nemotron_h", 6e-5),
    ("olmo2", 8e-5),
    ("olmo3", 8e-5),
    ("olmoe", 6e-5),
    ("qwen2_moe", 6e-5),
    ("qwen3_5", 6e-4),
    ("qwen3_5-mtp", 4e-4),
    ("qwen3_5_moe", 6e-4),
    ("qwen3_moe", 4e-5),
    ("qwen3_next", 4e-4),
    ("seed_oss", 6e-5),
    ("starcoder2", 4e-5),
];

/// The files of `2026/gguf` that are supported.
pub const NEWER_FILES: [&str; 10] = [
    "gpt-oss-MXFP4",
    "lfm2-Q4_K_M",
    "llama-IQ1_M",
    "llama-IQ2_XS",
    "llama-IQ3_XXS",
    "llama-IQ4_XS",
    "llama-Q2_0",
    "llama-TQ2_0",
    "qwen35-F16",
    "qwen35-UD",
];

pub fn newer_folder(name: &str) -> ModelFiles {
    ModelFiles::Folder(shared().join("fixtures/2026/hf").join(name))
}

pub fn newer_file(name: &str) -> ModelFiles {
    let folder = shared().join("fixtures/2026/gguf");
    ModelFiles::Gguf(folder.join(name).with_extension("gguf"))
}
