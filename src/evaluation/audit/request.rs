//! The requests that an audit runs.

use crate::decoder::Prompt;
use crate::settings::{DraftKind, SpeculativeConfig, Verification};

/// A prompt, and the settings to continue it with.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Index of the prompt.
    pub(super) prompt_index: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) config: SpeculativeConfig,
}

impl Request {
    /// Every prompt, greedily.
    pub(super) fn greedy(prompts: &[Vec<u32>], config: &SpeculativeConfig) -> Vec<Self> {
        let config = SpeculativeConfig {
            temperature: 0.0,
            seed: None,
            ..config.clone()
        };
        let requests = prompts
            .iter()
            .enumerate()
            .map(|(prompt_index, tokens)| Self {
                prompt_index,
                tokens: tokens.clone(),
                config: config.clone(),
            });
        requests.collect()
    }

    /// `samples` requests that take the prompts in turn, each with its own seed.
    pub(super) fn sampled(
        prompts: &[Vec<u32>],
        config: &SpeculativeConfig,
        samples: usize,
    ) -> Vec<Self> {
        let first_seed = config.seed.unwrap_or(0);
        let numbered = (0..samples).zip(prompts.iter().enumerate().cycle());
        let requests = numbered.map(|(sample, (prompt_index, tokens))| Self {
            prompt_index,
            tokens: tokens.clone(),
            config: SpeculativeConfig {
                seed: Some(first_seed.wrapping_add(sample as u64)),
                ..config.clone()
            },
        });
        requests.collect()
    }

    pub(super) fn prompt(&self) -> Prompt {
        Prompt::Tokens(self.tokens.clone())
    }

    /// The request's settings with another draft source and verification.
    pub(super) fn with(&self, draft: DraftKind, verification: Verification) -> SpeculativeConfig {
        SpeculativeConfig {
            draft: Some(draft),
            verification,
            ..self.config.clone()
        }
    }
}
