//! Which draft settings are the fastest here, on the user's own prompts.
//!
//! ```no_run
//! use specdec_rs::{SpeculativeConfig, SpeculativeDecoder, Stream, tune};
//!
//! let decoder = SpeculativeDecoder::new("smollm2-135m", "auto", None)?;
//! let settings = tune::settings(&decoder, None);
//! let prompts = ["Why is the sky blue?".into()];
//! let trials = tune::trials(&decoder, &settings, &prompts, &SpeculativeConfig::default(), Stream::run)?;
//! if let Some(best) = tune::fastest(&trials) {
//!     println!("{}: {:.2}x", best.setting.draft, best.speedup);
//! }
//! # Ok::<(), specdec_rs::Error>(())
//! ```

mod learn;

use serde::Serialize;

use super::runner::{Runner, Totals, check};
use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::{Generation, Stats};
use crate::error::Result;
use crate::settings::{DraftKind, SpeculativeConfig};
pub use learn::learn;

/// Values of `gamma`, the most tokens drafted per step, that are tried.
const GAMMAS: [usize; 3] = [4, 16, 32];

/// Measured speeds within this factor count as equal, because times are noisy.
const EQUAL: f64 = 1.02;

/// How to draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The draft source.
    pub draft: DraftKind,
    /// The most tokens drafted per step.
    pub gamma: usize,
}

/// A setting that was tried on all prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// The speedup over plain decoding that the controller predicted from costs and acceptance.
    pub predicted_speedup: Option<f64>,
    /// The measured speedup: tokens over time, against plain decoding of the same prompts.
    pub speedup: f64,
    /// New tokens per second, prefill left out.
    pub tokens_per_second: f64,
    /// New tokens per forward pass of the target.
    pub tokens_per_step: f64,
    /// Share of the drafted tokens that were accepted.
    pub acceptance_rate: f64,
}

/// What a setting did on the prompts so far.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    totals: Totals,
    /// Tokens, each divided by the speedup that the controller predicted for its answer.
    predicted: f64,
}

/// The settings that are worth trying with the draft sources of a decoder, with this `gamma` or several.
pub fn settings(decoder: &SpeculativeDecoder, gamma: Option<usize>) -> Vec<Setting> {
    let usual = gamma.unwrap_or(SpeculativeConfig::default().gamma);
    let sources = decoder.draft_sources().into_iter();
    let single = sources.map(|draft| Setting {
        draft,
        gamma: usual,
    });
    let gammas = gamma.map_or(GAMMAS.to_vec(), |gamma| vec![gamma]);
    let all = gammas.into_iter().map(|gamma| Setting {
        draft: DraftKind::AUTO,
        gamma,
    });
    single.chain(all).collect()
}

/// Tries settings on every prompt, and plain decoding before them. `run` is [`Stream::run`], or a function of the caller
/// that also counts or can be interrupted.
///
/// Each setting starts with what the decoder has learned, and learns from prompt to prompt separately.
pub fn trials(
    decoder: &SpeculativeDecoder,
    settings: &[Setting],
    prompts: &[Prompt],
    config: &SpeculativeConfig,
    run: impl Fn(Stream) -> Result<Generation>,
) -> Result<Vec<Trial>> {
    check(prompts.len(), config)?;
    let runner = Runner::new(&run);
    let config = SpeculativeConfig {
        seed: Some(config.seed.unwrap_or(0)),
        ..config.clone()
    };
    let decoders: Vec<SpeculativeDecoder> = settings.iter().map(|_| decoder.apart()).collect();
    let mut baseline = Sums::default();
    let mut sums = vec![Sums::default(); settings.len()];
    for prompt in prompts {
        baseline.add(&runner.baseline(decoder, prompt, &config)?.stats);
        for ((decoder, setting), sums) in decoders.iter().zip(settings).zip(&mut sums) {
            let config = SpeculativeConfig {
                draft: Some(setting.draft),
                gamma: setting.gamma,
                ..config.clone()
            };
            sums.add(&runner.generate(decoder, prompt, &config)?.stats);
        }
    }
    let pairs = settings.iter().zip(&sums);
    Ok(pairs
        .map(|(setting, sums)| sums.trial(*setting, &baseline))
        .collect())
}

/// The fastest trial; `None` if none is faster than plain decoding.
///
/// Of trials that are about equally fast, the default setting wins, because it adapts to each prompt.
pub fn fastest<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Option<&'a Trial> {
    let default = Setting {
        draft: DraftKind::AUTO,
        gamma: SpeculativeConfig::default().gamma,
    };
    let score = |trial: &Trial| {
        let bonus = if trial.setting == default { EQUAL } else { 1.0 };
        trial.speedup * bonus
    };
    let best = trials
        .into_iter()
        .max_by(|a, b| score(a).total_cmp(&score(b)));
    best.filter(|trial| trial.speedup > 1.0)
}

impl Sums {
    fn add(&mut self, stats: &Stats) {
        self.totals += Totals::from(stats);
        self.predicted += stats.new_tokens as f64 / stats.predicted_speedup.unwrap_or(1.0);
    }

    fn trial(&self, setting: Setting, baseline: &Self) -> Trial {
        let Self { totals, predicted } = self;
        Trial {
            setting,
            predicted_speedup: (*predicted > 0.0).then(|| totals.new_tokens as f64 / predicted),
            speedup: totals.tokens_per_second() / baseline.totals.tokens_per_second(),
            tokens_per_second: totals.tokens_per_second(),
            tokens_per_step: totals.tokens_per_step(),
            acceptance_rate: totals.acceptance_rate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(draft: DraftKind, gamma: usize, speedup: f64) -> Trial {
        Trial {
            setting: Setting { draft, gamma },
            predicted_speedup: None,
            speedup,
            tokens_per_second: 1.0,
            tokens_per_step: 1.0,
            acceptance_rate: 0.0,
        }
    }

    #[test]
    fn the_default_setting_wins_near_ties_only() {
        let usual = SpeculativeConfig::default().gamma;
        let default = trial(DraftKind::AUTO, usual, 1.5);
        let equal = trial(DraftKind::NGRAM, usual, 1.52);
        let faster = trial(DraftKind::AUTO, 2 * usual, 1.6);
        assert_eq!(fastest([&default, &equal]), Some(&default));
        assert_eq!(fastest([&default, &equal, &faster]), Some(&faster));
    }

    #[test]
    fn nothing_is_chosen_over_faster_plain_decoding() {
        assert_eq!(fastest([&trial(DraftKind::AUTO, 16, 0.99)]), None);
        assert_eq!(fastest([]), None);
    }
}
