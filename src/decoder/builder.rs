//! How a decoder is put together: names to models.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::self_draft::SelfDraft;
use super::{SpeculativeDecoder, corpus};
use crate::backend::WeightPrecision;
use crate::device::Device;
use crate::engine::Scope;
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::hub::{LocateOptions, ModelFiles, locate, locate_adapter};
use crate::model::{
    self, HeadFiles, LoadOptions, OpenDraft, OpenModel, PredictionFiles, SharedModel, heads_beside,
};
use crate::progress::Progress;
use crate::settings::DraftKind;
use crate::speculation::DraftingStatistics;
use crate::speculation::drafter::{DraftModel, DraftedModel, OtherVocabulary, frequent_tokens};
use crate::speculation::registry;
use crate::text::{Tokenizer, chat_templates};

/// How long the target's passes are measured.
const MEASURING: Duration = Duration::from_millis(80);

/// Loads a [`SpeculativeDecoder`].
///
/// ```no_run
/// use specdec_rs::{Device, SpeculativeDecoder};
/// let decoder = SpeculativeDecoder::builder().target("smollm2-135m").draft("ngram").device(Device::Cpu).load()?;
/// # Ok::<(), specdec_rs::Error>(())
/// ```
#[derive(Clone)]
pub struct DecoderBuilder {
    target: String,
    draft: String,
    lora: Vec<String>,
    tokenizer: Option<String>,
    chat_template: Option<String>,
    quantize: Option<String>,
    dtype: Option<String>,
    kv_cache_dtype: Option<String>,
    kernels: Option<String>,
    table: Option<PathBuf>,
    corpus: Option<PathBuf>,
    options: LoadOptions,
}

impl Default for DecoderBuilder {
    fn default() -> Self {
        Self {
            target: crate::hub::DEFAULT_MODEL.into(),
            draft: DraftKind::AUTO.to_string(),
            lora: Vec::new(),
            tokenizer: None,
            chat_template: None,
            quantize: None,
            dtype: None,
            kv_cache_dtype: None,
            kernels: None,
            table: None,
            corpus: None,
            options: LoadOptions::default(),
        }
    }
}

impl DecoderBuilder {
    /// The target model.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// The draft: a model or a draft head (of EAGLE, EAGLE-2, EAGLE-3, P-EAGLE, DFlash or DSpark, an assistant of Gemma 4, or one
    /// that `specdec distill` made); "auto" (all sources that need no model, and a head in the target's files or beside them), one
    /// of these sources (as "ngram") or "none";
    /// the target's own layer for multi-token prediction ("mtp"); or the target itself, with some of its layers alone
    /// ("self:0-9,26-29"), quantized further (`self:q4_0`) or seeing only the end of a long text ("self:window=1024").
    #[must_use]
    pub fn draft(mut self, draft: impl Into<String>) -> Self {
        self.draft = draft.into();
        self
    }

    /// Merges a LoRA adapter into the target's weights: a folder in PEFT's layout, a GGUF file, or a repository of the hub. Called
    /// again, it adds another one.
    #[must_use]
    pub fn lora(mut self, adapter: impl Into<String>) -> Self {
        self.lora.push(adapter.into());
        self
    }

    /// A folder of texts to look drafts up in: a code base, templates. Its index is made once, and kept in the cache.
    #[must_use]
    pub fn corpus(mut self, path: impl Into<PathBuf>) -> Self {
        self.corpus = Some(path.into());
        self
    }

    /// A file of [`SpeculativeDecoder::save_table`]'s, to draft from.
    #[must_use]
    pub fn table(mut self, path: impl Into<PathBuf>) -> Self {
        self.table = Some(path.into());
        self
    }

    /// A model or folder whose tokenizer is used instead of the target's.
    #[must_use]
    pub fn tokenizer(mut self, tokenizer: impl Into<String>) -> Self {
        self.tokenizer = Some(tokenizer.into());
        self
    }

    /// The chat template in place of the model's own: a file, a name (chatml, llama3, ...) or Jinja's source.
    #[must_use]
    pub fn chat_template(mut self, template: impl Into<String>) -> Self {
        self.chat_template = Some(template.into());
        self
    }

    /// The device; `None` is the best there is.
    #[must_use]
    pub fn device(mut self, device: impl Into<Option<Device>>) -> Self {
        self.options.device = device.into();
        self
    }

    /// Holds all weights in this type ("f32"); quantized ones are widened.
    #[must_use]
    pub fn dtype(mut self, dtype: impl Into<String>) -> Self {
        self.dtype = Some(dtype.into());
        self
    }

    /// Quantizes on loading: `q8_0`, `q4_0`, ...
    #[must_use]
    pub fn quantize(mut self, format: impl Into<String>) -> Self {
        self.quantize = Some(format.into());
        self
    }

    /// Holds keys and values as `auto`, `f32`, `f16` or `q8_0`.
    #[must_use]
    pub fn kv_cache_dtype(mut self, dtype: impl Into<String>) -> Self {
        self.kv_cache_dtype = Some(dtype.into());
        self
    }

    /// Computes with Candle's kernels on the CPU (`candle`, the reference), or with the fastest (`auto`).
    #[must_use]
    pub fn kernels(mut self, kernels: impl Into<String>) -> Self {
        self.kernels = Some(kernels.into());
        self
    }

    /// Branch, tag or commit of a hub model.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.options.revision = Some(revision.into());
        self
    }

    /// Maximum number of tokens in a sequence.
    #[must_use]
    pub fn context_length(mut self, tokens: usize) -> Self {
        self.options.context_length = Some(tokens);
        self
    }

    /// Threads to compute with on the CPU.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// Told about downloads and loading.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.options.progress = progress;
        self
    }

    /// Finds, downloads and loads the models.
    pub fn load(mut self) -> Result<SpeculativeDecoder> {
        self.options.precision =
            WeightPrecision::from_names(self.dtype.as_deref(), self.quantize.as_deref())?;
        if let Some(dtype) = &self.kv_cache_dtype {
            self.options.kv_cache = dtype.parse()?;
        }
        if let Some(kernels) = &self.kernels {
            self.options.kernels = kernels.parse()?;
        }
        if self.options.context_length == Some(0) {
            return Err(Error::invalid("context_length", 0, "an integer >= 1"));
        }
        let own = SelfDraft::parse(&self.draft)?;
        match &self.corpus {
            None if self.draft == DraftKind::CORPUS.name() => {
                let expected = "another source, or a corpus to draft from (`corpus`, --corpus)";
                return Err(Error::invalid("draft", &self.draft, expected));
            }
            Some(path) if !path.exists() => {
                return Err(Error::io(path, std::io::ErrorKind::NotFound.into()));
            }
            _ => {}
        }
        let finds_head = [DraftKind::AUTO.name(), PredictionFiles::KIND].contains(&&*self.draft);
        let options = LocateOptions {
            with_head: finds_head,
            ..self.locate_options()
        };
        let adapters = self.lora.iter();
        let adapters = adapters.map(|name| locate_adapter(name, &self.locate_options()));
        let adapters = adapters.collect::<Result<_>>()?;
        let files = locate(&self.target, &options)?.with_adapters(adapters)?;
        let target = model::load(&files, &self.options)?;
        let (defaults, target_files) = (target.defaults, target.files);
        let tokenizer = self.choose_tokenizer(target.tokenizer, target.model.vocab_size())?;
        let target = SharedModel::new(target.model);
        let (draft, default_draft) = match self.draft.parse::<DraftKind>() {
            Ok(DraftKind::MODEL | DraftKind::PREDICTION) => {
                let sources = registry::names_without_model();
                let expected = format!(
                    "a model's name, self:LAYERS, self:FORMAT, self:window=TOKENS, auto, {sources} or none"
                );
                return Err(Error::invalid("draft", &self.draft, expected));
            }
            Ok(DraftKind::AUTO) => {
                let head = default_head(target_files, &target, &tokenizer, None)?;
                (head, DraftKind::AUTO)
            }
            Ok(kind) => (None, kind),
            Err(_) if self.draft == PredictionFiles::KIND => {
                let kind = Some(PredictionFiles::KIND);
                let head = default_head(target_files, &target, &tokenizer, kind)?;
                let head = head.ok_or_else(|| {
                    let expected =
                        "a model with a layer for multi-token prediction, in its files or beside them (mtp-*.gguf)";
                    Error::invalid("draft", &self.draft, expected)
                })?;
                (Some(head), DraftKind::AUTO)
            }
            Err(_) => {
                let draft = match own {
                    Some(own) => self.load_own(own, &target, &files, &tokenizer)?,
                    None => self.load_draft(&target, &tokenizer)?,
                };
                (Some(draft), DraftKind::AUTO)
            }
        };
        let mut statistics = DraftingStatistics::default();
        if let Some(path) = &self.corpus {
            statistics.corpus = corpus::open(path, &tokenizer, &*self.options.progress)?;
        }
        match &self.table {
            Some(path) => statistics.table.load(path, tokenizer.fingerprint())?,
            None => statistics.table = super::default_table(&tokenizer),
        }
        if default_draft != DraftKind::NONE {
            statistics.costs.measure(&target, MEASURING)?;
        }
        Ok(SpeculativeDecoder {
            cache: super::kv_cache(target.info()),
            target,
            draft,
            default_draft,
            is_draft_named: self.draft != DraftKind::AUTO.name(),
            are_texts_named: self.corpus.is_some() || self.table.is_some(),
            defaults: Arc::new(defaults),
            tokenizer,
            files: Some(Arc::new(files)),
            statistics,
            service: super::SharedService::default(),
            scope: Scope::default(),
        })
    }

    /// The tokenizer that is named, or the target's own, with the chat template that is.
    fn choose_tokenizer(&self, own: Option<Tokenizer>, vocab_size: usize) -> Result<Tokenizer> {
        let tokenizer = match (&self.tokenizer, own) {
            (Some(other), _) => {
                let tokenizer = self.load_tokenizer(other)?;
                let tokens = tokenizer.base_vocab_size();
                if tokens > vocab_size {
                    let expected = format!(
                        "a tokenizer of the target's vocabulary: it has {tokens} tokens, the target {vocab_size}"
                    );
                    return Err(Error::invalid("tokenizer", other, expected));
                }
                tokenizer
            }
            (None, Some(own)) => own,
            (None, None) => {
                let reason = "there is no tokenizer beside its weights: name one with `tokenizer`";
                return Err(Error::not_found(&self.target, reason));
            }
        };
        Ok(match &self.chat_template {
            Some(template) => {
                let changed = tokenizer.with_chat_template(&template_source(template)?);
                changed.map_err(|mistake| {
                    let expected = format!("a chat template in Jinja: {mistake}");
                    let given = match Path::new(template).is_file() {
                        true => template,
                        false => "(a text)",
                    };
                    Error::invalid("chat_template", given, expected)
                })?
            }
            None => tokenizer,
        })
    }

    /// The target itself, made cheaper.
    fn load_own(
        &self,
        own: SelfDraft,
        target: &SharedModel,
        files: &ModelFiles,
        tokenizer: &Tokenizer,
    ) -> Result<DraftModel> {
        let mut window = None;
        let model = match own {
            SelfDraft::Window(tokens) => {
                window = Some(tokens);
                target.lock()?.again()?
            }
            SelfDraft::Layers(layers) => target.lock()?.with_layers(&layers)?,
            SelfDraft::Quantized(precision) => {
                let options = LoadOptions {
                    precision,
                    ..self.options.clone()
                };
                model::load(files, &options)?.model
            }
        };
        let drafted = drafted_model(SharedModel::new(model), target, tokenizer);
        Ok(DraftModel::Model(DraftedModel { window, ..drafted }, None))
    }

    /// Another model, or a head.
    fn load_draft(&self, target: &SharedModel, tokenizer: &Tokenizer) -> Result<DraftModel> {
        let files = locate(&self.draft, &self.locate_options())?;
        let loaded = match OpenDraft::open(&files)? {
            OpenDraft::Head(head) => return load_head(&head, target, tokenizer),
            OpenDraft::Model(opened) => model::load_opened(*opened, &self.options)?,
        };
        let own = loaded.tokenizer.as_ref();
        let differs = own.filter(|own| !tokenizer.same_vocabulary(own));
        let other = differs.map(|own| OtherVocabulary::new(tokenizer, own));
        let other = other.transpose()?;
        if let Some(other) = &other {
            tracing::info!(shared = other.shared(), "the draft has another vocabulary");
        }
        let mask = loaded.files.mask_token()?;
        let model = SharedModel::new(loaded.model);
        if let Some(mask) = mask.filter(|mask| *mask as usize >= model.info().vocab_size) {
            let tokens = model.info().vocab_size;
            let reason = format!("its pard_token, {mask}, is none of its {tokens} tokens");
            return Err(Error::unsupported(&self.draft, reason));
        }
        if mask.is_some() && other.is_some() {
            tracing::info!("the draft's mask is not used: its vocabulary is not the target's");
        }
        let drafted = DraftedModel {
            mask: mask.filter(|_| other.is_none()),
            ..drafted_model(model, target, tokenizer)
        };
        Ok(DraftModel::Model(drafted, other.map(Arc::new)))
    }

    fn load_tokenizer(&self, name: &str) -> Result<Tokenizer> {
        model::load_tokenizer(&locate(name, &self.locate_options())?)
    }

    fn locate_options(&self) -> LocateOptions<'_> {
        LocateOptions {
            with_head: false,
            revision: self.options.revision.as_deref(),
            progress: self.options.progress.as_ref(),
        }
    }
}

/// A model that drafts for a target.
fn drafted_model(model: SharedModel, target: &SharedModel, tokenizer: &Tokenizer) -> DraftedModel {
    let tokens = model.vocab_size().min(target.vocab_size());
    // Candle's products compute all outputs, whatever is wanted of them.
    let cuts = model.info().device == "cpu";
    DraftedModel {
        frequent: frequent_tokens(tokenizer, tokens).filter(|_| cuts),
        model,
        window: None,
        mask: None,
    }
}

/// The head within the target's own files or beside them, if there is one that fits: of this kind, or of any. One that can't be
/// used does not keep the target from being loaded.
pub(super) fn default_head(
    files: OpenModel,
    target: &SharedModel,
    tokenizer: &Tokenizer,
    kind: Option<&str>,
) -> Result<Option<DraftModel>> {
    let (source, spec) = (files.source().to_owned(), files.spec()?);
    let within = HeadFiles::within(files).transpose();
    let within = within.map(|head| (source.clone(), head));
    let beside = heads_beside(&source, &spec).map(|beside| (beside.path, beside.head));
    // What lies beside is named after its kind.
    let is_of_kind = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        path == source || kind.is_none_or(|kind| name.starts_with(kind))
    };
    for (path, head) in within.into_iter().chain(beside) {
        if !is_of_kind(&path) {
            continue;
        }
        let loaded = head.and_then(|head| load_head(&head, target, tokenizer));
        let path = path.display();
        match loaded {
            Ok(head) => {
                tracing::info!(%path, "a draft head is used");
                return Ok(Some(head));
            }
            Err(reason) if kind.is_some() => return Err(reason),
            Err(reason) => tracing::warn!(%path, "a draft head is not used: {reason}"),
        }
    }
    Ok(None)
}

fn load_head(files: &HeadFiles, target: &SharedModel, tokenizer: &Tokenizer) -> Result<DraftModel> {
    let model = target.lock()?;
    let frequent = frequent_tokens(tokenizer, model.vocab_size());
    Ok(DraftModel::Head(model.draft_head(files)?, frequent))
}

/// A chat template's source: a known template's, that of a file, or the text itself.
fn template_source(template: &str) -> Result<String> {
    if let Some(source) = chat_templates::find(template) {
        return Ok(source.to_owned());
    }
    let file = Path::new(template);
    if file.is_file() {
        return files::read_text(file, Small::Settings);
    }
    if template.contains("{{") || template.contains("{%") {
        return Ok(template.to_owned());
    }
    let names = chat_templates::names().join(", ");
    let expected = format!("a file, or one of {names}");
    Err(Error::invalid("chat_template", template, expected))
}
