//! Comparisons of several prompts together.

use serde::Serialize;

use super::{Comparison, Measurement};
use crate::evaluation::runner::{Totals, add_counts, range};

/// Several comparisons together: tokens over time, so that long answers weigh more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) category: String,
    pub(crate) turns: usize,
    /// Speculative over plain tokens per second; of a single turn, the median of its runs.
    pub(crate) speedup: f64,
    /// The speedups of the slowest and the fastest turn; of a single turn, those of its runs.
    pub(crate) speedup_range: [f64; 2],
    /// Whether all texts were the same both ways.
    pub(crate) identical: bool,
    pub(crate) baseline: SideSummary,
    pub(crate) speculative: SideSummary,
}

/// One side of several comparisons together.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub(crate) struct SideSummary {
    pub(crate) tokens_per_second: f64,
    pub(crate) tokens_per_step: f64,
    pub(crate) acceptance_rate: f64,
    /// Drafted tokens that were accepted, over all runs.
    pub(crate) accepted: usize,
    pub(crate) new_tokens: usize,
    pub(crate) decode_seconds: f64,
    pub(crate) draft_seconds: f64,
    pub(crate) verify_seconds: f64,
    /// Steps that accepted 0, 1, 2, ... drafted tokens.
    pub(crate) accepted_lengths: Vec<usize>,
}

impl Summary {
    /// Sums up comparisons under a name.
    pub(crate) fn of<'a>(
        category: &str,
        comparisons: impl Iterator<Item = &'a Comparison>,
    ) -> Self {
        let comparisons: Vec<&Comparison> = comparisons.collect();
        let side = |side: fn(&Comparison) -> &Measurement| {
            SideSummary::of(comparisons.iter().copied().map(side))
        };
        let baseline = side(|comparison| &comparison.baseline);
        let speculative = side(|comparison| &comparison.speculative);
        let (speedup, speedup_range) = match comparisons[..] {
            [one] => (one.speedup, one.speedup_range),
            _ => (
                speculative.tokens_per_second / baseline.tokens_per_second,
                range(comparisons.iter().map(|comparison| comparison.speedup)),
            ),
        };
        Self {
            category: category.to_owned(),
            turns: comparisons.len(),
            speedup,
            speedup_range,
            identical: comparisons.iter().all(|comparison| comparison.identical),
            baseline,
            speculative,
        }
    }
}

impl SideSummary {
    fn of<'a>(turns: impl Iterator<Item = &'a Measurement>) -> Self {
        let mut side = Self::default();
        let mut totals = Totals::default();
        for turn in turns {
            // Speed is that of a typical run: its tokens over its median time. The other rates count every run.
            side.new_tokens += turn.new_tokens;
            side.decode_seconds += turn.decode_seconds;
            side.draft_seconds += turn.draft_seconds;
            side.verify_seconds += turn.verify_seconds;
            add_counts(&mut side.accepted_lengths, &turn.accepted_lengths);
            totals += turn.totals;
        }
        side.tokens_per_second = side.new_tokens as f64 / side.decode_seconds;
        side.tokens_per_step = totals.tokens_per_step();
        side.acceptance_rate = totals.acceptance_rate();
        side.accepted = totals.accepted;
        side
    }
}
