//! The product: a target, a draft and a tokenizer that generate text together.

mod batch;
mod builder;
pub(crate) mod corpus;
#[cfg(test)]
mod head_tests;
mod prompt;
#[cfg(test)]
mod recurrent_tests;
mod self_draft;
mod stream;
#[cfg(test)]
mod stretch_tests;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::device::Device;
use crate::engine::{CancelToken, Generation, KvCacheManager, Request, Scope};
use crate::error::{Error, Result};
use crate::hub::ModelFiles;
use crate::limits;
use crate::model::{LanguageModel, ModelInfo, OpenModel, SharedModel, TokenSequence, memory};
use crate::sampling::{Noise, Processors};
use crate::settings::{DraftKind, SpeculativeConfig};
use crate::speculation::drafter::DraftModel;
use crate::speculation::registry::{self, DraftRequest};
use crate::speculation::retrieval::{Corpus, Table};
use crate::speculation::{
    Acceptance, Controller, Drafter, DraftingStatistics, RetrievalDrafter, RetrievalDrafters,
};
use crate::text::{Message, RenderOptions, Tokenizer};

use batch::SharedService;

pub use batch::Batch;
pub use builder::DecoderBuilder;
use builder::default_head;
pub use prompt::Prompt;
pub use stream::Stream;

/// Rows of logits computed at once when a text is scored.
const SCORED_ROWS: usize = 64;

/// Decodes speculatively. Cheap to clone; usable from many threads at once.
#[derive(Clone)]
pub struct SpeculativeDecoder {
    target: SharedModel,
    draft: Option<DraftModel>,
    default_draft: DraftKind,
    /// Whether the draft was named: a model, a head, or one of the sources.
    is_draft_named: bool,
    /// Whether a table or a corpus was named.
    are_texts_named: bool,
    /// The settings of a request that gives none.
    defaults: Arc<SpeculativeConfig>,
    tokenizer: Tokenizer,
    /// Where the target was read from; `None`: it is a user's model.
    files: Option<Arc<ModelFiles>>,
    statistics: DraftingStatistics,
    service: SharedService,
    cache: KvCacheManager,
    scope: Scope,
}

impl SpeculativeDecoder {
    /// Loads a target and a draft: hub names, folders, .gguf files, default aliases; the draft may also be "auto" (all
    /// sources that need no model, and a head of the target's own), one of these (as "ngram"), "none", or as
    /// [`DecoderBuilder::draft`] says. `device`: `None` is the best there is.
    pub fn new(target: &str, draft: &str, device: Option<Device>) -> Result<Self> {
        let builder = Self::builder().target(target).draft(draft);
        builder.device(device).load()
    }

    /// All the choices of [`Self::new`] and more, by name.
    pub fn builder() -> DecoderBuilder {
        DecoderBuilder::default()
    }

    /// Decodes with models of your own, boxed or not; `None::<Box<dyn LanguageModel>>` is no draft model.
    pub fn with_models<T, D>(target: T, draft: Option<D>, tokenizer: Tokenizer) -> Self
    where
        T: LanguageModel + 'static,
        D: LanguageModel + 'static,
    {
        let target = SharedModel::of_user(target);
        Self {
            default_draft: DraftKind::AUTO,
            defaults: Arc::default(),
            cache: kv_cache(target.info()),
            target,
            is_draft_named: draft.is_some(),
            are_texts_named: false,
            draft: draft.map(|model| DraftModel::of_same_vocabulary(SharedModel::of_user(model))),
            tokenizer,
            files: None,
            statistics: DraftingStatistics::default(),
            service: SharedService::default(),
            scope: Scope::default(),
        }
    }

    /// Generates text; every other setting is the default's.
    pub fn generate(
        &self,
        prompt: &str,
        temperature: f64,
        top_k: usize,
        top_p: f64,
        gamma: usize,
        max_new_tokens: usize,
    ) -> Result<String> {
        let config = SpeculativeConfig {
            gamma,
            temperature,
            top_k,
            top_p,
            max_new_tokens,
            ..SpeculativeConfig::default()
        };
        Ok(self.generate_with(prompt, &config)?.text)
    }

    /// Generates with all settings; returns the text with its tokens, its end and its statistics.
    pub fn generate_with(
        &self,
        prompt: impl Into<Prompt>,
        config: &SpeculativeConfig,
    ) -> Result<Generation> {
        self.stream(prompt, config)?.run()
    }

    /// Generates chunk by chunk.
    pub fn stream(&self, prompt: impl Into<Prompt>, config: &SpeculativeConfig) -> Result<Stream> {
        Ok(Stream::new(self.request(prompt, config)?, &self.cache))
    }

    /// Answers a conversation, rendered by the model's own chat template.
    pub fn chat(&self, messages: &[Message], config: &SpeculativeConfig) -> Result<Generation> {
        let prompt = self.chat_prompt(messages, &RenderOptions::default())?;
        self.generate_with(prompt, config)
    }

    /// A conversation as a prompt; with the default options it is the one that [`Self::chat`] uses.
    pub fn chat_prompt(&self, messages: &[Message], options: &RenderOptions) -> Result<Prompt> {
        let text = self.tokenizer.apply_chat_template(messages, options)?;
        // Templates write the special tokens themselves.
        Ok(Prompt::Tokens(self.tokenizer.encode(&text, false)?))
    }

    /// The target's logits after each token, from an empty cache: `[ids.len(), vocab_size]`.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        self.logits_in_chunks(ids, || Ok(()))
    }

    /// [`Self::logits`], with a call between chunks of the work, whose error ends it.
    pub(crate) fn logits_in_chunks(
        &self,
        ids: &[u32],
        mut between: impl FnMut() -> Result<()>,
    ) -> Result<Vec<f32>> {
        let mut sequence = self.sequence();
        limits::fits(ids.len(), sequence.context_length())?;
        let size = ids.len().saturating_mul(sequence.vocab_size());
        let mut logits: Vec<f32> = Vec::new();
        logits
            .try_reserve_exact(size)
            .map_err(|_| Error::OutOfMemory {
                reason: format!("{size} logits of {} tokens: score fewer at once", ids.len()),
            })?;
        for chunk in ids.chunks(SCORED_ROWS) {
            between()?;
            logits.extend(sequence.extend(chunk, chunk.len())?.into_vec());
        }
        Ok(logits)
    }

    /// Feeds the decoder's n-gram table with a text, from a position on, for later drafts.
    pub fn learn(&self, text: impl Into<Prompt>, from: usize) -> Result<()> {
        let tokens = self.prompt_tokens(text.into())?;
        self.statistics.table.learn(&tokens, from);
        Ok(())
    }

    /// Writes the table that [`Self::learn`] filled to a file, for [`DecoderBuilder::table`].
    pub fn save_table(&self, path: &Path) -> Result<()> {
        let fingerprint = self.tokenizer.fingerprint();
        self.statistics.table.save(path, fingerprint)
    }

    /// The same decoder, with drafting statistics and a KV cache of its own: for comparisons that earlier runs must not
    /// affect.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            statistics: self.statistics.apart(),
            cache: self.cache.apart(),
            service: SharedService::default(),
            ..self.clone()
        }
    }

    /// The same decoder for requests that share nothing with those of other scopes: neither cached prefixes nor what drafts
    /// learn from texts. The KV cache's size, and a table, are one for all.
    #[must_use]
    pub fn in_scope(&self, scope: Scope) -> Self {
        Self {
            statistics: self.statistics.for_scope(),
            scope,
            ..self.clone()
        }
    }

    /// The same decoder without what its table has learned.
    #[cfg(feature = "server")]
    pub(crate) fn without_table(mut self) -> Self {
        self.statistics.table = default_table(&self.tokenizer);
        self
    }

    /// Whether it drafts from what [a decoder has by default](Self::with_default_drafts), and has learned no first text.
    pub(crate) fn has_default_drafts(&self) -> bool {
        let has_table = !self.statistics.table.is_empty();
        let has_default_table = !default_table(&self.tokenizer).is_empty();
        !self.is_draft_named && !self.are_texts_named && has_table == has_default_table
    }

    /// The same target with what a decoder drafts from by default: without what a user named.
    pub(crate) fn with_default_drafts(&self) -> Result<Self> {
        let mut decoder = self.apart();
        decoder.statistics.table = default_table(&self.tokenizer);
        decoder.statistics.corpus = Corpus::default();
        decoder.default_draft = DraftKind::AUTO;
        if self.is_draft_named {
            let files = self.files.as_deref().map(OpenModel::open).transpose()?;
            let head = files.map(|files| default_head(files, &self.target, &self.tokenizer, None));
            decoder.draft = head.transpose()?.flatten();
        }
        (decoder.is_draft_named, decoder.are_texts_named) = (false, false);
        Ok(decoder)
    }

    /// The same decoder, whose requests prefill their whole prompts: for measurements of the time to the first token.
    #[must_use]
    pub fn without_prefix_cache(&self) -> Self {
        Self {
            cache: self.cache.without_prefixes(),
            service: SharedService::default(),
            ..self.clone()
        }
    }

    /// A token sequence of the target, for a decoding loop of one's own.
    pub fn sequence(&self) -> TokenSequence {
        TokenSequence::new(&self.target)
    }

    /// A token sequence of the draft model; `None` without one, or if it is a head.
    pub fn draft_sequence(&self) -> Option<TokenSequence> {
        self.draft_model().map(TokenSequence::new)
    }

    /// Whether a model is computing on this thread, so that no other thread's answer may be waited for.
    pub(crate) fn is_computing_here(&self) -> bool {
        let drafts = self
            .draft_model()
            .is_some_and(SharedModel::is_computing_here);
        drafts || self.target.is_computing_here()
    }

    fn draft_model(&self) -> Option<&SharedModel> {
        self.draft.as_ref()?.model()
    }

    /// Whether nothing but this decoder holds its models: no other decoder, stream or sequence.
    #[cfg(feature = "python")]
    pub(crate) fn owns_models(&self) -> bool {
        let owns_draft = self.draft_model().is_none_or(|model| model.owners() == 1);
        let owners = self.target.owners();
        let kept = self.cache.kept_sequences();
        owns_draft && kept.is_some_and(|kept| owners == 1 + kept)
    }

    /// The target's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The files that the target was read from; `None` for a model of the user's own.
    pub(crate) fn target_files(&self) -> Option<&ModelFiles> {
        self.files.as_deref()
    }

    /// The settings that the model's files recommend (`generation_config.json`, or `general.sampling.*` of GGUF), or
    /// [`SpeculativeConfig::default`].
    pub fn default_config(&self) -> SpeculativeConfig {
        SpeculativeConfig::clone(&self.defaults)
    }

    /// Facts about the target.
    pub fn info(&self) -> ModelInfo {
        self.target.info().clone()
    }

    /// Facts about the draft model; `None` without one.
    pub fn draft_info(&self) -> Option<ModelInfo> {
        self.draft.as_ref().map(|draft| match draft {
            DraftModel::Model(drafted, _) => drafted.model.info().clone(),
            DraftModel::Head(head, _) => head.info(),
        })
    }

    /// A request for a [`Scheduler`](crate::engine::Scheduler) of one's own.
    pub fn request(
        &self,
        prompt: impl Into<Prompt>,
        config: &SpeculativeConfig,
    ) -> Result<Request> {
        self.begin(prompt.into(), config, |request| {
            let kind = config.draft.unwrap_or(self.default_draft);
            let drafters = registry::drafters(kind, request)?;
            let controller = self.controller(request.config, drafters.retrieval);
            Ok(match drafters.costed {
                Some((kind, drafter)) => controller.with_drafter(drafter, kind),
                None => controller,
            })
        })
    }

    /// [`Self::stream`] with a draft source of the caller's own, in place of the one that `config.draft` names.
    pub fn stream_with(
        &self,
        prompt: impl Into<Prompt>,
        config: &SpeculativeConfig,
        source: Box<dyn Drafter>,
    ) -> Result<Stream> {
        let request = self.begin(prompt.into(), config, |request| {
            let controller = self.controller(request.config, Vec::new());
            Ok(controller.with_drafter(source, DraftKind::CUSTOM))
        })?;
        Ok(Stream::new(request, &self.cache))
    }

    fn begin(
        &self,
        prompt: Prompt,
        config: &SpeculativeConfig,
        controller: impl FnOnce(DraftRequest<'_>) -> Result<Controller>,
    ) -> Result<Request> {
        config.validate()?;
        let prompt = self.prompt_tokens(prompt)?;
        let vocab_size = self.target.vocab_size();
        let biased = config.logit_bias.iter().map(|(token, _)| token);
        limits::known("logit_bias", biased, vocab_size)?;
        let forbidden = |id: &u32| config.logit_bias.contains(&(*id, f64::NEG_INFINITY));
        let mut ends = self.tokenizer.eos_token_ids().iter();
        if config.response_format.is_some() && ends.all(forbidden) {
            let expected =
                "an end-of-text token to be possible: a text with a response_format ends with one";
            return Err(Error::invalid("logit_bias", f64::NEG_INFINITY, expected));
        }
        let noise = Noise::new(config.seed.map_or_else(fresh_seed, Ok)?);
        let processors = self.processors(config, prompt.len())?;
        let config = &match processors.can_roll_back() {
            true => Cow::Borrowed(config),
            false => Cow::Owned(SpeculativeConfig {
                gamma: 0,
                ..config.clone()
            }),
        };
        let controller = controller(DraftRequest {
            kind: DraftKind::NONE,
            config,
            prompt_tokens: prompt.len(),
            processors: &processors,
            noise,
            tokenizer: &self.tokenizer,
            vocab_size,
            model: self.draft.as_ref(),
            statistics: &self.statistics,
        })?;
        Request::new(
            self.scope,
            &self.target,
            controller,
            processors,
            noise,
            &self.tokenizer,
            prompt,
            config,
        )
    }

    /// The planner that chooses among a request's drafters.
    fn controller(
        &self,
        config: &SpeculativeConfig,
        retrieval: Vec<Box<dyn RetrievalDrafter>>,
    ) -> Controller {
        let acceptance = Acceptance::new(&self.statistics.acceptance, config.is_greedy());
        let retrieval = RetrievalDrafters::new(retrieval, self.target.vocab_size());
        Controller::new(
            config.gamma,
            config.adaptive,
            &self.statistics.costs,
            acceptance,
            retrieval,
        )
    }

    /// What turns the target's logits into distributions, for a prompt of so many tokens.
    pub fn processors(
        &self,
        config: &SpeculativeConfig,
        prompt_length: usize,
    ) -> Result<Processors> {
        let format = config.response_format.as_ref();
        let grammar = format
            .map(|format| self.tokenizer.grammar(format))
            .transpose()?;
        Ok(Processors::new(config, prompt_length, grammar))
    }

    /// A prompt's tokens.
    pub(crate) fn prompt_tokens(&self, prompt: Prompt) -> Result<Vec<u32>> {
        let text = match prompt {
            Prompt::Text(text) => text,
            Prompt::Tokens(tokens) => return Ok(tokens),
        };
        self.tokenizer
            .check_length(&text, self.target.context_length())?;
        let tokens = self.tokenizer.encode(&text, true)?;
        if tokens.is_empty() {
            // An empty text starts with the model's BOS token.
            return Ok(self.tokenizer.bos_token_id().into_iter().collect());
        }
        Ok(tokens)
    }

    /// Refuses a source that this decoder does not have.
    #[cfg(feature = "cli")]
    pub(crate) fn check_draft(&self, draft: DraftKind) -> Result<()> {
        let general = [DraftKind::AUTO, DraftKind::NONE, DraftKind::PREDICTION];
        let own = self.draft_sources();
        if general.contains(&draft) || own.contains(&draft) {
            return Ok(());
        }
        let names: Vec<_> = own.iter().map(ToString::to_string).collect();
        let expected = format!("auto, none, {}", names.join(", "));
        Err(Error::invalid("draft", draft, expected))
    }

    /// The draft sources that this decoder has for any request.
    pub fn draft_sources(&self) -> Vec<DraftKind> {
        let sources = registry::sources().into_iter();
        let chosen = sources.filter(|(_, source)| !source.beside);
        let has = |kind: &DraftKind| match *kind {
            DraftKind::MODEL => self.draft.is_some(),
            DraftKind::TABLE => !self.statistics.table.is_empty(),
            DraftKind::CORPUS => !self.statistics.corpus.is_empty(),
            _ => true,
        };
        chosen.map(|(kind, _)| kind).filter(has).collect()
    }
}

/// The table that a decoder starts with.
fn default_table(tokenizer: &Tokenizer) -> Table {
    Table::of_vocabulary(tokenizer.vocab_size(), || tokenizer.fingerprint())
}

/// Cancels a generation when its future is dropped.
pub(crate) struct CancelOnDrop(pub(crate) CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs work on a thread of its own.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // The send fails if the future was dropped.
    std::thread::spawn(move || drop(sender.send(work())));
    let lost = "the generation's thread ended without an answer";
    receiver
        .await
        .unwrap_or_else(|_| Err(Error::Compute(lost.into())))
}

/// The KV cache of a model: half of the memory that is free, some contexts of it for the prefixes of ended requests.
fn kv_cache(info: &ModelInfo) -> KvCacheManager {
    /// Contexts that the prefix cache may hold, unless a server takes the whole cache for it.
    const PREFIX_CONTEXTS: usize = 4;
    /// Bytes of the smallest part in which a sequence takes memory.
    const HUGE_PAGE: usize = 2 << 20;
    // How much memory an accelerator has left is not known.
    let free = memory::available().filter(|_| info.device == "cpu");
    let tokens = free.and_then(|free| (free as usize / 2).checked_div(info.cache_bytes_per_token));
    let unknown = batch::SLOTS.saturating_mul(info.context_length.saturating_add(batch::SPARE));
    let prefixes = info.context_length.saturating_mul(PREFIX_CONTEXTS);
    // The system gives memory for the CPU in huge pages.
    let granule = match info.device.as_str() {
        "cpu" => HUGE_PAGE.checked_div(info.cache_bytes_per_token),
        _ => None,
    };
    KvCacheManager::new(Some(tokens.unwrap_or(unknown)), prefixes)
        .with_granule(granule.unwrap_or(1).max(1))
}

/// A seed of the system's random numbers.
fn fresh_seed() -> Result<u64> {
    getrandom::u64().map_err(|error| {
        Error::Compute(format!("the system gave no random seed ({error}): set one"))
    })
}
