//! Which drafts are the fastest here, on the user's own prompts.

mod learn;

use serde::Serialize;

use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::Generation;
use crate::error::{Error, Result};
use crate::settings::{DraftKind, SpeculativeConfig};
pub use learn::learn;

/// Most drafted tokens that are tried.
const GAMMAS: [usize; 3] = [4, 16, 32];

/// How to draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// From where.
    pub draft: DraftKind,
    /// At most so many tokens a step.
    pub gamma: usize,
}

/// A setting that was tried on all prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// The speedup over plain decoding that the costs and the acceptance so far promised.
    pub predicted_speedup: Option<f64>,
    /// The speedup that was measured: tokens over time, against plain decoding of the same prompts in turn.
    pub speedup: f64,
    /// New tokens a second, prompts left out.
    pub tokens_per_second: f64,
    /// New tokens a pass of the target.
    pub tokens_per_step: f64,
    /// Share of drafted tokens that were accepted.
    pub acceptance_rate: f64,
}

/// Sums over prompts.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    tokens: f64,
    seconds: f64,
    steps: f64,
    drafted: f64,
    accepted: f64,
    /// Plain steps that the controller expected to be worth.
    predicted: f64,
}

/// The settings that are worth trying with what a decoder has, with such a gamma or several.
pub fn settings(decoder: &SpeculativeDecoder, gamma: Option<usize>) -> Vec<Setting> {
    let usual = gamma.unwrap_or(SpeculativeConfig::default().gamma);
    let sources = decoder.draft_sources().into_iter();
    let single = sources.map(|draft| Setting {
        draft,
        gamma: usual,
    });
    let gammas = gamma.map_or(GAMMAS.to_vec(), |gamma| vec![gamma]);
    let all = gammas.into_iter().map(|gamma| Setting {
        draft: DraftKind::Auto,
        gamma,
    });
    single.chain(all).collect()
}

/// Tries settings on every prompt, each in turn with plain decoding; `run` is [`Stream::run`], or that of a caller who
/// watches.
///
/// Each setting begins with what the decoder knows, and learns from prompt to prompt by itself.
pub fn trials(
    decoder: &SpeculativeDecoder,
    settings: &[Setting],
    prompts: &[Prompt],
    config: &SpeculativeConfig,
    run: impl Fn(Stream) -> Result<Generation>,
) -> Result<Vec<Trial>> {
    if prompts.is_empty() {
        return Err(Error::invalid("prompts", "[]", "at least one prompt"));
    }
    if config.max_new_tokens == 0 {
        return Err(Error::invalid("max_new_tokens", 0, "at least 1"));
    }
    let decoders: Vec<SpeculativeDecoder> = settings
        .iter()
        .map(|_| decoder.apart().without_prefix_cache())
        .collect();
    let mut plain = Sums::default();
    let mut sums = vec![Sums::default(); settings.len()];
    for prompt in prompts {
        let generate = |decoder: &SpeculativeDecoder, setting: Setting| {
            let config = SpeculativeConfig {
                draft: Some(setting.draft),
                gamma: setting.gamma,
                seed: Some(config.seed.unwrap_or(0)),
                ..config.clone()
            };
            run(decoder.stream(prompt.clone(), &config)?)
        };
        let none = Setting {
            draft: DraftKind::None,
            gamma: 0,
        };
        plain.add(&generate(decoder, none)?);
        for ((decoder, setting), sums) in decoders.iter().zip(settings).zip(&mut sums) {
            sums.add(&generate(decoder, *setting)?);
        }
    }
    let pairs = settings.iter().zip(&sums);
    Ok(pairs
        .map(|(setting, sums)| sums.trial(*setting, &plain))
        .collect())
}

impl Sums {
    fn add(&mut self, generation: &Generation) {
        let stats = &generation.stats;
        self.tokens += stats.new_tokens as f64;
        self.seconds += stats.decode.as_secs_f64();
        self.steps += stats.steps as f64;
        self.drafted += stats.drafted as f64;
        self.accepted += stats.accepted as f64;
        self.predicted += stats.new_tokens as f64 / stats.predicted_speedup.unwrap_or(1.0);
    }

    fn trial(&self, setting: Setting, plain: &Self) -> Trial {
        Trial {
            setting,
            predicted_speedup: (self.predicted > 0.0).then(|| self.tokens / self.predicted),
            speedup: (self.tokens / self.seconds) / (plain.tokens / plain.seconds),
            tokens_per_second: self.tokens / self.seconds,
            tokens_per_step: self.tokens / self.steps.max(1.0),
            acceptance_rate: self.accepted / self.drafted.max(1.0),
        }
    }
}
