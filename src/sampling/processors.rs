//! Turns logits into the distribution that a request's settings ask for, in the order of Hugging Face's generation: bias
//! and penalties, temperature, top-k, top-p, min-p; among the tokens that the response format allows.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::counts::{Count, TokenCounts};
use super::distribution::{Distribution, Softmax, Weighted};
use crate::backend::argmax;
use crate::error::{Error, Result};
use crate::model::LogitsRow;
use crate::settings::SpeculativeConfig;
use crate::text::Grammar;

/// Penalties and biases are clamped to this: as good as infinite, but sums and products of them stay finite.
const EXTREME: f64 = 1e18;

/// A request's processors.
#[derive(Clone)]
pub struct Processors {
    greedy: bool,
    temperature: f64,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    repetition_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    /// At most one for each token.
    logit_bias: Vec<(u32, f32)>,
    counts: TokenCounts,
    /// The grammar starts after the prompt.
    prompt_length: usize,
    /// Only goes forward, from one mask to the next, with drafts as without: its limits on work count what was done before.
    grammar: Option<Grammar>,
    /// The same for drafted tokens that may be rejected.
    lookahead: Option<Grammar>,
}

impl Processors {
    /// The processors of a (validated) configuration, for a prompt of `prompt_length` tokens; `grammar` is that of its
    /// response format.
    pub fn new(config: &SpeculativeConfig, prompt_length: usize, grammar: Option<Grammar>) -> Self {
        Self {
            greedy: config.is_greedy(),
            temperature: config.temperature,
            top_k: config.top_k,
            top_p: config.top_p,
            min_p: config.min_p,
            repetition_penalty: config.repetition_penalty.clamp(1.0 / EXTREME, EXTREME) as f32,
            presence_penalty: config.presence_penalty.clamp(-EXTREME, EXTREME) as f32,
            frequency_penalty: config.frequency_penalty.clamp(-EXTREME, EXTREME) as f32,
            logit_bias: biases(&config.logit_bias),
            counts: TokenCounts::new(prompt_length),
            prompt_length,
            grammar,
            lookahead: None,
        }
    }

    /// The distribution of the token that follows `history` + `drafted`, given its logits.
    ///
    /// Fails if no token is possible: the model returned NaN, or biases forbid every token.
    pub fn distribution<'a>(
        &mut self,
        logits: impl Into<LogitsRow<'a>>,
        history: &[u32],
        drafted: &[u32],
    ) -> Result<Distribution<'a>> {
        let logits = logits.into();
        if self.greedy && !self.changes_logits() && self.grammar.is_none() {
            let (best, highest) = logits.argmax()?;
            return possible(highest).map(|()| Distribution::Point(best));
        }
        let mut logits = Cow::Borrowed(logits.values()?);
        if self.changes_logits() {
            self.penalize(logits.to_mut(), history, drafted);
        }
        if let Some(grammar) = &mut self.grammar {
            let allowed = grammar.allowed(&history[self.prompt_length..], drafted)?;
            allowed.apply(logits.to_mut());
        }
        self.filter(logits)
    }

    /// Whether tokens may be drafted: the response format's grammar can forget those that are rejected.
    pub fn can_roll_back(&self) -> bool {
        self.grammar.as_ref().is_none_or(Grammar::can_roll_back)
    }

    /// Whether a response format allows these drafted tokens.
    pub fn permits(&mut self, history: &[u32], drafted: &[u32]) -> bool {
        let Some(grammar) = &self.grammar else {
            return true;
        };
        let lookahead = self.lookahead.get_or_insert_with(|| grammar.clone());
        lookahead.permits(&[&history[self.prompt_length..], drafted].concat())
    }

    /// The fast-forward tokens of the response format: those that must follow.
    pub fn forced(&mut self, history: &[u32]) -> Vec<u32> {
        match &mut self.grammar {
            Some(grammar) => grammar.forced(&history[self.prompt_length..]),
            None => Vec::new(),
        }
    }

    fn changes_logits(&self) -> bool {
        self.penalizes() || !self.logit_bias.is_empty()
    }

    fn penalizes(&self) -> bool {
        let neutral = self.repetition_penalty.to_bits() == 1.0_f32.to_bits()
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0;
        !neutral
    }

    fn penalize(&mut self, logits: &mut [f32], history: &[u32], drafted: &[u32]) {
        for (token, bias) in &self.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        if !self.penalizes() {
            return;
        }
        for Count {
            token, generated, ..
        } in self.counts.of(history, drafted)
        {
            let Some(logit) = logits.get_mut(*token as usize) else {
                continue;
            };
            // Keskar et al., 1909.05858: dividing a positive logit and multiplying a negative one both lower it.
            *logit = if *logit > 0.0 {
                *logit / self.repetition_penalty
            } else {
                *logit * self.repetition_penalty
            };
            if *generated > 0 {
                *logit -= self.presence_penalty + self.frequency_penalty * *generated as f32;
            }
        }
    }

    fn filter<'a>(&self, logits: Cow<'a, [f32]>) -> Result<Distribution<'a>> {
        let (best, highest) = argmax(&logits);
        possible(highest)?;
        if self.greedy {
            return Ok(Distribution::Point(best));
        }
        let cuts = 0 < self.top_k && self.top_k < logits.len();
        if !cuts && self.top_p >= 1.0 && self.min_p <= 0.0 {
            let all = Softmax::new(logits, highest, self.temperature);
            return Ok(Distribution::Softmax(all));
        }
        let mut candidates: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        candidates.retain(|entry| entry.1 > f32::NEG_INFINITY);
        if cuts && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k, by_descending_weight);
            candidates.truncate(self.top_k);
        }
        let weight = |logit: f32| libm::exp(f64::from(logit - highest) / self.temperature);
        let weighted = candidates
            .iter()
            .map(|(token, logit)| (*token, weight(*logit)));
        let mut kept: Vec<(u32, f64)> = weighted.collect();
        self.keep_nucleus(&mut kept);
        // The largest weight is 1, so min-p is a bound on weights.
        kept.retain(|entry| entry.1 >= self.min_p);
        kept.sort_unstable_by_key(|entry| entry.0);
        Ok(Weighted::new(kept).map_or(Distribution::Point(best), Distribution::from))
    }

    /// Top-p (Holtzman et al., 1904.09751): the smallest set of tokens whose probability reaches p.
    fn keep_nucleus(&self, kept: &mut Vec<(u32, f64)>) {
        if self.top_p >= 1.0 {
            return;
        }
        let threshold = self.top_p * kept.iter().map(|entry| entry.1).sum::<f64>();
        // The nucleus is usually a small part of a large vocabulary: sort only as much as needed.
        let mut sorted = 0;
        let mut share = 0.0;
        while sorted < kept.len() {
            let end = kept.len().min((4 * sorted).max(256));
            if end < kept.len() {
                kept[sorted..].select_nth_unstable_by(end - sorted, by_descending_weight);
            }
            kept[sorted..end].sort_unstable_by(by_descending_weight);
            for index in sorted..end {
                share += kept[index].1;
                if share >= threshold {
                    kept.truncate(index + 1);
                    return;
                }
            }
            sorted = end;
        }
    }
}

/// The sum of each token's biases.
fn biases(given: &[(u32, f64)]) -> Vec<(u32, f32)> {
    let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
    for (token, bias) in given {
        *sums.entry(*token).or_default() += bias.min(EXTREME);
    }
    let sums = sums.into_iter();
    sums.map(|(token, bias)| (token, bias.min(EXTREME) as f32))
        .collect()
}

/// Fails if the highest logit shows that no token is possible.
fn possible(highest: f32) -> Result<()> {
    match highest.is_finite() {
        true => Ok(()),
        false => Err(Error::NoToken { highest }),
    }
}

/// Descending weight, then ascending id, so that the choice never depends on the sorting algorithm.
fn by_descending_weight<W: PartialOrd>(a: &(u32, W), b: &(u32, W)) -> Ordering {
    let weights = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
    weights.then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 3.0];

    fn distribution(config: &SpeculativeConfig) -> Distribution<'static> {
        Processors::new(config, 1, None)
            .distribution(&LOGITS[..], &[1, 4], &[4])
            .unwrap()
    }

    fn support(distribution: &Distribution<'_>) -> Vec<u32> {
        let mut tokens = Vec::new();
        distribution.for_each(|token, _| tokens.push(token));
        tokens
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        let config = SpeculativeConfig {
            temperature: 0.0,
            ..SpeculativeConfig::unmodified()
        };
        assert!(matches!(distribution(&config), Distribution::Point(1)));
    }

    #[test]
    fn temperature_divides_the_logits() {
        let distribution = distribution(&SpeculativeConfig {
            temperature: 0.5,
            ..SpeculativeConfig::unmodified()
        });
        let weights: Vec<f64> = LOGITS.iter().map(|l| f64::from(2.0 * l).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (token, weight) in weights.iter().enumerate() {
            let difference = distribution.probability(token as u32) - weight / total;
            assert!(difference.abs() < 1e-6);
        }
    }

    #[test]
    fn filters_keep_what_they_should() {
        let with = |top_k, top_p, min_p| {
            support(&distribution(&SpeculativeConfig {
                top_k,
                top_p,
                min_p,
                ..SpeculativeConfig::unmodified()
            }))
        };
        assert_eq!(with(0, 1.0, 0.0), [0, 1, 2, 3, 4]);
        assert_eq!(with(1, 1.0, 0.0), [1]);
        assert_eq!(with(3, 1.0, 0.0), [1, 2, 4]);
        assert_eq!(with(0, 0.5, 0.0), [1, 4]);
        assert_eq!(with(0, 0.39, 0.0), [1]);
        assert_eq!(with(0, 1.0, 0.2), [1, 2, 4]);
        assert_eq!(with(4, 0.95, 0.5), [1, 4]);
        assert_eq!(with(1000, 1e-9, 0.0), [1]);
    }

    #[test]
    fn a_large_nucleus_is_the_same_as_by_sorting() {
        let logits: Vec<f32> = (0..5000)
            .map(|i| ((i * 7919) % 5000) as f32 / 2000.0)
            .collect();
        let config = SpeculativeConfig {
            top_p: 0.9,
            ..SpeculativeConfig::unmodified()
        };
        let distribution = Processors::new(&config, 0, None)
            .distribution(&logits[..], &[], &[])
            .unwrap();
        let mut weights: Vec<(u32, f64)> = (0_u32..)
            .zip(logits.iter().map(|l| f64::from(*l).exp()))
            .collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = weights.iter().map(|entry| entry.1).sum();
        let mut share = 0.0;
        let mut expected = Vec::new();
        for (token, weight) in weights {
            expected.push(token);
            share += weight;
            if share >= 0.9 * total {
                break;
            }
        }
        expected.sort_unstable();
        assert_eq!(support(&distribution), expected);
    }

    #[test]
    fn penalties_see_drafted_tokens() {
        let penalized = |config| {
            let mut logits = LOGITS.to_vec();
            Processors::new(&config, 1, None).penalize(&mut logits, &[1, 4], &[4]);
            logits
        };
        let presence = SpeculativeConfig {
            presence_penalty: 0.5,
            ..SpeculativeConfig::unmodified()
        };
        assert_eq!(penalized(presence), [1.0, 3.0, 2.0, -1.0, 2.5]);
        let frequency = SpeculativeConfig {
            frequency_penalty: 0.5,
            ..SpeculativeConfig::unmodified()
        };
        assert_eq!(penalized(frequency), [1.0, 3.0, 2.0, -1.0, 2.0]);
        let repetition = SpeculativeConfig {
            repetition_penalty: 2.0,
            ..SpeculativeConfig::unmodified()
        };
        assert_eq!(penalized(repetition), [1.0, 1.5, 2.0, -1.0, 1.5]);
        let bias = SpeculativeConfig {
            logit_bias: vec![(3, 8.0), (99, 1.0), (3, 1.0)],
            ..SpeculativeConfig::unmodified()
        };
        assert_eq!(penalized(bias), [1.0, 3.0, 2.0, 8.0, 3.0]);
    }

    #[test]
    fn logits_that_are_not_finite_are_an_error_or_have_no_probability() {
        let config = SpeculativeConfig::unmodified();
        for logits in [
            [f32::NAN; 3],
            [f32::NEG_INFINITY; 3],
            [f32::INFINITY, 0.0, f32::NAN],
        ] {
            let distribution =
                Processors::new(&config, 0, None).distribution(&logits[..], &[], &[]);
            assert!(matches!(distribution, Err(Error::NoToken { .. })));
        }
        let distribution = Processors::new(&config, 0, None)
            .distribution(&[-1.0, f32::NAN, 3.0][..], &[], &[])
            .unwrap();
        assert_eq!(support(&distribution), [0, 2]);
        assert!((distribution.probability(2) - 0.982).abs() < 1e-3);
    }
}
