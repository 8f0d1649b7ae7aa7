//! How much of prompts may be read while others write, by what passes of the target take.

/// Tokens of prompts that are read at once where nobody writes, and before it is known how long reading takes.
pub(super) const READ_ALONE: usize = 512;
const READ_FIRST: usize = 32;

/// How much longer than the pass of those who write others may read, who hold them up.
const READING_SHARE: f64 = 2.0;

/// Tokens of prompts that are read however long that takes.
const FEWEST_READ: usize = 16;

/// How much less each pass counts than the next one, for the pace.
const PACE_RATE: f64 = 0.03;

/// How much rows must differ between passes to tell what one takes: their variance, over their mean's square.
const LEAST_SPREAD: f64 = 0.05;

/// What passes of the target take by their rows: a line through the latest ones, those long ago counting ever less.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Weighted sums over passes: of 1, rows, their squares, seconds, and rows times seconds.
    passes: f64,
    rows: f64,
    squares: f64,
    seconds: f64,
    products: f64,
    /// Seconds that each row takes more; 0: unknown.
    row: f64,
    /// Rows of those who wrote in the latest pass.
    written: usize,
}

impl Pace {
    /// How many tokens may be read while others write.
    pub(super) fn most_read(&self) -> usize {
        if self.row <= 0.0 {
            return READ_FIRST;
        }
        // What a pass takes whatever its rows, as rows that would take as long.
        let base = (self.seconds / self.row - self.rows) / self.passes;
        let most = READING_SHARE * (base.max(0.0) + self.written as f64);
        (most as usize).clamp(FEWEST_READ, READ_ALONE)
    }

    /// Learns from a pass over so many rows that wrote, and so many that were read.
    pub(super) fn observe(&mut self, written: usize, read: usize, seconds: f64) {
        let rows = (written + read) as f64;
        let sums = [
            (&mut self.passes, 1.0),
            (&mut self.rows, rows),
            (&mut self.squares, rows * rows),
            (&mut self.seconds, seconds),
            (&mut self.products, rows * seconds),
        ];
        for (sum, value) in sums {
            *sum = *sum * (1.0 - PACE_RATE) + value;
        }
        self.written = written;
        let spread = self.passes * self.squares - self.rows * self.rows;
        let rising = self.passes * self.products - self.rows * self.seconds;
        // Passes that are all alike say nothing of what a row more takes.
        if spread > LEAST_SPREAD * self.rows * self.rows && rising > 0.0 {
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

    fn run(pace: &mut Pace, passes: usize, writers: usize, reads: bool) {
        for _ in 0..passes {
            let read = if reads { pace.most_read() } else { 0 };
            pace.observe(writers, read, seconds(writers + read));
        }
    }

    #[test]
    fn reading_takes_its_share_of_the_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.most_read(), READ_FIRST);
        // A prompt alone, then eight who write while others always read.
        pace.observe(0, 500, seconds(500));
        for writers in [8, 1, 16] {
            run(&mut pace, 200, writers, true);
            let most = READING_SHARE * seconds(writers) / 0.0007;
            let found = pace.most_read() as f64;
            assert!((found - most.max(16.0)).abs() < 2.0, "{found} of {most}");
        }
    }

    #[test]
    fn passes_that_are_alike_change_nothing_and_none_is_no_number() {
        let mut pace = Pace::default();
        pace.observe(0, 300, seconds(300));
        run(&mut pace, 100, 8, true);
        let before = pace.most_read();
        run(&mut pace, 10_000, 8, false);
        assert_eq!(pace.most_read(), before);
        let mut still = Pace::default();
        (0..100).for_each(|rows| still.observe(rows, 0, 0.0));
        assert_eq!(still.most_read(), READ_FIRST);
    }
}
