//! The registry of draft sources: each entry names a source, describes it, and makes its drafter for a request.
//!
//! All interfaces read it: `draft` may be the name of any entry. A program adds sources of its own with [`register`], of
//! either kind ([`AnyDrafter`]), and requests name them like the others:
//!
//! ```
//! use specdec_rs::speculation::registry::{AnyDrafter, DraftSource, register};
//! use specdec_rs::speculation::{Candidate, RetrievalDrafter};
//! use specdec_rs::{DraftKind, Result};
//!
//! /// Proposes the last token over and over.
//! struct Repeat(DraftKind, Option<u32>);
//!
//! impl RetrievalDrafter for Repeat {
//!     fn follow(&mut self, text: &[u32]) -> Result<()> {
//!         self.1 = text.last().copied();
//!         Ok(())
//!     }
//!     fn enter(&mut self, _parent: Option<usize>, _token: u32) {}
//!     fn candidates(&self, _node: Option<usize>, found: &mut Vec<Candidate>) {
//!         found.extend(self.1.map(|token| Candidate { token, source: self.0, feature: 0, prior: 0.1 }));
//!     }
//! }
//!
//! register("repeat", DraftSource {
//!     description: "the last token over and over",
//!     needs: "",
//!     beside: false,
//!     make: &|request| Ok(Some(AnyDrafter::Retrieval(Box::new(Repeat(request.kind, None))))),
//! })?;
//! assert_eq!("repeat".parse::<DraftKind>()?.name(), "repeat");
//! # Ok::<(), specdec_rs::Error>(())
//! ```

use std::sync::{PoisonError, RwLock};

use super::drafter::{DraftModel, Drafter};
use super::planner::DraftingStatistics;
use super::retrieval::{
    CorpusDrafter, GrammarDrafter, NgramDrafter, PredictionDrafter, RecyclingDrafter,
    RetrievalDrafter, TableDrafter,
};
use crate::error::{Error, Result};
use crate::sampling::{Noise, Processors};
use crate::settings::{DraftKind, SpeculativeConfig};
use crate::text::Tokenizer;

/// An entry of the registry.
#[derive(Clone, Copy)]
pub struct DraftSource {
    /// What it proposes, in a phrase.
    pub description: &'static str,
    /// What a request must have to use it: the error says so if a request names the source and `make` returns `None`.
    pub needs: &'static str,
    /// Whether requests use it in addition to any other source, unless `draft` is "none". The others are used if `draft` names
    /// them or is "auto".
    pub beside: bool,
    /// Makes its drafter for a request; `None`: the request, or the decoder, lacks what it needs.
    #[allow(clippy::type_complexity, reason = "a function")]
    pub make: &'static (dyn Fn(&DraftRequest<'_>) -> Result<Option<AnyDrafter>> + Sync),
}

/// A drafter of either kind.
pub enum AnyDrafter {
    /// Costs next to nothing: its candidates compete with those of all others.
    Retrieval(Box<dyn RetrievalDrafter>),
    /// Takes time, which is measured: the planner chooses how many tokens it drafts. A request uses one such drafter: if there
    /// are several, the first one in the order of the registry.
    Costed(Box<dyn Drafter>),
}

/// The request that a drafter is made for.
#[derive(Clone, Copy)]
pub struct DraftRequest<'a> {
    /// The source: what it proposes is attributed to it.
    pub kind: DraftKind,
    /// The request's settings.
    pub config: &'a SpeculativeConfig,
    /// The prompt's length.
    pub prompt_tokens: usize,
    /// What turns the target's logits into distributions.
    pub processors: &'a Processors,
    /// The request's random numbers.
    pub noise: Noise,
    /// The target's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The target's number of logits.
    pub vocab_size: usize,
    pub(crate) model: Option<&'a DraftModel>,
    pub(crate) statistics: &'a DraftingStatistics,
}

/// A request's drafters.
#[derive(Default)]
pub(crate) struct Drafters {
    pub(crate) retrieval: Vec<Box<dyn RetrievalDrafter>>,
    pub(crate) costed: Option<(DraftKind, Box<dyn Drafter>)>,
}

/// The sources of this crate. Candidates of earlier ones win over equal ones of later ones.
const BUILT_IN: [(DraftKind, DraftSource); 7] = [
    (
        DraftKind::GRAMMAR,
        DraftSource {
            description: "the tokens to which the response format leaves no alternative",
            needs: "a response format",
            beside: true,
            make: &|request| {
                let constrained = request.config.response_format.is_some();
                Ok(constrained.then(|| {
                    let processors = request.processors.clone();
                    retrieval(GrammarDrafter::new(processors, request.prompt_tokens))
                }))
            },
        },
    ),
    (
        DraftKind::PREDICTION,
        DraftSource {
            description: "the continuation in the request's own `prediction`, a text that the output is likely to resemble (combined with any other source, too)",
            needs: "a `prediction`",
            beside: true,
            make: &|request| {
                let Some(prediction) = &request.config.prediction else {
                    return Ok(None);
                };
                let tokens = request.tokenizer.encode(prediction, false)?;
                let drafter = PredictionDrafter::new(tokens, request.prompt_tokens);
                Ok(Some(retrieval(drafter)))
            },
        },
    ),
    (
        DraftKind::NGRAM,
        DraftSource {
            description: "what followed the latest tokens when they last appeared in the prompt or output (prompt lookup)",
            needs: "",
            beside: false,
            make: &|_| Ok(Some(retrieval(NgramDrafter::default()))),
        },
    ),
    (
        DraftKind::CORPUS,
        DraftSource {
            description: "what followed the latest tokens in the texts of a folder that the decoder was given (--corpus), see below",
            needs: "a corpus",
            beside: false,
            make: &|request| {
                let drafter = CorpusDrafter::new(&request.statistics.corpus);
                Ok(drafter.map(retrieval))
            },
        },
    ),
    (
        DraftKind::TABLE,
        DraftSource {
            description: "what followed the latest tokens in texts that the decoder learned from, see below",
            needs: "an n-gram table",
            beside: false,
            make: &|request| {
                let table = &request.statistics.table;
                Ok((!table.is_empty()).then(|| retrieval(TableDrafter::new(table))))
            },
        },
    ),
    (
        DraftKind::RECYCLING,
        DraftSource {
            description: "the tokens that the target considered likely the last time the latest token appeared, in this text or another (token recycling)",
            needs: "",
            beside: false,
            make: &|request| {
                let successors = &request.statistics.successors;
                Ok(Some(retrieval(RecyclingDrafter::new(successors))))
            },
        },
    ),
    (
        DraftKind::MODEL,
        DraftSource {
            description: "what the draft model generates, see below",
            needs: "a draft model",
            beside: false,
            make: &|request| {
                let drafter = request.model.map(|model| {
                    let (config, processors) = (request.config, request.processors);
                    let shared = (request.vocab_size, &request.statistics.acceptance);
                    model.drafter(config, processors, request.noise, shared)
                });
                Ok(drafter.transpose()?.map(AnyDrafter::Costed))
            },
        },
    ),
];

/// The sources that programs registered.
static REGISTERED: RwLock<Vec<(DraftKind, DraftSource)>> = RwLock::new(Vec::new());

/// Adds a source under a new name, for all decoders of this process.
pub fn register(name: &'static str, source: DraftSource) -> Result<DraftKind> {
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    let kind = DraftKind::register(name)?;
    registered.push((kind, source));
    Ok(kind)
}

/// All sources, in their order.
pub fn sources() -> Vec<(DraftKind, DraftSource)> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    BUILT_IN
        .into_iter()
        .chain(registered.iter().copied())
        .collect()
}

/// The names of the sources that need neither a model nor anything of a request, as in "ngram, table".
pub(crate) fn names_without_model() -> String {
    let sources = sources().into_iter();
    let independent = sources.filter(|(kind, source)| !source.beside && *kind != DraftKind::MODEL);
    let names: Vec<_> = independent.map(|(kind, _)| kind.name()).collect();
    names.join(", ")
}

/// The drafters of a request whose `draft` is `kind`; the request's own kind is ignored.
pub(crate) fn drafters(kind: DraftKind, request: DraftRequest<'_>) -> Result<Drafters> {
    let drafts = request.config.gamma > 0 && kind != DraftKind::NONE;
    let mut drafters = Drafters::default();
    for (each, source) in sources() {
        let named = each == kind;
        let used = drafts && (source.beside || kind == DraftKind::AUTO);
        if !(named || used) {
            continue;
        }
        match (source.make)(&DraftRequest {
            kind: each,
            ..request
        })? {
            // The default that a decoder was loaded with may wait for texts to learn.
            None if named && request.config.draft == Some(kind) => {
                let expected = format!(
                    "another source: this one needs {}, and there is none",
                    source.needs
                );
                return Err(Error::invalid("draft", kind, expected));
            }
            Some(AnyDrafter::Retrieval(drafter)) if drafts => drafters.retrieval.push(drafter),
            Some(AnyDrafter::Costed(drafter)) if drafts && drafters.costed.is_none() => {
                drafters.costed = Some((each, drafter));
            }
            _ => {}
        }
    }
    Ok(drafters)
}

fn retrieval(drafter: impl RetrievalDrafter + 'static) -> AnyDrafter {
    AnyDrafter::Retrieval(Box::new(drafter))
}
