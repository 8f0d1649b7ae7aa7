//! What was measured of each setting, and whether one is worth a profile.

use serde::Serialize;

use super::{MIN_GAIN, MIN_TOKENS};
use crate::engine::Stats;
use crate::evaluation::runner::{Totals, median, range};
use crate::settings::{DraftKind, SpeculativeConfig};

/// How to draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The draft source.
    pub draft: DraftKind,
    /// The most tokens drafted per step.
    pub gamma: usize,
}

/// What holds without a profile.
impl Default for Setting {
    fn default() -> Self {
        Self {
            draft: DraftKind::AUTO,
            gamma: SpeculativeConfig::default().gamma,
        }
    }
}

/// A setting that was tried on all prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// The controller's estimate of the speedup over plain decoding, from costs and acceptance; not a measurement.
    pub predicted_speedup: Option<f64>,
    /// The measured speedup: median tokens per second, against those of plain decoding of the same prompts.
    pub speedup: f64,
    /// The same against those of the default setting.
    pub speedup_over_auto: f64,
    /// What that is in the mean of all requests, each beside the same request with the default: three standard errors less, and
    /// three more. What grows slower or faster during the measurement does so for both.
    pub speedup_over_auto_range: [f64; 2],
    /// New tokens per second, prefill left out: the median of the repeats.
    pub tokens_per_second: f64,
    /// The slowest and the fastest repeat.
    pub tokens_per_second_range: [f64; 2],
    /// New tokens per forward pass of the target.
    pub tokens_per_step: f64,
    /// Share of the drafted tokens that were accepted.
    pub acceptance_rate: f64,
}

/// Plain decoding, the default setting and others, measured side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trials {
    /// Plain decoding.
    pub none: Trial,
    /// The default: what a decoder drafts without a profile.
    pub auto: Trial,
    /// The settings that were tried.
    pub candidates: Vec<Trial>,
    /// Tokens of text that were generated plainly in one repeat. Repeats measure times again, on the same text.
    pub tokens: usize,
}

/// What a setting did.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    /// The requests of each repeat.
    repeats: Vec<Vec<Totals>>,
    /// Tokens, each divided by the speedup that the controller predicted for its answer.
    predicted: f64,
}

impl Measured {
    /// What is added from now on belongs to the next repeat.
    pub(super) fn start_repeat(&mut self) {
        self.repeats.push(Vec::new());
    }

    pub(super) fn add(&mut self, stats: &Stats) {
        if let Some(repeat) = self.repeats.last_mut() {
            repeat.push(Totals::from(stats));
        }
        self.predicted += stats.new_tokens as f64 / stats.predicted_speedup.unwrap_or(1.0);
    }

    fn totals(&self) -> impl Iterator<Item = Totals> {
        let repeats = self.repeats.iter();
        repeats.map(|requests| requests.iter().copied().sum())
    }

    fn speeds(&self) -> Vec<f64> {
        let totals = self.totals();
        totals.map(|totals| totals.tokens_per_second()).collect()
    }

    /// The mean of the requests' speeds over those of the same requests with another setting, three standard errors less, and
    /// three more.
    fn range_over(&self, other: &Self) -> [f64; 2] {
        let pairs = self
            .repeats
            .iter()
            .flatten()
            .zip(other.repeats.iter().flatten());
        let logs =
            pairs.map(|(own, other)| (own.tokens_per_second() / other.tokens_per_second()).ln());
        // Of an empty answer there is no speed.
        let logs: Vec<f64> = logs.filter(|log| log.is_finite()).collect();
        let count = logs.len() as f64;
        if logs.len() < 2 {
            return [0.0, f64::INFINITY];
        }
        let mean = logs.iter().sum::<f64>() / count;
        let squares = logs.iter().map(|log| (log - mean).powi(2));
        let error = (squares.sum::<f64>() / (count - 1.0) / count).sqrt();
        [-3.0, 3.0].map(|errors| (mean + errors * error).exp())
    }

    fn trial(&self, setting: Setting, [none, auto]: [f64; 2], default: &Self) -> Trial {
        let totals: Totals = self.totals().sum();
        let speeds = self.speeds();
        let drafted = totals.drafted > 0;
        let predicted = totals.new_tokens as f64 / self.predicted;
        let tokens_per_second_range = range(speeds.iter().copied());
        let tokens_per_second = median(speeds);
        Trial {
            setting,
            predicted_speedup: Some(predicted).filter(|speedup| drafted && speedup.is_finite()),
            speedup: tokens_per_second / none,
            speedup_over_auto: tokens_per_second / auto,
            speedup_over_auto_range: self.range_over(default),
            tokens_per_second,
            tokens_per_second_range,
            tokens_per_step: totals.tokens_per_step(),
            acceptance_rate: totals.acceptance_rate(),
        }
    }
}

impl Trials {
    /// Of plain decoding, the default and other settings, in this order.
    pub(super) fn new(measured: &[(Setting, Measured)]) -> Self {
        let median_speed = |index: usize| median(measured[index].1.speeds());
        let speeds = [median_speed(0), median_speed(1)];
        let tokens = measured[0].1.totals().next();
        let tokens = tokens.map_or(0, |repeat| repeat.new_tokens);
        let default = &measured[1].1;
        let trial =
            |(setting, measured): &(Setting, Measured)| measured.trial(*setting, speeds, default);
        Self {
            none: trial(&measured[0]),
            auto: trial(&measured[1]),
            candidates: measured[2..].iter().map(trial).collect(),
            tokens,
        }
    }

    /// Whether the text suffices to keep a profile.
    pub fn suffice(&self) -> bool {
        self.tokens >= MIN_TOKENS
    }

    /// The fastest setting that is worth a profile, plain decoding among them; `None` if the default is as good, or if there
    /// is too little text to tell.
    pub fn winner(&self) -> Option<&Trial> {
        let settings = std::iter::once(&self.none).chain(&self.candidates);
        settings
            .filter(|trial| self.suffice() && Self::beats_default(trial))
            .max_by(|a, b| a.tokens_per_second.total_cmp(&b.tokens_per_second))
    }

    /// Whether a setting is faster than the default by [`MIN_GAIN`] and beyond chance.
    fn beats_default(trial: &Trial) -> bool {
        let [least, _] = trial.speedup_over_auto_range;
        least > 1.0 && trial.speedup_over_auto >= MIN_GAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting that generated `tokens` tokens at each of these speeds.
    fn measured(draft: DraftKind, tokens: usize, speeds: &[f64]) -> (Setting, Measured) {
        let repeats = speeds.iter().map(|speed| Totals {
            new_tokens: tokens,
            steps: tokens,
            decode_seconds: tokens as f64 / speed,
            ..Totals::default()
        });
        let measured = Measured {
            repeats: repeats.map(|request| vec![request]).collect(),
            predicted: 0.0,
        };
        (Setting { draft, gamma: 16 }, measured)
    }

    /// The winner among plain decoding, the default and prompt lookup.
    fn winner(tokens: usize, speeds: [[f64; 3]; 3]) -> Option<DraftKind> {
        let drafts = [DraftKind::NONE, DraftKind::AUTO, DraftKind::NGRAM];
        let all = drafts.into_iter().zip(speeds);
        let all = all.map(|(draft, speeds)| measured(draft, tokens, &speeds));
        let trials = Trials::new(&all.collect::<Vec<_>>());
        trials.winner().map(|trial| trial.setting.draft)
    }

    const NONE: [f64; 3] = [49.0, 50.0, 51.0];
    const AUTO: [f64; 3] = [99.0, 100.0, 102.0];

    #[test]
    fn a_clear_winner_is_found() {
        let found = winner(MIN_TOKENS, [NONE, AUTO, [108.0, 110.0, 109.0]]);
        assert_eq!(found, Some(DraftKind::NGRAM));
    }

    #[test]
    fn a_gain_below_five_percent_is_none() {
        assert_eq!(winner(500, [NONE, AUTO, [104.0, 104.5, 104.9]]), None);
    }

    #[test]
    fn a_gain_within_the_spread_is_none() {
        assert_eq!(winner(500, [NONE, AUTO, [101.0, 120.0, 130.0]]), None);
        let noisy = [80.0, 100.0, 112.0];
        assert_eq!(winner(500, [NONE, noisy, [108.0, 110.0, 111.0]]), None);
    }

    #[test]
    fn a_machine_that_grows_faster_does_so_for_all() {
        let auto = [80.0, 100.0, 120.0];
        let found = winner(500, [NONE, auto, [88.0, 110.0, 133.0]]);
        assert_eq!(found, Some(DraftKind::NGRAM));
        assert_eq!(winner(500, [NONE, auto, [100.0, 100.0, 120.0]]), None);
    }

    #[test]
    fn too_little_text_has_no_winner() {
        let speeds = [NONE, AUTO, [200.0, 201.0, 202.0]];
        assert_eq!(winner(MIN_TOKENS - 1, speeds), None);
    }

    #[test]
    fn plain_decoding_wins_by_the_same_rule() {
        let slower = [90.0, 91.0, 92.0];
        let found = winner(500, [[104.0, 104.0, 104.0], AUTO, slower]);
        assert_eq!(found, None);
        let found = winner(500, [[109.0, 110.0, 111.0], AUTO, slower]);
        assert_eq!(found, Some(DraftKind::NONE));
    }

    #[test]
    fn speeds_are_medians_with_their_spread() {
        let trials = Trials::new(&[
            measured(DraftKind::NONE, 10, &NONE),
            measured(DraftKind::AUTO, 10, &AUTO),
        ]);
        assert!((trials.auto.speedup - 2.0).abs() < 1e-9);
        assert!((trials.none.speedup_over_auto - 0.5).abs() < 1e-9);
        let [slowest, fastest] = trials.auto.tokens_per_second_range;
        assert!((slowest - 99.0).abs() < 1e-9 && (fastest - 102.0).abs() < 1e-9);
        assert_eq!((trials.tokens, trials.auto.predicted_speedup), (10, None));
    }
}
