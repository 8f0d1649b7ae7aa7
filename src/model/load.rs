//! A model's files to a model that runs.

use std::path::Path;

use super::loader::StoredElements;
use super::memory;
use super::open_model::OpenModel;
use super::options::{Kernels, LoadOptions};
use super::target_model::TargetModel;
use super::transformer::Transformer;
use crate::architecture::ModelSpec;
use crate::architecture::names::NamedWeights;
use crate::backend::candle::{CandleBackend, half_precision};
use crate::backend::cpu::{CpuBackend, Tier};
use crate::backend::{Backend, StorageType, WeightPrecision};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::hub::ModelFiles;
use crate::hub::packed::{self, SourceFile};
use crate::settings::SpeculativeConfig;
use crate::text::Tokenizer;
use crate::threads;
use crate::weights::Checkpoint;
use crate::weights::gguf::GgufFile;

/// A model with its tokenizer.
pub struct LoadedModel {
    /// Ready to compute.
    pub model: Box<dyn TargetModel>,
    /// The tokenizer that lies beside the weights; `None` where there is none.
    pub tokenizer: Option<Tokenizer>,
    /// The settings of a request that gives none: the model's own, or the general defaults.
    pub defaults: SpeculativeConfig,
    /// The files that it was read from, where a draft head may lie, too.
    pub files: OpenModel,
}

/// What a model takes, before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// Bytes of the weights in memory, on the CPU.
    pub weights: u64,
    /// Names of tensors that are not loaded: of other towers, say.
    pub skipped: Vec<String>,
    /// Names of tables whose rows are read from the file one by one.
    pub tables: Vec<String>,
}

/// What a model's files take, as they are stored.
pub fn requirements(opened: &OpenModel, spec: &ModelSpec) -> Result<Requirements> {
    let (checkpoint, is_gguf, source) = (opened.checkpoint(), opened.is_gguf(), opened.source());
    let weights = NamedWeights::new(checkpoint, spec, is_gguf, source)?;
    let further = spec.with_prediction_layer();
    let further = further
        .as_ref()
        .map(|spec| NamedWeights::of_prediction(checkpoint, spec, is_gguf, source));
    let further = further.filter(NamedWeights::has_prediction);
    let is_loaded = |name: &str| {
        let in_head = || further.as_ref().is_some_and(|head| head.is_loaded(name));
        weights.is_loaded(name) || in_head()
    };
    let backend = CpuBackend::new(Tier::choose()?, WeightPrecision::Stored, Some(1))?;
    let names = checkpoint.names().into_iter().map(ToOwned::to_owned);
    let names = names.chain(checkpoint.packed_names());
    let others = names.filter(|name| !is_loaded(name));
    let (tables, skipped) = others.partition(|name: &String| weights.is_table(name));
    Ok(Requirements {
        weights: footprint(checkpoint, is_loaded, &backend),
        skipped,
        tables,
    })
}

/// Loads a model from its files.
pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<LoadedModel> {
    load_opened(OpenModel::open(files)?, options)
}

/// Loads a model from its opened files.
pub fn load_opened(mut opened: OpenModel, options: &LoadOptions) -> Result<LoadedModel> {
    opened.set_precision(options.precision);
    let spec = opened.spec()?;
    let defaults = opened.defaults()?;
    // At the same time: the tokenizer of a large vocabulary takes as long as the weights do. (Its errors are returned once
    // the weights are read.)
    let (tokenizer, model) = threads::join(
        || opened.tokenizer(),
        || {
            let (checkpoint, source) = (opened.checkpoint(), opened.source());
            build(&spec, checkpoint, source, opened.is_gguf(), options)
        },
    );
    Ok(LoadedModel {
        tokenizer: tokenizer?,
        model: model?,
        defaults,
        files: opened,
    })
}

/// Loads only the tokenizer of a model.
pub fn load_tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    match files {
        ModelFiles::Gguf(file) => Tokenizer::from_gguf(GgufFile::open(file)?.metadata(), file),
        ModelFiles::Folder(folder) => Tokenizer::from_folder(folder),
        ModelFiles::Adapted(files) => match (&files.tokenizer, &*files.base) {
            (Some(folder), ModelFiles::Folder(base)) => Tokenizer::from_folders(folder, base),
            (_, base) => load_tokenizer(base),
        },
    }
}

/// Builds a model out of tensors with Hugging Face's names; `source` is what errors call them.
pub(crate) fn load_checkpoint(
    spec: &ModelSpec,
    checkpoint: &dyn Checkpoint,
    source: &Path,
    options: &LoadOptions,
) -> Result<Box<dyn TargetModel>> {
    build(spec, checkpoint, source, false, options)
}

fn build(
    spec: &ModelSpec,
    checkpoint: &dyn Checkpoint,
    source: &Path,
    is_gguf: bool,
    options: &LoadOptions,
) -> Result<Box<dyn TargetModel>> {
    if spec.reads_target() {
        let reason =
            "it reads the keys and values of a target: it is a draft head (--draft), and no model";
        return Err(Error::unsupported(source.display().to_string(), reason));
    }
    let device = match options.device {
        Some(device) => device,
        None => Device::auto()?,
    };
    let tensors = checkpoint.names().into_iter();
    let tensors = tensors.filter_map(|name| checkpoint.tensor(name));
    let packed = checkpoint.packed_names().into_iter();
    let packed = packed.filter_map(|name| checkpoint.packed(&name));
    let bytes = tensors.map(|tensor| tensor.data.len());
    let bytes = bytes.chain(packed.map(|packed| packed.bytes()));
    let total = bytes.fold(0, |total: u64, bytes| total.saturating_add(bytes as u64));
    let progress = options.progress.as_ref();
    progress.begin(&format!("Loading {}", source.display()), Some(total));
    let model = NamedWeights::new(checkpoint, spec, is_gguf, source)
        .and_then(|weights| transformer(spec, checkpoint, &weights, source, device, options));
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
    source: &Path,
    device: Device,
    options: &LoadOptions,
) -> Result<Box<dyn TargetModel>> {
    let tier = match options.kernels {
        Kernels::Best => Some(Tier::choose()?),
        Kernels::Tier(tier) => Some(tier),
        Kernels::Candle => None,
    };
    if let (Device::Cpu, Some(tier)) = (device, tier) {
        let backend = CpuBackend::new(tier, options.precision, threads(options)?)?;
        let bytes = check_memory(checkpoint, weights, &backend)?;
        let cache = packed::open(packed::Checkpoint {
            source: source.to_owned(),
            files: files_of(checkpoint, source),
            precision: options.precision,
            bytes,
        })?;
        return on_backend(backend.with_cache(cache), spec, weights, options);
    }
    let opened = device.open()?;
    let backend = CandleBackend::new(opened.clone(), options.precision);
    if device == Device::Cpu {
        check_memory(checkpoint, weights, &backend)?;
        return on_backend(backend, spec, weights, options);
    }
    let backend = match options.precision {
        WeightPrecision::F32 => backend,
        WeightPrecision::Stored | WeightPrecision::Quantized(_) => {
            backend.computing_in(half_precision(
                &opened,
                most_common_storage(checkpoint),
                spec.has_wide_range(),
            ))
        }
    };
    on_backend(backend, spec, weights, options)
}

/// How most of a checkpoint's elements are stored.
fn most_common_storage(checkpoint: &dyn Checkpoint) -> StorageType {
    let mut elements = StoredElements::default();
    let names = checkpoint.names().into_iter();
    let tensors = names.filter_map(|name| checkpoint.tensor(name));
    let packed = checkpoint.packed_names().into_iter();
    let packed = packed.filter_map(|name| Some(checkpoint.packed(&name)?.described()));
    for tensor in tensors.chain(packed) {
        elements.add(tensor.storage, tensor.shape.iter().product());
    }
    elements.most_common()
}

/// The files that a model's weights follow from; none if they are in memory alone.
fn files_of(checkpoint: &dyn Checkpoint, source: &Path) -> Vec<SourceFile> {
    let files = checkpoint.files().into_iter();
    let mut files: Vec<_> = files
        .map(|(path, opened)| SourceFile::new(path, opened))
        .collect();
    if files.is_empty() {
        return files;
    }
    // The shapes by which tensors are taken apart, how they are quantized, and which file a tensor is in. (GGUF files hold it
    // themselves.)
    for name in ["config.json", "model.safetensors.index.json"] {
        let path = source.join(name);
        if let Ok(opened) = path.metadata() {
            files.push(SourceFile::new(&path, &opened));
        }
    }
    files
}

/// Refuses what won't fit before any weight is read; returns the bytes that the weights will take.
fn check_memory(
    checkpoint: &dyn Checkpoint,
    weights: &NamedWeights<'_>,
    backend: &impl Backend,
) -> Result<u64> {
    let bytes = footprint(checkpoint, |name| weights.is_loaded(name), backend);
    memory::check(bytes)?;
    Ok(bytes)
}

/// Bytes that those weights of a checkpoint will take that are loaded.
fn footprint(
    checkpoint: &dyn Checkpoint,
    is_loaded: impl Fn(&str) -> bool,
    backend: &impl Backend,
) -> u64 {
    let tensors = checkpoint.names().into_iter();
    let tensors = tensors.filter(|name| is_loaded(name));
    let tensors = tensors.filter_map(|name| checkpoint.tensor(name));
    let packed = checkpoint.packed_names().into_iter();
    let packed = packed.filter(|name| is_loaded(name));
    let packed = packed.filter_map(|name| Some(checkpoint.packed(&name)?.described()));
    let footprints = tensors
        .chain(packed)
        .map(|tensor| backend.footprint(&tensor));
    footprints.fold(0, u64::saturating_add)
}

fn on_backend<B: Backend>(
    backend: B,
    spec: &ModelSpec,
    weights: &NamedWeights<'_>,
    options: &LoadOptions,
) -> Result<Box<dyn TargetModel>> {
    let model = Transformer::load(spec.clone(), backend, weights, options)?;
    Ok(Box::new(model))
}
