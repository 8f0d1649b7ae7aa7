//! The product: a target, a draft and a tokenizer that generate text together.

mod builder;
mod many;
mod self_draft;

use std::path::Path;
use std::sync::Arc;

use crate::config::{DraftKind, SpeculativeConfig, Verification};
use crate::device::Device;
use crate::engine::{CancelToken, Chunk, Generation, Session};
use crate::error::{Error, Result};
use crate::model::{DraftHead, LanguageModel, ModelInfo, SharedModel, TokenSequence};
use crate::sampling::{Noise, Processors};
use crate::speculation::draft::{
    Drawing, ForcedLookup, HeadDraft, ModelDraft, NgramLookup, OtherVocabulary, PredictionLookup,
    RecyclingLookup, Sampler, TableLookup, TextDraft, Vocabulary,
};
use crate::speculation::{
    Acceptance, Controller, DraftSource, Experience, Lookup, Lookups, TokenSource,
};
use crate::text::{Message, Tokenizer};

use many::SharedService;

pub use builder::DecoderBuilder;
pub use many::Batch;

/// The stream of a request's noise that its draft draws from; verification has another, so that neither shifts the other.
const DRAFT_STREAM: u16 = 1;

/// Rows of logits asked for at once when a text is scored.
const SCORED_ROWS: usize = 64;

/// A prompt: text, or tokens that are used as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text to be tokenized, with the special tokens that the model expects.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u32]> for Prompt {
    fn from(tokens: &[u32]) -> Self {
        Self::Tokens(tokens.to_vec())
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Self::Tokens(tokens)
    }
}

/// What drafts with weights.
#[derive(Clone)]
enum DraftModel {
    /// A model, and its vocabulary where that is not the target's.
    Model(SharedModel, Option<Arc<OtherVocabulary>>),
    /// A head that reads the target's hidden states.
    Head(Arc<dyn DraftHead>),
}

/// Decodes speculatively. Cheap to clone; usable from many threads at once.
#[derive(Clone)]
pub struct SpeculativeDecoder {
    target: SharedModel,
    draft: Option<DraftModel>,
    default_draft: DraftKind,
    tokenizer: Tokenizer,
    experience: Experience,
    service: SharedService,
}

impl SpeculativeDecoder {
    /// Loads a target and a draft: hub names, folders, .gguf files, default aliases; the draft may also be "auto" (no model:
    /// all sources that need none), one of these ("ngram", "recycling", "table"), "none", or as
    /// [`DecoderBuilder::draft`] says. `device`: `None` is the best there is.
    pub fn new(target: &str, draft: &str, device: Option<Device>) -> Result<Self> {
        let builder = Self::builder().target(target).draft(draft);
        builder.device(device).load()
    }

    /// All the choices of [`Self::new`] and more, by name.
    pub fn builder() -> DecoderBuilder {
        DecoderBuilder::default()
    }

    /// Decodes with models of your own.
    pub fn with_models(
        target: Box<dyn LanguageModel>,
        draft: Option<Box<dyn LanguageModel>>,
        tokenizer: Tokenizer,
    ) -> Self {
        Self {
            default_draft: DraftKind::Auto,
            target: SharedModel::new(target),
            draft: draft.map(|model| DraftModel::Model(SharedModel::new(model), None)),
            tokenizer,
            experience: Experience::default(),
            service: SharedService::default(),
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
        self.session(prompt, config)?.run()
    }

    /// Generates chunk by chunk.
    pub fn stream(&self, prompt: impl Into<Prompt>, config: &SpeculativeConfig) -> Result<Stream> {
        let session = self.session(prompt, config)?;
        Ok(Stream {
            session: Some(session),
        })
    }

    /// Answers a conversation, put into words by the model's own chat template.
    pub fn chat(&self, messages: &[Message], config: &SpeculativeConfig) -> Result<Generation> {
        self.generate_with(self.chat_prompt(messages)?, config)
    }

    /// A conversation as the prompt that [`Self::chat`] uses.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Prompt> {
        if messages.is_empty() {
            return Err(Error::invalid("messages", "[]", "at least one message"));
        }
        let template = self.tokenizer.chat_template().ok_or_else(|| {
            Error::unsupported(
                self.info().architecture,
                "the model has no chat template: use generate with a prompt of your own",
            )
        })?;
        let text = template.render(messages, true)?;
        // Templates write the special tokens themselves.
        Ok(Prompt::Tokens(self.tokenizer.encode(&text, false)?))
    }

    /// The target's logits behind each of some tokens, from an empty cache: `[ids.len(), vocab_size]`.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        self.logits_in_pieces(ids, || Ok(()))
    }

    /// [`Self::logits`], with a look at something else between pieces of the work; its error ends it.
    pub(crate) fn logits_in_pieces(
        &self,
        ids: &[u32],
        mut between: impl FnMut() -> Result<()>,
    ) -> Result<Vec<f32>> {
        let mut sequence = self.sequence();
        if ids.len() > sequence.context_length() {
            return Err(Error::ContextOverflow {
                tokens: ids.len(),
                context_length: sequence.context_length(),
            });
        }
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

    /// Learns from a text like those to come, the tokens from a place on: for drafts from the decoder's table.
    pub fn learn(&self, text: impl Into<Prompt>, from: usize) -> Result<()> {
        let tokens = self.prompt_tokens(text.into())?;
        self.experience.table.learn(&tokens, from);
        Ok(())
    }

    /// Writes the table that [`Self::learn`] filled to a file, for [`DecoderBuilder::table`].
    pub fn save_table(&self, path: &Path) -> Result<()> {
        let fingerprint = self.tokenizer.fingerprint();
        self.experience.table.save(path, fingerprint)
    }

    /// The same decoder, whose requests share nothing that they learn with this one's: for comparisons that no run before
    /// them is to change.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            experience: self.experience.apart(),
            ..self.clone()
        }
    }

    /// A token sequence of the target, for a decoding loop of one's own.
    pub fn sequence(&self) -> TokenSequence {
        TokenSequence::new(&self.target)
    }

    /// A token sequence of the draft model; `None` without one that writes by itself.
    pub fn draft_sequence(&self) -> Option<TokenSequence> {
        match self.draft.as_ref()? {
            DraftModel::Model(model, _) => Some(TokenSequence::new(model)),
            DraftModel::Head(_) => None,
        }
    }

    /// The target's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Facts about the target.
    pub fn info(&self) -> ModelInfo {
        self.target.info().clone()
    }

    /// Facts about the draft model; `None` without one.
    pub fn draft_info(&self) -> Option<ModelInfo> {
        self.draft.as_ref().map(|draft| match draft {
            DraftModel::Model(model, _) => model.info().clone(),
            DraftModel::Head(head) => head.info(),
        })
    }

    /// A request, to be run step by step.
    pub fn session(
        &self,
        prompt: impl Into<Prompt>,
        config: &SpeculativeConfig,
    ) -> Result<Session> {
        self.begin(prompt.into(), config, |processors, noise, prompt_length| {
            self.controller(config, processors, noise, prompt_length)
        })
    }

    /// A request with a draft source of the caller's own, in place of the one that `config.draft` names.
    pub fn session_with(
        &self,
        prompt: impl Into<Prompt>,
        config: &SpeculativeConfig,
        source: Box<dyn DraftSource>,
    ) -> Result<Session> {
        self.begin(prompt.into(), config, |_, _, _| {
            let controller = self.controller_of(config, Vec::new());
            Ok(controller.with_source(source, TokenSource::Custom))
        })
    }

    fn begin(
        &self,
        prompt: Prompt,
        config: &SpeculativeConfig,
        controller: impl FnOnce(&Processors, Noise, usize) -> Result<Controller>,
    ) -> Result<Session> {
        config.validate()?;
        let prompt = self.prompt_tokens(prompt)?;
        let vocab_size = self.target.vocab_size();
        let unknown = |bias: &&(u32, f64)| bias.0 as usize >= vocab_size;
        if let Some((token, _)) = config.logit_bias.iter().find(unknown) {
            let expected = format!("token ids below the vocabulary's size, {vocab_size}");
            return Err(Error::invalid("logit_bias", token, expected));
        }
        let forbidden = |id: &u32| config.logit_bias.contains(&(*id, f64::NEG_INFINITY));
        let mut ends = self.tokenizer.eos_token_ids().iter();
        if config.response_format.is_some() && ends.all(forbidden) {
            let expected =
                "an end-of-text token to be possible: a text with a response_format ends with one";
            return Err(Error::invalid("logit_bias", f64::NEG_INFINITY, expected));
        }
        let noise = Noise::new(config.seed.unwrap_or_else(fresh_seed));
        let processors = self.processors(config, prompt.len())?;
        let controller = controller(&processors, noise, prompt.len())?;
        Session::new(
            &self.target,
            controller,
            processors,
            noise,
            &self.tokenizer,
            prompt,
            config,
        )
    }

    /// What makes laws of the target's logits, for a prompt of so many tokens.
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
        let tokens = self.tokenizer.encode(&text, true)?;
        if tokens.is_empty() {
            // An empty text still begins somewhere: at the model's beginning-of-text token.
            return Ok(self.tokenizer.bos_token_id().into_iter().collect());
        }
        Ok(tokens)
    }

    /// The draft sources that this decoder has.
    pub fn draft_sources(&self) -> Vec<DraftKind> {
        let model = self.draft.as_ref().map(|_| DraftKind::Model);
        let table = (!self.experience.table.is_empty()).then_some(DraftKind::Table);
        let without_weights = [DraftKind::Ngram, DraftKind::Recycling];
        without_weights
            .into_iter()
            .chain(table)
            .chain(model)
            .collect()
    }

    /// Where a request's drafts may come from, and the choice among them.
    fn controller(
        &self,
        config: &SpeculativeConfig,
        processors: &Processors,
        noise: Noise,
        prompt_length: usize,
    ) -> Result<Controller> {
        let kind = config.draft.unwrap_or(self.default_draft);
        if kind == DraftKind::Model && self.draft.is_none() {
            let expected =
                "a source without a model, as this decoder was loaded without a draft model";
            return Err(Error::invalid("draft", kind, expected));
        }
        let drafts = config.gamma > 0 && kind != DraftKind::None;
        let wants = |wanted| drafts && (kind == DraftKind::Auto || kind == wanted);
        let mut lookups: Vec<Box<dyn Lookup>> = Vec::new();
        if drafts && config.response_format.is_some() {
            let forced = ForcedLookup::new(processors.clone(), prompt_length);
            lookups.push(Box::new(forced));
        }
        if let Some(prediction) = &config.prediction
            && drafts
        {
            let tokens = self.tokenizer.encode(prediction, false)?;
            lookups.push(Box::new(PredictionLookup::new(tokens, prompt_length)));
        }
        if wants(DraftKind::Ngram) {
            lookups.push(Box::new(NgramLookup::default()));
        }
        if wants(DraftKind::Table) {
            lookups.push(Box::new(TableLookup::new(&self.experience.table)));
        }
        if wants(DraftKind::Recycling) {
            lookups.push(Box::new(RecyclingLookup::new(&self.experience.successors)));
        }
        let controller = self.controller_of(config, lookups);
        let Some(model) = self.draft.as_ref().filter(|_| wants(DraftKind::Model)) else {
            return Ok(controller);
        };
        let source = self.model_source(model, config, processors, noise)?;
        Ok(controller.with_source(source, TokenSource::Model))
    }

    /// A source that drafts with a model.
    fn model_source(
        &self,
        draft: &DraftModel,
        config: &SpeculativeConfig,
        processors: &Processors,
        noise: Noise,
    ) -> Result<Box<dyn DraftSource>> {
        let drawing = match config.verification {
            Verification::Coupled => Drawing::Coupled(noise),
            Verification::Rejection | Verification::Block => {
                Drawing::Independent(noise.stream(DRAFT_STREAM))
            }
        };
        let vocab_size = self.target.vocab_size();
        let mut sampler = Sampler::new(processors.clone(), drawing, vocab_size);
        if config.adaptive {
            sampler = sampler.with_alternatives();
        }
        let (model, vocabulary) = match draft {
            DraftModel::Head(head) => {
                let draft = HeadDraft::new(head, sampler)?;
                return Ok(Box::new(draft));
            }
            // Nothing but the likeliest text is asked for: its words may be cut in any way.
            DraftModel::Model(model, Some(other))
                if config.is_greedy() && config.response_format.is_none() && !other.is_near() =>
            {
                return Ok(Box::new(TextDraft::new(model, other, vocab_size)?));
            }
            DraftModel::Model(model, Some(other)) => (
                model,
                Vocabulary::Other(other.clone(), other.retokenizer()?),
            ),
            DraftModel::Model(model, None) => (model, Vocabulary::Same),
        };
        let draft = ModelDraft::new(model, vocabulary, sampler);
        Ok(Box::new(draft))
    }

    fn controller_of(
        &self,
        config: &SpeculativeConfig,
        lookups: Vec<Box<dyn Lookup>>,
    ) -> Controller {
        let acceptance = Acceptance::new(&self.experience.acceptance, config.is_greedy());
        let lookups = Lookups::new(lookups, self.target.vocab_size());
        Controller::new(
            config.gamma,
            config.adaptive,
            &self.experience.costs,
            acceptance,
            lookups,
        )
    }
}

/// A generation in progress, chunk by chunk. Dropping it ends the generation.
pub struct Stream {
    session: Option<Session>,
}

impl Stream {
    /// A handle that ends the generation from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.session
            .as_ref()
            .map(Session::cancel_token)
            .unwrap_or_default()
    }

    /// Reads the next piece of the prompt; `false` if it was read. The iterator reads what is left: this is
    /// for a caller with something to do between the pieces.
    pub fn read_prompt(&mut self) -> Result<bool> {
        self.session
            .as_mut()
            .map_or(Ok(false), Session::read_prompt)
    }

    /// What was generated so far; `None` after an error.
    pub fn into_generation(self) -> Option<Generation> {
        self.session.map(Session::into_generation)
    }
}

impl Iterator for Stream {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.session.as_mut()?.next_chunk();
        if next.is_err() {
            self.session = None;
        }
        next.transpose()
    }
}

/// Ends a generation whose future nobody waits for any more.
pub(crate) struct CancelOnDrop(pub(crate) CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Does work on a thread of its own.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // The send fails where nobody waits any more.
    std::thread::spawn(move || drop(sender.send(work())));
    let lost = "the generation's thread ended without an answer";
    receiver
        .await
        .unwrap_or_else(|_| Err(Error::Compute(lost.into())))
}

/// A seed that differs from call to call and from process to process.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::SystemTime::now())
}
