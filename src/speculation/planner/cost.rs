//! The costs of the target's forward passes on this machine, by rows and context length: measured at load, and refined while
//! running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::MAX_TREE_ROWS;
use crate::error::Result;
use crate::model::{SharedModel, TokenSequence};
use crate::settings::DraftKind;

/// The number of row counts that are measured separately: 0 rows, and as many as a tree may have. The cost of more rows is
/// extrapolated linearly.
const ROWS: usize = MAX_TREE_ROWS + 1;

/// Context lengths are grouped into buckets by powers of two, from this one up to 131,072: finely enough, since a small model's pass
/// takes 3.4 ms at context length 109, 4.4 at 1000 and 7.2 at 4000.
const SHORT_CONTEXT: usize = 256;
const CONTEXTS: usize = 10;

/// The weights of a new measurement in a pass's average, and in the machine's speed, which all passes share. (Replays with noisy
/// measurements: averages at 0.01 to 0.1 and speeds at 0.02 to 0.4 are within the noise, 1 %; averages at 0.3 are 6 % slower.)
const COST_RATE: f64 = 0.05;
const SPEED_RATE: f64 = 0.1;

/// Measurements are clamped to within this factor of the expected time: those beyond it are outliers. (Replays with noisy
/// measurements: 2 to unlimited are 0.6 to 1 % slower, 1.5 0.4 % faster, within the noise.)
const OUTLIER: f64 = 3.0;

/// The same for a first measurement, relative to the estimate from other measurements. (Replays: 1.2 to unlimited are within
/// 0.5 %.)
const FIRST_OUTLIER: f64 = 2.0;

/// The fewest prefilled tokens from which the time per token is measured: a pass over fewer is mostly the cost of loading the
/// weights, which 16 rows share (they cost 2.4 to 4.8 times as much as one).
const MIN_PREFILL: usize = 16;

/// The relative cost that each row adds to a pass, before anything is measured: about what a row of a small model costs. (It holds for the
/// first steps alone: replays with 0.02 to 0.5 are equal.)
const UNMEASURED: f64 = 0.1;

/// Costs that all requests of a decoder share.
#[derive(Debug, Clone, Default)]
pub struct Costs(Arc<Mutex<Measurements>>);

#[derive(Debug)]
struct Measurements {
    /// Seconds of a pass, by context and rows, at the machine's usual speed.
    passes: [[Option<f64>; ROWS]; CONTEXTS],
    /// Seconds of a drafted token, by drafter.
    drafts: [Option<f64>; DraftKind::MOST],
    /// Seconds of a prefilled token, by drafter.
    prefills: [Option<f64>; DraftKind::MOST],
    /// How much slower than usual the machine is: other load changes it, but must not change the planner's choices.
    slowness: f64,
}

impl Default for Measurements {
    fn default() -> Self {
        Self {
            passes: [[None; ROWS]; CONTEXTS],
            drafts: [None; DraftKind::MOST],
            prefills: [None; DraftKind::MOST],
            slowness: 1.0,
        }
    }
}

/// The passes that are measured at load: their context length, their row counts, and the order of the first ones, as indices
/// of the row counts. Row counts double, since costs are interpolated between them; the single row comes three times among
/// the first six, since all other costs are relative to it and a slow model leaves time for six passes.
const MEASURED_CONTEXT: usize = 16;
const MEASURED_ROWS: [usize; 5] = [1, 2, 4, 8, 16];
const MEASURED_ORDER: [usize; 6] = [0, 0, 1, 2, 3, 0];

impl Costs {
    /// Measures the target's passes for about `budget`; the others are measured while running.
    pub fn measure(&self, target: &SharedModel, budget: Duration) -> Result<()> {
        let began = Instant::now();
        let mut sequence = TokenSequence::new(target);
        let context = MEASURED_CONTEXT.min(sequence.context_length() / 2);
        if context == 0 {
            return Ok(());
        }
        let vocab_size = sequence.vocab_size();
        let token = |position: usize| ((position * 7919 + 17) % vocab_size) as u32;
        let tokens: Vec<u32> = (0..context + ROWS).map(token).collect();
        // Of a model whose weights are brought when they are first used, a pass over several tokens would bring most of them now.
        let first = sequence.extend(&tokens[..1], 1)?;
        if first.used_new_weights() {
            return Ok(());
        }
        sequence.extend(&tokens[1..context], 0)?;
        // The first pass of each size is slower, since it allocates memory: the fastest counts.
        let mut fastest = [f64::INFINITY; MEASURED_ROWS.len()];
        for index in MEASURED_ORDER
            .into_iter()
            .chain((0..MEASURED_ROWS.len()).cycle())
        {
            let rows = MEASURED_ROWS[index];
            if began.elapsed() > budget || context + rows > sequence.context_length() {
                break;
            }
            let pass = Instant::now();
            drop(sequence.extend(&tokens[context..context + rows], rows)?);
            fastest[index] = fastest[index].min(pass.elapsed().as_secs_f64());
            sequence.truncate(context)?;
        }
        for (rows, seconds) in MEASURED_ROWS.into_iter().zip(fastest) {
            if seconds.is_finite() {
                self.observe_pass(context, rows, seconds);
            }
        }
        Ok(())
    }

    /// Observes the time of a pass over `rows` rows at a context length.
    pub fn observe_pass(&self, context: usize, rows: usize, seconds: f64) {
        let measurements = &mut *self.measurements();
        let bucket = bucket(context);
        let Some(known) = measurements.passes[bucket].get(rows) else {
            return;
        };
        let expected = match known {
            Some(_) => None,
            None => measurements.expected(bucket, rows),
        };
        // A first measurement may be an outlier, too.
        let seconds = expected.map_or(seconds, |expected| {
            seconds.clamp(expected / FIRST_OUTLIER, expected * FIRST_OUTLIER)
        });
        let average = &mut measurements.passes[bucket][rows];
        update(average, seconds, &mut measurements.slowness);
    }

    /// Observes the time of drafting `tokens` tokens; a draft without tokens counts if it took as long as one token.
    pub fn observe_draft(&self, source: DraftKind, tokens: usize, seconds: f64) {
        let measurements = &mut *self.measurements();
        let average = &mut measurements.drafts[source.index()];
        let expected = average.map(|known| known * measurements.slowness);
        if tokens > 0 || expected.is_some_and(|expected| seconds > expected) {
            update(
                average,
                seconds / tokens.max(1) as f64,
                &mut measurements.slowness,
            );
        }
    }

    /// Observes the time of a drafter's prefill of `tokens` tokens.
    pub fn observe_prefill(&self, source: DraftKind, tokens: usize, seconds: f64) {
        let measurements = &mut *self.measurements();
        if tokens >= MIN_PREFILL {
            let average = &mut measurements.prefills[source.index()];
            update(average, seconds / tokens as f64, &mut measurements.slowness);
        }
    }

    /// Seconds of a plain step at a context length; `None` before any pass was measured.
    pub fn plain_step(&self, context: usize) -> Option<f64> {
        self.measurements().plain_step(bucket(context))
    }

    /// The costs of passes over 0, 1, 2, ... rows, relative to a plain step: non-decreasing, and 1 for one row.
    pub fn relative(&self, context: usize, rows: usize) -> Vec<f64> {
        self.measurements().relative(bucket(context), rows)
    }

    /// The cost of a drafted token, relative to a plain step.
    pub fn draft(&self, context: usize, source: DraftKind) -> f64 {
        let measurements = self.measurements();
        measurements.over_plain(bucket(context), measurements.drafts[source.index()])
    }

    /// The cost of a token that a drafter prefills, relative to a plain step.
    pub fn prefill(&self, context: usize, source: DraftKind) -> f64 {
        let measurements = self.measurements();
        measurements.over_plain(bucket(context), measurements.prefills[source.index()])
    }

    fn measurements(&self) -> MutexGuard<'_, Measurements> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In these methods, `context` is a bucket of context lengths.
impl Measurements {
    fn over_plain(&self, context: usize, seconds: Option<f64>) -> f64 {
        let plain = self.plain_step(context);
        let both = seconds.zip(plain);
        both.map_or(0.0, |(seconds, plain)| seconds * self.slowness / plain)
    }

    fn plain_step(&self, context: usize) -> Option<f64> {
        if let Some(seconds) = self.passes[context][1] {
            return Some(seconds * self.slowness);
        }
        let relative = self.relative(context, ROWS - 1);
        nearest(context).find_map(|context| {
            let mut passes = self.passes[context].iter().zip(&relative);
            passes.find_map(|(seconds, cost)| Some((*seconds)? * self.slowness / cost))
        })
    }

    /// The expected seconds of a pass that was never measured, from those that were.
    fn expected(&self, context: usize, rows: usize) -> Option<f64> {
        let relative = self.relative(context, rows);
        Some(self.plain_step(context)? * relative[relative.len() - 1])
    }

    fn relative(&self, context: usize, rows: usize) -> Vec<f64> {
        let mut costs = vec![0.0, 1.0];
        let mut known: Option<(usize, f64)> = None;
        for row in 2..=rows {
            let before = costs[row - 1];
            if known.is_none_or(|(known, _)| known < row) {
                let mut measured = row..ROWS;
                known = measured.find_map(|rows| Some((rows, self.ratio(context, rows)?)));
                // Larger passes are not measured either: stop looking.
                known = known.or(Some((usize::MAX, 0.0)));
            }
            let cost = match known {
                // Interpolated linearly up to the next measured one.
                Some((known, cost)) if known < ROWS => {
                    before + (cost - before) / (known - row + 1) as f64
                }
                _ if row > 2 => before + (before - 1.0) / (row - 2) as f64,
                _ => before + UNMEASURED,
            };
            costs.push(cost.max(before));
        }
        costs
    }

    /// The cost of `rows` rows relative to one row, in the nearest context where both are measured.
    fn ratio(&self, context: usize, rows: usize) -> Option<f64> {
        nearest(context).find_map(|context| {
            let passes = &self.passes[context];
            Some(passes[rows]? / passes[1]?)
        })
    }
}

/// All contexts, the nearest first, and shorter ones before longer ones.
fn nearest(context: usize) -> impl Iterator<Item = usize> {
    (0..=context).rev().chain(context + 1..CONTEXTS)
}

/// The bucket of a context length.
fn bucket(context: usize) -> usize {
    let doublings = (context / SHORT_CONTEXT)
        .checked_ilog2()
        .map_or(0, |power| power + 1);
    (doublings as usize).min(CONTEXTS - 1)
}

fn update(average: &mut Option<f64>, seconds: f64, slowness: &mut f64) {
    // A clock may be too coarse for a short time.
    if !(seconds.is_finite() && seconds > 0.0) {
        return;
    }
    match average {
        None => *average = Some(seconds / *slowness),
        Some(known) => {
            let ratio = seconds / (*known * *slowness);
            let ratio = ratio.clamp(1.0 / OUTLIER, OUTLIER);
            *known *= ratio.powf(COST_RATE);
            *slowness *= ratio.powf(SPEED_RATE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmeasured_costs_are_interpolated() {
        let costs = Costs::default();
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            let mut pairs = found.iter().zip(expected);
            assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        close(costs.relative(10, 3), &[0.0, 1.0, 1.1, 1.2]);
        costs.observe_pass(10, 1, 2.0);
        costs.observe_pass(10, 5, 3.0);
        let relative = costs.relative(10, 6);
        close(
            relative.clone(),
            &[0.0, 1.0, 1.125, 1.25, 1.375, 1.5, 1.625],
        );
        // A longer context that was not measured has the costs of the longest measured one.
        assert_eq!(costs.relative(5000, 6), relative);
    }

    #[test]
    fn costs_never_fall_with_rows() {
        let costs = Costs::default();
        for (rows, seconds) in [(1, 1.0), (2, 0.9), (4, 2.0)] {
            costs.observe_pass(0, rows, seconds);
        }
        assert_eq!(costs.relative(0, 4), [0.0, 1.0, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn a_slow_machine_does_not_change_relative_costs() {
        let costs = Costs::default();
        for (rows, seconds) in [(1, 1.0), (4, 1.5)] {
            costs.observe_pass(0, rows, seconds);
        }
        // Only passes over 4 rows are measured while it is slow.
        (0..100).for_each(|_| costs.observe_pass(0, 4, 3.0));
        assert!(costs.relative(0, 4)[4] < 2.0);
        assert!(costs.plain_step(0).unwrap() > 1.5);
        assert!(costs.plain_step(100_000).unwrap() > 1.5);
    }

    #[test]
    fn outliers_count_little() {
        let costs = Costs::default();
        assert_eq!(costs.plain_step(0), None);
        costs.observe_pass(0, 1, 1.0);
        costs.observe_pass(0, 1, 1000.0);
        assert!(costs.plain_step(0).unwrap() < 1.2);
    }

    #[test]
    fn plain_steps_are_estimated_from_other_passes() {
        let costs = Costs::default();
        costs.observe_pass(0, 1, 1.0);
        costs.observe_pass(0, 4, 2.0);
        costs.observe_pass(1000, 4, 3.0);
        assert!((costs.plain_step(1000).unwrap() - 1.5).abs() < 1e-12);
    }
}
