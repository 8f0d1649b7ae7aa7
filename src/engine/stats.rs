//! A generation's statistics, each declared once, by `statistics!` below.
//!
//! From that one declaration come the struct [`Stats`] and its serialized form, Python's getters and stubs, and the server's
//! description of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::settings::DraftKind;
use crate::speculation::Draft;

/// Every statistic, in three groups: fields that are shown as they are; durations, which are shown in seconds under the name
/// that stands after `as`; and methods that compute from them.
macro_rules! statistics {
    ($derive:ident) => {
        $derive! {
            fields {
                /// Tokens in the prompt.
                prompt_tokens: usize,
                /// Prompt tokens that were cached by an earlier request.
                cached_tokens: usize,
                /// Tokens generated.
                new_tokens: usize,
                /// Forward passes of the target that generated them.
                steps: usize,
                /// Tokens drafted.
                drafted: usize,
                /// Drafted tokens that the target accepted.
                accepted: usize,
                /// For each position of a draft, from 0, the number of steps whose draft reached it.
                drafted_per_position: Vec<usize>,
                /// For each position of a draft, from 0, the number of steps that accepted the draft up to it.
                accepted_per_position: Vec<usize>,
                /// Drafted and accepted tokens, by the source that proposed them.
                sources: BTreeMap<DraftKind, SourceStats>,
                /// The controller's estimate of the speedup, not a measurement; none if it made no choice.
                predicted_speedup: Option<f64>,
            }
            durations {
                /// From the request to its first token.
                time_to_first_token as time_to_first_token,
                /// Prefilling the prompt.
                prefill as prefill_seconds,
                /// Decoding, after the prompt was prefilled.
                decode as decode_seconds,
                /// Spent drafting.
                draft as draft_seconds,
                /// Spent in the target while decoding.
                verify as verify_seconds,
            }
            computed {
                /// Share of the drafted tokens that were accepted; 0 without drafts.
                acceptance_rate: f64,
                /// Tokens generated per forward pass of the target.
                tokens_per_step: f64,
                /// Tokens per second, once the prompt was prefilled.
                tokens_per_second: f64,
                /// Speedup over generating as many tokens without drafts; none if no draft was accepted, fewer than 32 tokens were generated, or no step without a draft was measured.
                speedup: Option<f64>,
            }
        }
    };
}

#[cfg(feature = "server")]
pub(crate) use statistics;

macro_rules! define_stats {
    (
        fields { $(#[doc = $doc:tt] $field:ident: $type:ty,)* }
        durations { $(#[doc = $duration_doc:tt] $duration:ident as $seconds:ident,)* }
        computed { $(#[doc = $computed_doc:tt] $computed:ident: $computed_type:ty,)* }
    ) => {
        /// Counts and times of a generation.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Stats {
            $(#[doc = $doc] pub $field: $type,)*
            $(#[doc = $duration_doc] pub $duration: Duration,)*
            /// What as many tokens without drafts would have taken, by what such steps take; `None` where none was measured.
            pub plain: Option<Duration>,
        }

        impl Serialize for Stats {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $(map.serialize_entry(stringify!($field), &self.$field)?;)*
                $(map.serialize_entry(stringify!($seconds), &self.$duration.as_secs_f64())?;)*
                $(map.serialize_entry(stringify!($computed), &self.$computed())?;)*
                map.end()
            }
        }
    };
}

statistics!(define_stats);

/// What became of one source's drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub struct SourceStats {
    /// Tokens drafted.
    pub drafted: usize,
    /// Those of them that the target accepted.
    pub accepted: usize,
}

impl Stats {
    /// The fewest tokens whose speed says something.
    pub(crate) const MIN_COMPARED: usize = 32;

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

    /// Tokens generated per forward pass of the target.
    pub fn tokens_per_step(&self) -> f64 {
        ratio(self.new_tokens as f64, self.steps as f64).unwrap_or(0.0)
    }

    /// Tokens per second, once the prompt was prefilled.
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

    /// Against as many tokens without drafts; `None` where no draft was accepted or few tokens were generated (the difference
    /// would be noise), or where no step without a draft was measured.
    pub fn speedup(&self) -> Option<f64> {
        if self.accepted == 0 || self.new_tokens < Self::MIN_COMPARED {
            return None;
        }
        ratio(self.plain?.as_secs_f64(), self.decode.as_secs_f64())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_accepted_drafts_there_is_no_speedup() {
        let stats = Stats {
            decode: Duration::from_secs(2),
            plain: Some(Duration::from_secs(3)),
            new_tokens: 32,
            drafted: 8,
            accepted: 1,
            ..Stats::default()
        };
        assert_eq!(stats.speedup(), Some(1.5));
        let nothing_accepted = Stats {
            accepted: 0,
            ..stats.clone()
        };
        assert_eq!(nothing_accepted.speedup(), None);
        let short = Stats {
            new_tokens: 31,
            ..stats.clone()
        };
        assert_eq!(short.speedup(), None);
        let unknown = Stats {
            plain: None,
            ..stats
        };
        assert_eq!(unknown.speedup(), None);
    }
}
