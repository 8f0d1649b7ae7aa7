//! Whether other draft settings than the default are worth a profile here, on the user's own prompts.
//!
//! ```no_run
//! use specdec_rs::{SpeculativeConfig, SpeculativeDecoder, Stream, tune};
//!
//! let decoder = SpeculativeDecoder::new("smollm2-135m", "auto", None)?;
//! let settings = tune::settings(&decoder, None);
//! let prompts = ["Why is the sky blue?".into(), "Name the planets.".into()];
//! let trials = tune::trials(&decoder, &settings, &prompts, &SpeculativeConfig::default(), Stream::run)?;
//! match trials.winner() {
//!     Some(best) => println!("{}: {:.2}x", best.setting.draft, best.speedup),
//!     None => println!("auto is as fast as anything measured"),
//! }
//! # Ok::<(), specdec_rs::Error>(())
//! ```

mod learn;
mod trial;

use super::runner::{Runner, check};
use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::Generation;
use crate::error::Result;
use crate::settings::{DraftKind, SpeculativeConfig};
pub use learn::learn;
use trial::Measured;
pub use trial::{Setting, Trial, Trials};

/// Values of `gamma`, the most tokens drafted per step, that are tried.
const GAMMAS: [usize; 3] = [4, 16, 32];

/// How often each setting runs on all prompts.
pub const REPEATS: usize = 5;

/// Fewer tokens of text keep no profile. The number of accepted tokens varies by about one from step to step, so that 200
/// tokens give the tokens per step to about 5 %: the smallest gain that counts.
pub const MIN_TOKENS: usize = 200;

/// A setting is worth a profile if it is at least this much faster than the default.
pub const MIN_GAIN: f64 = 1.05;

/// The settings that are worth trying besides the default, with the draft sources of a decoder and with this `gamma` or
/// several.
pub fn settings(decoder: &SpeculativeDecoder, gamma: Option<usize>) -> Vec<Setting> {
    let usual = gamma.unwrap_or(Setting::default().gamma);
    let sources = decoder.draft_sources();
    let single = sources.into_iter().map(|draft| Setting {
        draft,
        gamma: usual,
    });
    let gammas = gamma.map_or(GAMMAS.to_vec(), |gamma| vec![gamma]);
    let all = gammas.into_iter().map(|gamma| Setting {
        draft: DraftKind::AUTO,
        gamma,
    });
    let has_default = decoder.has_default_drafts();
    let tried = |setting: &Setting| !(has_default && *setting == Setting::default());
    single.chain(all).filter(tried).collect()
}

/// The number of requests that [`trials`] runs.
pub fn requests(settings: &[Setting], prompts: usize) -> usize {
    1 + REPEATS * prompts * (settings.len() + 2)
}

/// Tries settings on every prompt, several times, beside plain decoding and the default: what a decoder drafts without a
/// profile, from nothing that was named. `run` is [`Stream::run`], or a function of the caller that also counts or can
/// be interrupted.
///
/// The settings take turns, and each repeat starts with another, so that a machine that grows slower or faster favours none.
/// In each repeat, each setting starts with what the decoder has learned, and learns from prompt to prompt separately.
pub fn trials(
    decoder: &SpeculativeDecoder,
    settings: &[Setting],
    prompts: &[Prompt],
    config: &SpeculativeConfig,
    run: impl Fn(Stream) -> Result<Generation>,
) -> Result<Trials> {
    check(prompts.len(), config)?;
    let runner = Runner::new(&run);
    let config = SpeculativeConfig {
        seed: Some(config.seed.unwrap_or(0)),
        ..config.clone()
    };
    let default = decoder.with_default_drafts()?;
    let plain = Setting {
        draft: DraftKind::NONE,
        ..Setting::default()
    };
    let mut entrants = vec![(&default, plain), (&default, Setting::default())];
    entrants.extend(settings.iter().map(|setting| (decoder, *setting)));
    let mut measured = vec![Measured::default(); entrants.len()];
    // The first run after loading is slower than all others.
    runner.baseline(&default.apart(), &prompts[0], &config)?;
    for repeat in 0..REPEATS {
        let decoders = entrants.iter().map(|(decoder, _)| decoder.apart());
        let decoders: Vec<SpeculativeDecoder> = decoders.collect();
        measured.iter_mut().for_each(Measured::start_repeat);
        for (number, prompt) in prompts.iter().enumerate() {
            for turn in 0..entrants.len() {
                let index = (turn + number + repeat) % entrants.len();
                let setting = entrants[index].1;
                let config = SpeculativeConfig {
                    draft: Some(setting.draft),
                    gamma: setting.gamma,
                    ..config.clone()
                };
                let generation = runner.generate(&decoders[index], prompt, &config)?;
                measured[index].add(&generation.stats);
            }
        }
    }
    let settings = entrants.into_iter().map(|(_, setting)| setting);
    Ok(Trials::new(&settings.zip(measured).collect::<Vec<_>>()))
}
