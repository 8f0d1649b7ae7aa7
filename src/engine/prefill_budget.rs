//! How many prompt tokens a forward pass may prefill while other requests decode, from the measured times of passes.

/// Prompt tokens of a pass in which no request decodes.
pub(super) const PREFILL_ALONE: usize = 512;

/// Prompt tokens of a pass before it is known how long prefilling takes.
const INITIAL_BUDGET: usize = 32;

/// Prefilling may make the pass of the decoding requests longer by so many times its own length.
const MAX_SLOWDOWN: f64 = 2.0;

/// Prompt tokens of a pass, however long they take.
const MIN_BUDGET: usize = 16;

/// How much less each pass counts than the next one.
const DECAY: f64 = 0.03;

/// How much rows must differ between passes to tell what one costs: their variance, over their mean's square.
const MIN_SPREAD: f64 = 0.05;

/// What passes of the target take by their rows: a line fitted to the latest ones, older ones decaying.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PrefillBudget {
    /// Weighted sums over passes: of 1, rows, their squares, seconds, and rows times seconds.
    passes: f64,
    rows: f64,
    squares: f64,
    seconds: f64,
    products: f64,
    /// Seconds that each further row takes; 0: unknown.
    row: f64,
    /// Rows of the decoding requests in the latest pass.
    decoded: usize,
}

impl PrefillBudget {
    /// How many prompt tokens the next pass may prefill beside requests that decode.
    pub(super) fn tokens(&self) -> usize {
        if self.row <= 0.0 {
            return INITIAL_BUDGET;
        }
        // The fixed cost of a pass, in rows that would take as long.
        let base = (self.seconds / self.row - self.rows) / self.passes;
        let most = MAX_SLOWDOWN * (base.max(0.0) + self.decoded as f64);
        (most as usize).clamp(MIN_BUDGET, PREFILL_ALONE)
    }

    /// Learns from a pass over so many rows of decoding requests, and so many of prompts.
    pub(super) fn observe(&mut self, decoded: usize, prefilled: usize, seconds: f64) {
        let rows = (decoded + prefilled) as f64;
        let sums = [
            (&mut self.passes, 1.0),
            (&mut self.rows, rows),
            (&mut self.squares, rows * rows),
            (&mut self.seconds, seconds),
            (&mut self.products, rows * seconds),
        ];
        for (sum, value) in sums {
            *sum = *sum * (1.0 - DECAY) + value;
        }
        self.decoded = decoded;
        let spread = self.passes * self.squares - self.rows * self.rows;
        let rising = self.passes * self.products - self.rows * self.seconds;
        // Passes that are all alike do not tell what a further row costs.
        if spread > MIN_SPREAD * self.rows * self.rows && rising > 0.0 {
            self.row = rising / spread;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pass of so many rows, on a machine that needs 3 ms for any and 0.7 for each.
    fn seconds(rows: usize) -> f64 {
        0.003 + 0.0007 * rows as f64
    }

    fn run(budget: &mut PrefillBudget, passes: usize, decoding: usize, prefills: bool) {
        for _ in 0..passes {
            let prefilled = if prefills { budget.tokens() } else { 0 };
            budget.observe(decoding, prefilled, seconds(decoding + prefilled));
        }
    }

    #[test]
    fn prefilling_takes_its_share_of_the_time() {
        let mut budget = PrefillBudget::default();
        assert_eq!(budget.tokens(), INITIAL_BUDGET);
        // A prompt alone, then eight requests that decode while others always prefill.
        budget.observe(0, 500, seconds(500));
        for decoding in [8, 1, 16] {
            run(&mut budget, 200, decoding, true);
            let most = MAX_SLOWDOWN * seconds(decoding) / 0.0007;
            let found = budget.tokens() as f64;
            assert!((found - most.max(16.0)).abs() < 2.0, "{found} of {most}");
        }
    }

    #[test]
    fn passes_that_are_alike_change_nothing_and_times_of_zero_are_ignored() {
        let mut budget = PrefillBudget::default();
        budget.observe(0, 300, seconds(300));
        run(&mut budget, 100, 8, true);
        let before = budget.tokens();
        run(&mut budget, 10_000, 8, false);
        assert_eq!(budget.tokens(), before);
        let mut still = PrefillBudget::default();
        (0..100).for_each(|rows| still.observe(rows, 0, 0.0));
        assert_eq!(still.tokens(), INITIAL_BUDGET);
    }
}
