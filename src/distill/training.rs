//! The training of a head: examples stream through the shuffle buffer, the learning rate rises and falls, and the best head is
//! written.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;
use candle_nn::Optimizer;

use super::checkpoint::{Checkpoint, save_head};
use super::examples::{Example, count, examples};
use super::network::{Network, Outcome, expected_tokens};
use super::shuffle::ShuffleBuffer;
use super::texts::Text;
use super::{Observer, Report, Settings};
use crate::architecture::ModelSpec;
use crate::decoder::SpeculativeDecoder;
use crate::error::{Error, Result};
use crate::model::{RecurrentConfig, RecurrentFiles, TokenRows};
use crate::sampling::Noise;

/// Examples of a step.
const BATCH: usize = 20;

/// How many tokens the head may draft.
const HEAD_TOKENS: usize = 4096;

/// Bytes of the shuffle buffer.
const BUFFER_BYTES: usize = 1 << 30;

/// The highest learning rate, and the steps in which it is reached.
const LEARNING_RATE: f64 = 1.5e-3;
const WARM_UP: usize = 40;

/// Steps between two evaluations of the head.
const EVALUATE_EVERY: usize = 100;

/// What a head is trained for.
pub(super) struct Target<'a> {
    pub(super) decoder: &'a SpeculativeDecoder,
    pub(super) spec: ModelSpec,
    pub(super) rows: TokenRows,
}

impl Target<'_> {
    /// The examples of texts that the head does not learn from.
    pub(super) fn held_out(&self, texts: &[Text]) -> Result<Vec<Example>> {
        let layers = target_layers(&self.spec);
        let all = texts
            .iter()
            .map(|text| examples(self.decoder, &layers, text));
        let all: Vec<Example> = all
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        if all.is_empty() {
            let reason = "the target's answers to the held-out prompts are too short to evaluate a head: give others";
            return Err(Error::Compute(reason.into()));
        }
        Ok(all)
    }
}

/// The best head so far, and how often its drafts are right.
struct Best<'a> {
    folder: &'a Path,
    acceptance: Vec<f64>,
}

impl Best<'_> {
    /// Writes a head if it is better.
    fn offer(&mut self, network: &Network, outcome: Outcome) -> Result<()> {
        let is_first = self.acceptance.is_empty();
        if is_first || expected_tokens(&outcome.acceptance) > expected_tokens(&self.acceptance) {
            save_head(network, self.folder)?;
            self.acceptance = outcome.acceptance.to_vec();
        }
        Ok(())
    }
}

/// Trains a head on some texts, evaluates it on held-out examples, and writes the best one.
pub(super) fn train(
    target: Target<'_>,
    (texts, held_out): (&[Text], &[Example]),
    (folder, checkpoint): (&Path, Option<Checkpoint>),
    (settings, device): (&Settings, Device),
    observer: &dyn Observer,
) -> Result<Report> {
    let Target {
        decoder,
        spec,
        rows,
    } = target;
    let config = config(&spec);
    let layers = config.target_layers.clone();
    let noise = Noise::new(settings.seed);
    let to_target = frequent_tokens(texts, spec.vocab_size);
    let rows = (rows, spec.logit_softcap);
    let network = Network::new(config, to_target, rows, device, &mut noise.stream(0))?;
    let capacity = BUFFER_BYTES / Example::bytes(layers.len() * spec.hidden_size);
    let mut buffer = ShuffleBuffer::new(capacity.max(BATCH), noise.stream(1));
    let mut plan = Plan::new(texts, settings.epochs, capacity.max(BATCH));
    let total = plan.steps();
    let mut step = 0;
    let mut best = Best {
        folder,
        acceptance: Vec::new(),
    };
    if let Some(checkpoint) = checkpoint {
        network.restore(&checkpoint.best)?;
        best.offer(&network, network.evaluate(held_out)?)?;
        network.restore(&checkpoint.values)?;
        step = checkpoint.steps;
        plan.skip(step);
    }
    let began_at = step;
    let mut optimizer = network.optimizer()?;
    observer.trained(step, total, None)?;
    while step < total {
        buffer.drop_used();
        while !buffer.is_full()
            && let Some((text, uses)) = plan.next()
        {
            observer.check()?;
            let captured = examples(decoder, &layers, text)?.into_iter();
            captured
                .zip(uses)
                .for_each(|(example, uses)| buffer.add(example, uses));
        }
        let batch = buffer.draw(BATCH);
        let is_last = batch.is_empty() || step + 1 == total;
        let mut loss = f64::NAN;
        if !batch.is_empty() {
            if step == 0 {
                network.start_from(&batch)?;
            }
            optimizer.set_learning_rate(learning_rate(step, step - began_at, total));
            loss = network.train(&batch, &mut optimizer)?;
            step += 1;
        }
        if !is_last && !step.is_multiple_of(EVALUATE_EVERY) {
            observer.trained(step, total, None)?;
            continue;
        }
        let outcome = network.evaluate(held_out)?;
        best.offer(&network, outcome)?;
        // After the last one, there is nothing to go on with.
        step = if is_last { total } else { step };
        Checkpoint::save(&network, step, folder)?;
        let Outcome {
            loss: held_out,
            acceptance,
        } = outcome;
        tracing::info!(
            step,
            of = total,
            loss,
            held_out,
            ?acceptance,
            "a head is trained"
        );
        observer.trained(step, total, Some(&acceptance))?;
    }
    if best.acceptance.is_empty() {
        let reason = "the target's answers are too short to learn from: give it questions (--prompts), or more tokens to answer with";
        return Err(Error::Compute(reason.into()));
    }
    Ok(Report {
        tokens: texts.iter().map(|text| text.answer().len()).sum(),
        steps: step,
        acceptance: best.acceptance,
    })
}

/// Which texts are to be learned from, and how often each of their examples is drawn.
struct Plan<'a> {
    texts: &'a [Text],
    /// How many examples each has.
    counts: Vec<usize>,
    epochs: usize,
    /// How many examples the buffer holds.
    capacity: usize,
    /// The number of the next text, and of its first example.
    next: (usize, usize),
    /// Examples that are not to be drawn any more, those after them that are still to be drawn so often together, and the first
    /// after those.
    used: usize,
    left: usize,
    fresh: usize,
}

impl<'a> Plan<'a> {
    fn new(texts: &'a [Text], epochs: usize, capacity: usize) -> Self {
        Self {
            texts,
            counts: texts.iter().map(count).collect(),
            epochs,
            capacity,
            next: (0, 0),
            used: 0,
            left: 0,
            fresh: 0,
        }
    }

    fn examples(&self) -> usize {
        self.counts.iter().sum()
    }

    /// How many steps it takes to draw all.
    fn steps(&self) -> usize {
        (self.examples() * self.epochs).div_ceil(BATCH)
    }

    /// Goes on after so many steps. The examples that were in the buffer have been drawn equally often, as far as is known.
    fn skip(&mut self, steps: usize) {
        let drawn = steps.saturating_mul(BATCH);
        self.fresh = (drawn / self.epochs + self.capacity).min(self.examples());
        self.left = (self.fresh * self.epochs).saturating_sub(drawn);
        self.used = self.fresh.saturating_sub(self.capacity);
    }

    /// How often an example is still to be drawn.
    fn uses(&self, example: usize) -> usize {
        if example >= self.fresh {
            return self.epochs;
        }
        let Some(place) = example.checked_sub(self.used) else {
            return 0;
        };
        let among = self.fresh - self.used;
        self.left / among + usize::from(place < self.left % among)
    }

    /// The next text of which examples are to be drawn, and how often each.
    fn next(&mut self) -> Option<(&'a Text, Vec<usize>)> {
        loop {
            let (number, first) = self.next;
            let text = self.texts.get(number)?;
            let count = self.counts[number];
            self.next = (number + 1, first + count);
            let uses: Vec<usize> = (first..first + count).map(|one| self.uses(one)).collect();
            if uses.iter().any(|uses| *uses > 0) {
                return Some((text, uses));
            }
        }
    }
}

/// The layers that a target's head reads: a low, a middle and the last one.
fn target_layers(spec: &ModelSpec) -> Vec<usize> {
    let layers = spec.layers.len();
    let mut read = vec![layers / 3, 2 * layers / 3, layers];
    read.dedup();
    read
}

/// The shape of a target's head.
fn config(spec: &ModelSpec) -> RecurrentConfig {
    let hidden = spec.hidden_size;
    RecurrentConfig {
        architectures: [RecurrentFiles::ARCHITECTURE.into()],
        hidden_size: hidden,
        // A power of two, from half the hidden size to all of it.
        intermediate_size: (hidden + 1).next_power_of_two() / 2,
        vocab_size: spec.vocab_size,
        rms_norm_eps: spec.norm.epsilon(),
        target_layers: target_layers(spec),
    }
}

/// The most frequent tokens of some texts, in ascending order, filled up with the lowest.
fn frequent_tokens(texts: &[Text], vocab_size: usize) -> Vec<u32> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for token in texts.iter().flat_map(Text::answer) {
        *counts.entry(*token).or_default() += 1;
    }
    let mut tokens: Vec<u32> = (0..vocab_size as u32).collect();
    tokens.sort_by_key(|token| std::cmp::Reverse(counts.get(token).copied().unwrap_or(0)));
    tokens.truncate(HEAD_TOKENS);
    tokens.sort_unstable();
    tokens
}

/// It rises for some steps, also after an interruption, and falls along a cosine.
fn learning_rate(step: usize, since_begin: usize, total: usize) -> f64 {
    let rising = (since_begin + 1) as f64 / WARM_UP as f64;
    let falling = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / total as f64).cos());
    LEARNING_RATE * rising.min(1.0) * falling
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<Text> {
        let lengths = [10, 36, 37, 68, 100, 256, 35, 200];
        let text = |length: usize| Text {
            prompt: 5,
            tokens: vec![1; 5 + length],
            is_users: false,
        };
        lengths.into_iter().map(text).collect()
    }

    fn rest(plan: &mut Plan<'_>) -> Vec<usize> {
        std::iter::from_fn(|| plan.next())
            .flat_map(|(_, uses)| uses)
            .collect()
    }

    #[test]
    fn what_was_drawn_before_an_interruption_is_not_drawn_again() {
        let texts = texts();
        for capacity in [BATCH, 1000] {
            let mut whole = Plan::new(&texts, 4, capacity);
            let (examples, steps) = (whole.examples(), whole.steps());
            assert_eq!(rest(&mut whole), vec![4; examples]);
            assert_eq!(steps, (4 * examples).div_ceil(BATCH));
            for step in 0..=steps {
                let mut plan = Plan::new(&texts, 4, capacity);
                plan.skip(step);
                let uses = rest(&mut plan);
                let left: usize = uses.iter().sum();
                assert_eq!(left, (4 * examples).saturating_sub(step * BATCH));
                assert!(uses.iter().all(|uses| *uses <= 4));
            }
        }
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        assert!(learning_rate(0, 0, 1000) < LEARNING_RATE / 30.0);
        assert!(learning_rate(WARM_UP, WARM_UP, 1000) > 0.99 * LEARNING_RATE);
        // After an interruption it rises again.
        assert!(learning_rate(500, 0, 1000) < 0.1 * learning_rate(500, WARM_UP, 1000));
        assert!(learning_rate(999, 999, 1000) < 1e-5 * LEARNING_RATE * 10.0);
    }
}
