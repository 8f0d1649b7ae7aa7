//! How answers are written: as chat completions or as completions.

use serde_json::{Value, json};

use crate::engine::{Chunk, FinishReason, Generation, Stats, Token};
use crate::speculation::TokenSource;
use crate::text::Tokenizer;

/// One request's way of being answered.
pub(super) struct Dialect {
    pub(super) kind: Kind,
    /// Of all the request's objects.
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    /// With tokens and statistics.
    pub(super) return_tokens: bool,
    /// With log-probabilities.
    pub(super) logprobs: bool,
    pub(super) tokenizer: Tokenizer,
    /// What each choice's text begins with, of a request that wants its prompt back.
    pub(super) echoed: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

impl Kind {
    fn object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion",
            Self::Completion => "text_completion",
        }
    }

    fn chunk_object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion.chunk",
            Self::Completion => "text_completion",
        }
    }

    pub(super) fn id_prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl-",
            Self::Completion => "cmpl-",
        }
    }
}

impl Dialect {
    /// The whole answer.
    pub(super) fn response(&self, generations: &[Generation], prompts: usize) -> Value {
        let choices = generations.iter().enumerate();
        let choices: Vec<Value> = choices
            .map(|(index, generation)| self.choice(index, generation))
            .collect();
        let stats = generations.iter().map(|generation| &generation.stats);
        json!({
            "id": self.id,
            "object": self.kind.object(),
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage(stats, prompts),
        })
    }

    fn choice(&self, index: usize, generation: &Generation) -> Value {
        let (name, content) = match self.kind {
            Kind::Chat => {
                let text = &generation.text;
                (
                    "message",
                    json!({"role": "assistant", "content": text, "refusal": null}),
                )
            }
            Kind::Completion => {
                let text = format!("{}{}", self.echo(index), generation.text);
                ("text", text.into())
            }
        };
        let mut offset = self.echo(index).chars().count();
        let logprobs = self.logprobs(&generation.tokens, &mut offset);
        let mut choice = json!({
            "index": index,
            name: content,
            "logprobs": logprobs,
            "finish_reason": finish_reason(generation.finish_reason),
        });
        if self.return_tokens {
            choice["tokens"] = tokens(&generation.tokens);
            choice["stats"] = json!(generation.stats);
        }
        choice
    }

    fn echo(&self, choice: usize) -> &str {
        self.echoed.get(choice).map_or("", String::as_str)
    }

    /// What a stream begins each choice with, if anything.
    pub(super) fn first(&self, index: usize) -> Option<Value> {
        let content = match self.kind {
            Kind::Chat => json!({"role": "assistant", "content": ""}),
            Kind::Completion if self.echo(index).is_empty() => return None,
            Kind::Completion => self.echo(index).into(),
        };
        Some(self.chunk(&[self.delta(index, &content)]))
    }

    /// A piece of a choice; `None` where it says nothing yet.
    pub(super) fn piece(&self, index: usize, piece: &Chunk, offset: &mut usize) -> Option<Value> {
        if piece.text.is_empty() && !self.return_tokens && !self.logprobs {
            return None;
        }
        let content = match self.kind {
            Kind::Chat => json!({"content": piece.text}),
            Kind::Completion => piece.text.as_str().into(),
        };
        let mut choice = self.delta(index, &content);
        choice["logprobs"] = self.logprobs(&piece.tokens, offset);
        if self.return_tokens {
            choice["tokens"] = tokens(&piece.tokens);
        }
        Some(self.chunk(&[choice]))
    }

    /// A choice's end.
    pub(super) fn last(&self, index: usize, generation: &Generation) -> Value {
        let content = match self.kind {
            Kind::Chat => json!({}),
            Kind::Completion => "".into(),
        };
        let mut choice = self.delta(index, &content);
        choice["finish_reason"] = finish_reason(generation.finish_reason).into();
        if self.return_tokens {
            choice["stats"] = json!(generation.stats);
        }
        self.chunk(&[choice])
    }

    /// A choice's part of a stream's piece.
    fn delta(&self, index: usize, content: &Value) -> Value {
        let name = match self.kind {
            Kind::Chat => "delta",
            Kind::Completion => "text",
        };
        json!({"index": index, name: content, "logprobs": null, "finish_reason": null})
    }

    /// The piece behind all choices that says what they used.
    pub(super) fn usage(&self, stats: &[Stats], prompts: usize) -> Value {
        let mut chunk = self.chunk(&[]);
        chunk["usage"] = usage(stats.iter(), prompts);
        chunk
    }

    fn chunk(&self, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": self.kind.chunk_object(),
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// `offset` is where the tokens begin in the text.
    fn logprobs(&self, tokens: &[Token], offset: &mut usize) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let content: Vec<Value> = tokens
                    .iter()
                    .map(|token| {
                        let top = token.top_logprobs.iter();
                        let top: Vec<Value> = top
                            .map(|(id, logprob)| self.logprob(*id, Some(*logprob)))
                            .collect();
                        let mut entry = self.logprob(token.id, token.logprob);
                        entry["top_logprobs"] = top.into();
                        entry
                    })
                    .collect();
                json!({"content": content, "refusal": null})
            }
            Kind::Completion => {
                let text = |id| String::from_utf8_lossy(&self.bytes(id)).into_owned();
                let top = tokens.iter().map(|token| {
                    let top = token.top_logprobs.iter();
                    let top = top.map(|(id, logprob)| (text(*id), number(Some(*logprob))));
                    Value::Object(top.collect())
                });
                let top: Vec<Value> = top.collect();
                let offsets: Vec<usize> = tokens
                    .iter()
                    .map(|token| {
                        let here = *offset;
                        *offset += token.text.chars().count();
                        here
                    })
                    .collect();
                let texts: Vec<String> = tokens.iter().map(|token| text(token.id)).collect();
                let logprobs = tokens.iter().map(|token| number(token.logprob));
                json!({
                    "tokens": texts,
                    "token_logprobs": logprobs.collect::<Vec<_>>(),
                    "top_logprobs": top,
                    "text_offset": offsets,
                })
            }
        }
    }

    fn logprob(&self, id: u32, logprob: Option<f32>) -> Value {
        let bytes = self.bytes(id);
        json!({
            "token": String::from_utf8_lossy(&bytes),
            "logprob": number(logprob),
            "bytes": bytes,
        })
    }

    /// What a token writes; of a special one its name.
    fn bytes(&self, id: u32) -> Vec<u8> {
        match self.tokenizer.special_token(id) {
            Some(name) => name.into_bytes(),
            None => self.tokenizer.bytes(id).unwrap_or_default(),
        }
    }
}

/// JSON has no infinity: what can't be is as unlikely as OpenAI's API says it.
fn number(logprob: Option<f32>) -> Value {
    const LEAST: f32 = -9999.0;
    logprob.map_or(Value::Null, |logprob| logprob.max(LEAST).into())
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "abort",
    }
}

fn tokens(tokens: &[Token]) -> Value {
    let tokens = tokens.iter().map(|token| {
        json!({
            "id": token.id,
            "text": token.text,
            "source": token.source,
            "step": token.step,
            "logprob": token.logprob,
        })
    });
    tokens.collect()
}

/// What some answers used: a prompt counts once, however many answers it has.
fn usage<'a>(stats: impl Iterator<Item = &'a Stats> + Clone, prompts: usize) -> Value {
    let choices = stats.clone().count();
    let each = (choices / prompts.max(1)).max(1);
    let prompt: usize = stats
        .clone()
        .step_by(each)
        .map(|stats| stats.prompt_tokens)
        .sum();
    let cached: usize = stats
        .clone()
        .step_by(each)
        .map(|stats| stats.cached_tokens)
        .sum();
    let written: usize = stats.clone().map(|stats| stats.new_tokens).sum();
    let (mut accepted, mut rejected) = (0, 0);
    for predicted in stats.filter_map(|stats| stats.sources.get(&TokenSource::Prediction)) {
        accepted += predicted.accepted;
        rejected += predicted.drafted - predicted.accepted;
    }
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": rejected,
        },
    })
}
