//! A model's files to a model that runs.

use std::path::Path;
use std::sync::Arc;

use super::language_model::LanguageModel;
use super::memory;
use super::names::NamedWeights;
use super::spec::ModelSpec;
use super::transformer::Transformer;
use super::{gguf_config, hf_config};
use crate::backend::candle::CandleBackend;
use crate::backend::cpu::{CpuBackend, Tier};
use crate::backend::{Backend, WeightPrecision};
use crate::device::Device;
use crate::error::Result;
use crate::progress::{Progress, Silent};
use crate::text::Tokenizer;
use crate::threads;
use crate::weights::Checkpoint;
use crate::weights::gguf::GgufFile;
use crate::weights::locate::ModelFiles;
use crate::weights::safetensors::SafetensorsCheckpoint;

/// Whose kernels compute on the CPU. (On other devices, Candle's do.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// Our own, of the tier that `SPECDEC_CPU_TIER` names, or the best that the processor has.
    #[default]
    Best,
    /// Our own, of this tier.
    Tier(Tier),
    /// Candle's: what our own are tested against.
    Candle,
}

/// How to load a model.
#[derive(Clone)]
pub struct LoadOptions {
    /// Where to compute; `None`: [`Device::auto`].
    pub device: Option<Device>,
    /// How to hold the weights.
    pub precision: WeightPrecision,
    /// With whose kernels to compute on the CPU.
    pub kernels: Kernels,
    /// Threads to compute with on the CPU; `None`: as `SPECDEC_NUM_THREADS` says, or as many as this process may
    /// use.
    pub threads: Option<usize>,
    /// Most tokens a sequence may hold; `None`: as many as the model was made for.
    pub context_length: Option<usize>,
    /// Branch, tag or commit of a hub model.
    pub revision: Option<String>,
    /// Told about downloads and loading.
    pub progress: Arc<dyn Progress>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            device: None,
            precision: WeightPrecision::default(),
            kernels: Kernels::default(),
            threads: None,
            context_length: None,
            revision: None,
            progress: Arc::new(Silent),
        }
    }
}

/// A model with its tokenizer.
pub struct LoadedModel {
    /// Ready to compute.
    pub model: Box<dyn LanguageModel>,
    /// The tokenizer that lies beside the weights; `None` where there is none.
    pub tokenizer: Option<Tokenizer>,
}

/// What a model's files hold, before any weight is read.
pub struct OpenModel {
    /// The model's shape.
    pub spec: ModelSpec,
    /// The tensors as they are stored.
    pub checkpoint: Box<dyn Checkpoint>,
    /// The tokenizer that lies beside the weights; `None` where there is none.
    pub tokenizer: Option<Tokenizer>,
}

/// Reads a model's description; its weights stay in their files.
pub fn open(files: &ModelFiles) -> Result<OpenModel> {
    match files {
        ModelFiles::Gguf(file) => open_gguf(file),
        ModelFiles::Folder(folder) => open_folder(folder),
    }
}

/// Loads a model from its files.
pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<LoadedModel> {
    let opened = open(files)?;
    Ok(LoadedModel {
        model: build(&opened.spec, opened.checkpoint.as_ref(), files, options)?,
        tokenizer: opened.tokenizer,
    })
}

fn open_gguf(file: &Path) -> Result<OpenModel> {
    let gguf = GgufFile::open(file)?;
    Ok(OpenModel {
        spec: gguf_config::read(&gguf)?,
        tokenizer: Some(Tokenizer::from_gguf(gguf.metadata(), file)?),
        checkpoint: Box::new(gguf),
    })
}

fn open_folder(folder: &Path) -> Result<OpenModel> {
    let has_tokenizer = ["tokenizer.json", "vocab.json"]
        .iter()
        .any(|name| folder.join(name).is_file());
    Ok(OpenModel {
        spec: hf_config::read(&folder.join("config.json"))?,
        checkpoint: Box::new(SafetensorsCheckpoint::open(folder)?),
        tokenizer: has_tokenizer
            .then(|| Tokenizer::from_folder(folder))
            .transpose()?,
    })
}

/// Loads only the tokenizer of a model.
pub fn load_tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    match files {
        ModelFiles::Gguf(file) => Tokenizer::from_gguf(GgufFile::open(file)?.metadata(), file),
        ModelFiles::Folder(folder) => Tokenizer::from_folder(folder),
    }
}

fn build(
    spec: &ModelSpec,
    checkpoint: &dyn Checkpoint,
    files: &ModelFiles,
    options: &LoadOptions,
) -> Result<Box<dyn LanguageModel>> {
    let (ModelFiles::Gguf(source) | ModelFiles::Folder(source)) = files;
    let device = match options.device {
        Some(device) => device,
        None => Device::auto()?,
    };
    let total = checkpoint
        .names()
        .iter()
        .filter_map(|name| checkpoint.tensor(name))
        .map(|tensor| tensor.data.len() as u64)
        .sum();
    let progress = options.progress.as_ref();
    progress.begin(&format!("Loading {}", source.display()), Some(total));
    let is_gguf = matches!(files, ModelFiles::Gguf(_));
    let model = NamedWeights::new(checkpoint, spec, is_gguf, source)
        .and_then(|weights| transformer(spec, checkpoint, &weights, device, options));
    progress.end();
    let model = model?;
    let info = model.info();
    tracing::info!(
        source = %source.display(),
        architecture = info.architecture,
        quantization = info.quantization,
        device = info.device,
        bytes = info.bytes,
        "model loaded"
    );
    Ok(model)
}

/// The number of threads that was asked for: by the caller, or else by the environment.
fn threads(options: &LoadOptions) -> Result<Option<usize>> {
    match options.threads {
        Some(threads) => threads::check("num_threads", threads).map(Some),
        None => threads::from_environment(),
    }
}

/// Brings the weights to the backend of the device.
fn transformer(
    spec: &ModelSpec,
    checkpoint: &dyn Checkpoint,
    weights: &NamedWeights<'_>,
    device: Device,
    options: &LoadOptions,
) -> Result<Box<dyn LanguageModel>> {
    let tier = match options.kernels {
        Kernels::Best => Some(Tier::choose()?),
        Kernels::Tier(tier) => Some(tier),
        Kernels::Candle => None,
    };
    if let (Device::Cpu, Some(tier)) = (device, tier) {
        let backend = CpuBackend::new(tier, options.precision, threads(options)?)?;
        check_memory(checkpoint, &backend)?;
        return on_backend(backend, spec, weights, options);
    }
    let backend = CandleBackend::new(device.open()?, options.precision);
    if device == Device::Cpu {
        check_memory(checkpoint, &backend)?;
    }
    on_backend(backend, spec, weights, options)
}

/// Refuses what won't fit before any weight is read.
fn check_memory(checkpoint: &dyn Checkpoint, backend: &impl Backend) -> Result<()> {
    let tensors = checkpoint.names().into_iter();
    let tensors = tensors.filter_map(|name| checkpoint.tensor(name));
    let footprints = tensors.map(|tensor| backend.footprint(&tensor));
    memory::check(footprints.fold(0, u64::saturating_add))
}

fn on_backend<B: Backend>(
    backend: B,
    spec: &ModelSpec,
    weights: &NamedWeights<'_>,
    options: &LoadOptions,
) -> Result<Box<dyn LanguageModel>> {
    let (spec, context_length) = (spec.clone(), options.context_length);
    let progress = options.progress.as_ref();
    let model = Transformer::load(spec, backend, weights, context_length, progress)?;
    Ok(Box::new(model))
}
