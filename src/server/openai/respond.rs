//! Responses: whole answers, and chunks of them.

use schemars::JsonSchema;
use serde::Serialize;

use super::usage::{StatsSchema, Usage};
use crate::engine::{self, Chunk, Generation, Stats};
use crate::settings::DraftKind;
use crate::text::Tokenizer;

/// The format of an answer: chat completions or completions.
pub(in crate::server) trait Format: Sized + Send + Sync + 'static {
    const ID_PREFIX: &'static str;
    const OBJECT: Object;
    const CHUNK_OBJECT: Object;

    /// The content of a choice.
    type Content: Serialize + JsonSchema + Send + Sync;
    /// The content of a chunk.
    type Delta: Serialize + JsonSchema + Send + Sync;
    type Logprobs: Serialize + JsonSchema + Send + Sync;

    /// A whole choice, after the prompt if the request asks to echo it.
    fn content(echoed: &str, text: &str) -> Self::Content;

    /// The first chunk of a choice, if it has any content.
    fn first(echoed: &str) -> Option<Self::Delta>;

    /// A chunk between the first and the last.
    fn delta(text: &str) -> Self::Delta;

    /// The last chunk of a choice.
    fn last() -> Self::Delta;

    /// `offset` is the position of the tokens in the text.
    fn logprobs(
        spelling: &Spelling,
        tokens: &[engine::Token],
        offset: &mut usize,
    ) -> Self::Logprobs;
}

/// The type of an object.
#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(in crate::server) enum Object {
    #[serde(rename = "chat.completion")]
    ChatCompletion,
    #[serde(rename = "chat.completion.chunk")]
    ChatCompletionChunk,
    #[serde(rename = "text_completion")]
    TextCompletion,
    #[serde(rename = "model")]
    Model,
    #[serde(rename = "list")]
    List,
}

/// A request's answer, or a chunk of it.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct Response<C> {
    id: String,
    object: Object,
    /// In seconds since 1970.
    created: u64,
    model: String,
    choices: Vec<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

/// One of a request's answers, or a part of it.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct Choice<C, L> {
    index: usize,
    #[serde(flatten)]
    content: C,
    logprobs: Option<L>,
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<Token>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<StatsSchema>")]
    stats: Option<Stats>,
}

/// A whole answer.
pub(in crate::server) type Whole<F> =
    Response<Choice<<F as Format>::Content, <F as Format>::Logprobs>>;
/// A chunk of an answer.
type Part<F> = Response<Choice<<F as Format>::Delta, <F as Format>::Logprobs>>;

/// Why an answer ended.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FinishReason {
    Stop,
    Length,
    Abort,
}

impl From<engine::FinishReason> for FinishReason {
    fn from(reason: engine::FinishReason) -> Self {
        match reason {
            engine::FinishReason::Stop => Self::Stop,
            engine::FinishReason::Length => Self::Length,
            engine::FinishReason::Cancelled => Self::Abort,
        }
    }
}

/// A token of an answer.
#[derive(Serialize, JsonSchema)]
struct Token {
    id: u32,
    text: String,
    /// The draft source that proposed it, or the target.
    #[schemars(with = "String")]
    source: DraftKind,
    /// The step that accepted it, from 0.
    step: usize,
    logprob: Option<f64>,
}

fn tokens(tokens: &[engine::Token]) -> Vec<Token> {
    let tokens = tokens.iter().map(|token| Token {
        id: token.id,
        text: token.text.clone(),
        source: token.source,
        step: token.step,
        logprob: token.logprob.map(f64::from),
    });
    tokens.collect()
}

/// The text of tokens.
pub(in crate::server) struct Spelling(pub(in crate::server) Tokenizer);

impl Spelling {
    /// A token's bytes; for a special token, its name.
    pub(super) fn bytes(&self, id: u32) -> Vec<u8> {
        match self.0.special_token(id) {
            Some(name) => name.into_bytes(),
            None => self.0.bytes(id).unwrap_or_default(),
        }
    }

    pub(super) fn text(&self, id: u32) -> String {
        self.0.token_text(id).unwrap_or_default()
    }
}

/// JSON has no infinity: impossible tokens get the lowest value of OpenAI's API.
pub(super) fn finite(logprob: Option<f32>) -> Option<f64> {
    const MIN: f32 = -9999.0;
    logprob.map(|logprob| logprob.max(MIN).into())
}

/// Builds the responses to one request.
pub(in crate::server) struct Responder<F> {
    /// The id of all of the request's objects.
    pub(in crate::server) id: String,
    pub(in crate::server) created: u64,
    pub(in crate::server) model: String,
    /// Whether to return tokens and statistics.
    pub(in crate::server) return_tokens: bool,
    /// Whether to return log-probabilities.
    pub(in crate::server) logprobs: bool,
    pub(in crate::server) spelling: Spelling,
    /// The prompt of each choice, if the request asks to echo them.
    pub(in crate::server) echoed: Vec<String>,
    pub(in crate::server) format: std::marker::PhantomData<F>,
}

impl<F: Format> Responder<F> {
    /// The whole answer.
    pub(in crate::server) fn response(
        &self,
        generations: &[Generation],
        prompts: usize,
    ) -> Whole<F> {
        let choices = generations.iter().enumerate();
        let choices = choices
            .map(|(index, generation)| self.choice(index, generation))
            .collect();
        let stats = generations.iter().map(|generation| &generation.stats);
        Response {
            usage: Some(Usage::new(stats, prompts)),
            ..self.object(F::OBJECT, choices)
        }
    }

    fn choice(&self, index: usize, generation: &Generation) -> Choice<F::Content, F::Logprobs> {
        let echoed = self.echoed(index);
        let mut offset = echoed.chars().count();
        Choice {
            index,
            content: F::content(echoed, &generation.text),
            logprobs: self.logprobs(&generation.tokens, &mut offset),
            finish_reason: Some(generation.finish_reason.into()),
            tokens: self.return_tokens.then(|| tokens(&generation.tokens)),
            stats: self.return_tokens.then(|| generation.stats.clone()),
        }
    }

    fn echoed(&self, choice: usize) -> &str {
        self.echoed.get(choice).map_or("", String::as_str)
    }

    fn logprobs(&self, tokens: &[engine::Token], offset: &mut usize) -> Option<F::Logprobs> {
        self.logprobs
            .then(|| F::logprobs(&self.spelling, tokens, offset))
    }

    /// A stream's first chunk of a choice, if it has any content.
    pub(in crate::server) fn first(&self, index: usize) -> Option<Part<F>> {
        F::first(self.echoed(index)).map(|delta| self.chunk(vec![Self::part(index, delta)]))
    }

    /// A chunk of a choice; `None` if it has no content yet.
    pub(in crate::server) fn next(
        &self,
        index: usize,
        chunk: &Chunk,
        offset: &mut usize,
    ) -> Option<Part<F>> {
        if chunk.text.is_empty() && !self.return_tokens && !self.logprobs {
            return None;
        }
        let choice = Choice {
            logprobs: self.logprobs(&chunk.tokens, offset),
            tokens: self.return_tokens.then(|| tokens(&chunk.tokens)),
            ..Self::part(index, F::delta(&chunk.text))
        };
        Some(self.chunk(vec![choice]))
    }

    /// A choice's end.
    pub(in crate::server) fn last(&self, index: usize, generation: &Generation) -> Part<F> {
        let choice = Choice {
            finish_reason: Some(generation.finish_reason.into()),
            stats: self.return_tokens.then(|| generation.stats.clone()),
            ..Self::part(index, F::last())
        };
        self.chunk(vec![choice])
    }

    fn part(index: usize, delta: F::Delta) -> Choice<F::Delta, F::Logprobs> {
        Choice {
            index,
            content: delta,
            logprobs: None,
            finish_reason: None,
            tokens: None,
            stats: None,
        }
    }

    /// The chunk with the usage, after all choices.
    pub(in crate::server) fn usage(&self, stats: &[Stats], prompts: usize) -> Part<F> {
        Response {
            usage: Some(Usage::new(stats.iter(), prompts)),
            ..self.chunk(Vec::new())
        }
    }

    fn chunk(&self, choices: Vec<Choice<F::Delta, F::Logprobs>>) -> Part<F> {
        self.object(F::CHUNK_OBJECT, choices)
    }

    fn object<C>(&self, object: Object, choices: Vec<C>) -> Response<C> {
        Response {
            id: self.id.clone(),
            object,
            created: self.created,
            model: self.model.clone(),
            choices,
            usage: None,
        }
    }
}
