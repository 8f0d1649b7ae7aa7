//! The token counts of answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::{SourceStats, Stats, statistics};
use crate::settings::DraftKind;

/// Tokens that a request used.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize, JsonSchema)]
struct PromptDetails {
    /// Tokens of the prompt that were in a cache of an earlier request.
    cached_tokens: usize,
}

#[derive(Serialize, JsonSchema)]
struct CompletionDetails {
    /// Tokens of the request's prediction that were accepted.
    accepted_prediction_tokens: usize,
    /// Tokens of the request's prediction that were rejected.
    rejected_prediction_tokens: usize,
}

impl Usage {
    /// The usage of the answers to `prompts` prompts, grouped by prompt: a prompt counts once, however many answers it has.
    pub(super) fn new<'a>(stats: impl Iterator<Item = &'a Stats> + Clone, prompts: usize) -> Self {
        let choices = stats.clone().count();
        let each = (choices / prompts.max(1)).max(1);
        let prompts = stats.clone().step_by(each);
        let prompt_tokens = prompts.clone().map(|stats| stats.prompt_tokens).sum();
        let cached_tokens = prompts.map(|stats| stats.cached_tokens).sum();
        let completion_tokens: usize = stats.clone().map(|stats| stats.new_tokens).sum();
        let (mut accepted, mut rejected) = (0, 0);
        for predicted in stats.filter_map(|stats| stats.sources.get(&DraftKind::PREDICTION)) {
            accepted += predicted.accepted;
            rejected += predicted.drafted - predicted.accepted;
        }
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens },
            completion_tokens_details: CompletionDetails {
                accepted_prediction_tokens: accepted,
                rejected_prediction_tokens: rejected,
            },
        }
    }
}

macro_rules! describe_stats {
    (
        fields { $(#[doc = $doc:tt] $field:ident: $type:ty,)* }
        durations { $(#[doc = $duration_doc:tt] $duration:ident as $seconds:ident,)* }
        computed { $(#[doc = $computed_doc:tt] $computed:ident: $computed_type:ty,)* }
    ) => {
        /// Counts and times of an answer; times are in seconds.
        #[derive(JsonSchema)]
        #[schemars(rename = "Stats")]
        #[allow(dead_code)]
        pub(super) struct StatsSchema {
            $(#[doc = $doc] $field: $type,)*
            $(#[doc = $duration_doc] $seconds: f64,)*
            $(#[doc = $computed_doc] $computed: $computed_type,)*
        }
    };
}

statistics!(describe_stats);
