//! What a generation gives.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::speculation::{Draft, TokenSource};

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model generated an end-of-text token or a stop string.
    Stop,
    /// `max_new_tokens` were generated, or the context is full.
    Length,
    /// The caller asked to end.
    Cancelled,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A generated token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The text it completed; empty in the middle of a character, and for special tokens.
    pub text: String,
    /// Natural logarithm of the probability that the target gave it, before any processor;
    /// `None` unless asked for.
    pub logprob: Option<f32>,
    /// The most probable tokens with their log-probabilities, best first.
    pub top_logprobs: Vec<(u32, f32)>,
    /// Where it came from: the target itself, or the drafter that proposed it.
    pub source: TokenSource,
    /// The step that accepted it, from 0.
    pub step: usize,
}

/// What one step adds to a generation.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Chunk {
    /// Text that is certain now: held back while it may be part of a stop string or a character.
    pub text: String,
    /// The step's tokens.
    pub tokens: Vec<Token>,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation {
    /// The text, without special tokens and stop string.
    pub text: String,
    /// The tokens, an end-of-text token included.
    pub tokens: Vec<Token>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Counts and times.
    pub stats: Stats,
}

impl Generation {
    /// The ids of the tokens.
    pub fn token_ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How one drafter's tokens fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SourceStats {
    /// Tokens proposed.
    pub drafted: usize,
    /// Those of them that the target accepted.
    pub accepted: usize,
}

/// Counts and times of a generation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Tokens in the prompt.
    pub prompt_tokens: usize,
    /// Those of them that the prefix cache held.
    pub cached_tokens: usize,
    /// Tokens generated.
    pub new_tokens: usize,
    /// Forward passes of the target that generated them.
    pub steps: usize,
    /// Tokens proposed.
    pub drafted: usize,
    /// Proposed tokens that the target accepted.
    pub accepted: usize,
    /// For each position of a draft, from 0, the steps that drafted so far.
    pub drafted_per_position: Vec<usize>,
    /// For each position of a draft, the steps that accepted so far.
    pub accepted_per_position: Vec<usize>,
    /// By drafter.
    pub sources: BTreeMap<TokenSource, SourceStats>,
    /// From the request to its first token.
    pub time_to_first_token: Duration,
    /// Prefilling the prompt.
    pub prefill: Duration,
    /// Decoding, after the prefill.
    pub decode: Duration,
    /// Spent drafting.
    pub draft: Duration,
    /// Spent in the target while decoding.
    pub verify: Duration,
    /// What the same tokens would have taken without drafts, by the measured time of such steps; `None` before any was measured.
    pub plain: Option<Duration>,
    /// The speedup that the planner expected of its choices; `None` if it made none.
    pub predicted_speedup: Option<f64>,
}

impl Stats {
    /// Counts a step: its draft, the nodes of it that were accepted, and what drafting and verifying took.
    pub(super) fn record_step(
        &mut self,
        draft: &Draft,
        accepted: &[usize],
        drafting: Duration,
        verifying: Duration,
    ) {
        self.steps += 1;
        self.draft += drafting;
        self.verify += verifying;
        self.drafted += draft.len();
        self.accepted += accepted.len();
        for node in 0..draft.len() {
            self.sources.entry(draft.source(node)).or_default().drafted += 1;
        }
        for node in accepted {
            self.sources
                .entry(draft.source(*node))
                .or_default()
                .accepted += 1;
        }
        count_positions(&mut self.drafted_per_position, draft.depth());
        count_positions(&mut self.accepted_per_position, accepted.len());
        let positions = self.drafted_per_position.len();
        self.accepted_per_position.resize(positions, 0);
    }

    /// Share of the drafted tokens that were accepted; 0 without drafts.
    pub fn acceptance_rate(&self) -> f64 {
        ratio(self.accepted as f64, self.drafted as f64).unwrap_or(0.0)
    }

    /// Tokens generated per step.
    pub fn tokens_per_step(&self) -> f64 {
        ratio(self.new_tokens as f64, self.steps as f64).unwrap_or(0.0)
    }

    /// Tokens per second, after the prefill.
    pub fn tokens_per_second(&self) -> f64 {
        ratio(self.new_tokens as f64, self.decode.as_secs_f64()).unwrap_or(0.0)
    }

    /// Steps that accepted exactly 0, 1, 2, ... drafted tokens.
    pub fn accepted_lengths(&self) -> Vec<usize> {
        let reached = std::iter::once(self.steps).chain(self.accepted_per_position.iter().copied());
        let further = self.accepted_per_position.iter().copied().chain([0]);
        let mut lengths: Vec<usize> = reached.zip(further).map(|(a, b)| a - b).collect();
        while lengths.last() == Some(&0) {
            lengths.pop();
        }
        lengths
    }

    /// Against decoding without drafts; `None` before such a step was measured.
    pub fn speedup(&self) -> Option<f64> {
        ratio(self.plain?.as_secs_f64(), self.decode.as_secs_f64())
    }
}

impl Serialize for Stats {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Stats", 19)?;
        fields.serialize_field("prompt_tokens", &self.prompt_tokens)?;
        fields.serialize_field("cached_tokens", &self.cached_tokens)?;
        fields.serialize_field("new_tokens", &self.new_tokens)?;
        fields.serialize_field("steps", &self.steps)?;
        fields.serialize_field("drafted", &self.drafted)?;
        fields.serialize_field("accepted", &self.accepted)?;
        fields.serialize_field("drafted_per_position", &self.drafted_per_position)?;
        fields.serialize_field("accepted_per_position", &self.accepted_per_position)?;
        fields.serialize_field("sources", &self.sources)?;
        fields.serialize_field("acceptance_rate", &self.acceptance_rate())?;
        fields.serialize_field("tokens_per_step", &self.tokens_per_step())?;
        fields.serialize_field(
            "time_to_first_token",
            &self.time_to_first_token.as_secs_f64(),
        )?;
        fields.serialize_field("prefill_seconds", &self.prefill.as_secs_f64())?;
        fields.serialize_field("decode_seconds", &self.decode.as_secs_f64())?;
        fields.serialize_field("draft_seconds", &self.draft.as_secs_f64())?;
        fields.serialize_field("verify_seconds", &self.verify.as_secs_f64())?;
        fields.serialize_field("tokens_per_second", &self.tokens_per_second())?;
        fields.serialize_field("speedup", &self.speedup())?;
        fields.serialize_field("predicted_speedup", &self.predicted_speedup)?;
        fields.end()
    }
}

/// Counts one more for each of the first `reached` positions.
fn count_positions(counts: &mut Vec<usize>, reached: usize) {
    counts.resize(counts.len().max(reached), 0);
    counts[..reached].iter_mut().for_each(|count| *count += 1);
}

/// `a / b`, where that means something.
fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then_some(a / b)
}
