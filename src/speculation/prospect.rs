//! What is expected of a step.

use std::ops::AddAssign;

/// Tokens for time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prospect {
    /// The tokens that it is expected to write, the target's own included.
    pub tokens: f64,
    /// What it costs, in plain steps.
    pub cost: f64,
}

impl Prospect {
    /// A step without a draft.
    pub const PLAIN: Self = Self {
        tokens: 1.0,
        cost: 1.0,
    };

    /// Against steps without drafts.
    pub fn speedup(self) -> f64 {
        self.tokens / self.cost
    }
}

impl AddAssign for Prospect {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.cost += other.cost;
    }
}
