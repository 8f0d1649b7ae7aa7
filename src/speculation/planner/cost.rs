//! What forward passes of the target cost on this machine, by their rows and context length: measured at load, and refined
//! while running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::{SharedModel, TokenSequence};
use crate::settings::DraftKind;

/// Row counts that are told apart, 0 included; the cost of more rows is extrapolated in proportion.
const ROWS: usize = 65;

/// Contexts are told apart by the power of two that they reach, from this one on.
const SHORT_CONTEXT: usize = 256;
const CONTEXTS: usize = 10;

/// The weight of the newest measurement of a pass, and of the machine's speed, which all passes share.
const COST_RATE: f64 = 0.05;
const SPEED_RATE: f64 = 0.1;

/// A time this many times the expected one is an outlier, not a cost.
const OUTLIER: f64 = 3.0;

/// The same for a first time, against what the neighbours make likely.
const FIRST_OUTLIER: f64 = 2.0;

/// Prefilled tokens from which the time of a token can be told.
const MIN_PREFILL: usize = 16;

/// How much each row adds to a pass, before anything is measured.
const UNMEASURED: f64 = 0.1;

/// Costs that all requests of a decoder share.
#[derive(Debug, Clone, Default)]
pub struct Costs(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    /// Seconds of a pass, by context and rows, at the machine's usual speed.
    passes: [[Option<f64>; ROWS]; CONTEXTS],
    /// Seconds of a drafted token, by drafter.
    drafts: [Option<f64>; DraftKind::MOST],
    /// Seconds of a token that a drafter prefills.
    reads: [Option<f64>; DraftKind::MOST],
    /// How much slower than usual the machine is: other load changes it, and must not change any choice.
    slowness: f64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            passes: [[None; ROWS]; CONTEXTS],
            drafts: [None; DraftKind::MOST],
            reads: [None; DraftKind::MOST],
            slowness: 1.0,
        }
    }
}

/// The tokens before passes that are measured before any request, the rows of these, and the order of the first.
const MEASURED_CONTEXT: usize = 16;
const MEASURED_ROWS: [usize; 5] = [1, 2, 4, 8, 16];
const MEASURED_ORDER: [usize; 6] = [0, 0, 1, 2, 3, 0];

impl Costs {
    /// Measures the target's passes, for about so long; what doesn't fit is learned while running.
    pub fn measure(&self, target: &SharedModel, budget: Duration) -> Result<()> {
        let began = Instant::now();
        let mut sequence = TokenSequence::new(target);
        let context = MEASURED_CONTEXT.min(sequence.context_length() / 2);
        let vocab_size = sequence.vocab_size();
        let token = |place: usize| ((place * 7919 + 17) % vocab_size) as u32;
        let tokens: Vec<u32> = (0..context + ROWS).map(token).collect();
        sequence.extend(&tokens[..context], 0)?;
        // The first passes of so many rows find out what memory they take.
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

    /// Observes a pass over so many rows at a context length.
    pub fn observe_pass(&self, context: usize, rows: usize, seconds: f64) {
        let table = &mut *self.table();
        let place = place(context);
        let Some(known) = table.passes[place].get(rows) else {
            return;
        };
        let likely = match known {
            Some(_) => None,
            None => table.likely(place, rows),
        };
        // A first time may be an outlier like any other.
        let seconds = likely.map_or(seconds, |likely| {
            seconds.clamp(likely / FIRST_OUTLIER, likely * FIRST_OUTLIER)
        });
        let average = &mut table.passes[place][rows];
        learn(average, seconds, &mut table.slowness);
    }

    /// Observes the drafting of so many tokens; an attempt that found none counts if it took as long as a token.
    pub fn observe_draft(&self, source: DraftKind, tokens: usize, seconds: f64) {
        let table = &mut *self.table();
        let average = &mut table.drafts[source.index()];
        let expected = average.map(|known| known * table.slowness);
        if tokens > 0 || expected.is_some_and(|expected| seconds > expected) {
            learn(average, seconds / tokens.max(1) as f64, &mut table.slowness);
        }
    }

    /// Observes a drafter's prefill of so many tokens.
    pub fn observe_prefill(&self, source: DraftKind, tokens: usize, seconds: f64) {
        let table = &mut *self.table();
        if tokens >= MIN_PREFILL {
            let average = &mut table.reads[source.index()];
            learn(average, seconds / tokens as f64, &mut table.slowness);
        }
    }

    /// Seconds of a plain step at a context length; `None` before any pass was measured.
    pub fn plain_step(&self, context: usize) -> Option<f64> {
        self.table().plain_step(place(context))
    }

    /// The costs of passes over 0, 1, 2, ... rows, relative to a plain step: never falling, and from 1 on known.
    pub fn relative(&self, context: usize, rows: usize) -> Vec<f64> {
        self.table().relative(place(context), rows)
    }

    /// The cost of a drafted token, relative to a plain step.
    pub fn draft(&self, context: usize, source: DraftKind) -> f64 {
        let table = self.table();
        table.over_plain(place(context), table.drafts[source.index()])
    }

    /// The cost of a token that a source reads, relative to a plain step.
    pub fn prefill(&self, context: usize, source: DraftKind) -> f64 {
        let table = self.table();
        table.over_plain(place(context), table.reads[source.index()])
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Contexts here are places in the table.
impl Table {
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

    /// Seconds of a pass that was never made, by what others took.
    fn likely(&self, context: usize, rows: usize) -> Option<f64> {
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
                // None is looked for again.
                known = known.or(Some((usize::MAX, 0.0)));
            }
            let cost = match known {
                // On a straight line to the next measured one.
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

    /// The cost of so many rows over that of one, by the nearest context where both are known.
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

/// Which contexts are taken for alike.
fn place(context: usize) -> usize {
    let doublings = (context / SHORT_CONTEXT)
        .checked_ilog2()
        .map_or(0, |power| power + 1);
    (doublings as usize).min(CONTEXTS - 1)
}

fn learn(average: &mut Option<f64>, seconds: f64, slowness: &mut f64) {
    // A clock may be coarser than what it measures.
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
    fn what_was_not_measured_lies_between() {
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
        // A longer context of which nothing is known is like the longest that is known.
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
    fn a_slow_machine_changes_no_relation() {
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
    fn accidents_count_little() {
        let costs = Costs::default();
        assert_eq!(costs.plain_step(0), None);
        costs.observe_pass(0, 1, 1.0);
        costs.observe_pass(0, 1, 1000.0);
        assert!(costs.plain_step(0).unwrap() < 1.2);
    }

    #[test]
    fn plain_steps_are_known_where_none_was_made() {
        let costs = Costs::default();
        costs.observe_pass(0, 1, 1.0);
        costs.observe_pass(0, 4, 2.0);
        costs.observe_pass(1000, 4, 3.0);
        assert!((costs.plain_step(1000).unwrap() - 1.5).abs() < 1e-12);
    }
}
