//! The requests that an audit runs.

use crate::settings::{DraftKind, SpeculativeConfig, Verification};

/// A prompt, and how to continue it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Which prompt, from 0.
    pub(super) prompt: usize,
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
        let requests = prompts.iter().enumerate().map(|(prompt, tokens)| Self {
            prompt,
            tokens: tokens.clone(),
            config: config.clone(),
        });
        requests.collect()
    }

    /// So many samples of the prompts, in turn, each with a seed of its own.
    pub(super) fn sampled(
        prompts: &[Vec<u32>],
        config: &SpeculativeConfig,
        samples: usize,
    ) -> Vec<Self> {
        let first_seed = config.seed.unwrap_or(0);
        let numbered = (0..samples).zip(prompts.iter().enumerate().cycle());
        let requests = numbered.map(|(sample, (prompt, tokens))| Self {
            prompt,
            tokens: tokens.clone(),
            config: SpeculativeConfig {
                seed: Some(first_seed.wrapping_add(sample as u64)),
                ..config.clone()
            },
        });
        requests.collect()
    }

    /// The same request with such a draft, verified so.
    pub(super) fn with(&self, draft: DraftKind, verification: Verification) -> SpeculativeConfig {
        SpeculativeConfig {
            draft: Some(draft),
            verification,
            ..self.config.clone()
        }
    }
}
