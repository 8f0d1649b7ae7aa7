//! The expected tokens and cost of a step.

use std::ops::AddAssign;

/// The expected tokens and cost of a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepEstimate {
    /// The tokens that it generates, including the one that the target adds to the draft.
    pub tokens: f64,
    /// The cost, in plain steps.
    pub cost: f64,
}

/// What a forward pass computes for other requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Rows.
    pub rows: usize,
    /// Tokens that they are expected to generate.
    pub tokens: f64,
}

impl Load {
    /// A step without a draft.
    pub const PLAIN: Self = Self {
        rows: 1,
        tokens: 1.0,
    };

    /// The sum of two loads.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            tokens: self.tokens + other.tokens,
        }
    }

    /// This load without one that is a part of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            rows: self.rows - part.rows,
            tokens: self.tokens - part.tokens,
        }
    }

    /// The estimate of a pass with `tokens` and `rows` more than the load, given the costs of passes over 0, 1, 2, ... rows.
    pub fn with(self, tokens: f64, rows: usize, passes: &[f64]) -> StepEstimate {
        StepEstimate {
            tokens: self.tokens + tokens,
            cost: passes[self.rows + rows],
        }
    }

    /// The same for a step without a draft.
    pub fn plain(self, passes: &[f64]) -> StepEstimate {
        self.with(1.0, 1, passes)
    }
}

impl StepEstimate {
    /// A step without a draft.
    pub const PLAIN: Self = Self {
        tokens: 1.0,
        cost: 1.0,
    };

    /// Tokens per plain step's time.
    pub fn rate(self) -> f64 {
        self.tokens / self.cost
    }

    /// The estimate of one request: a plain step, and what this pass has beyond one in which the request has no draft (`plain`).
    pub fn beside(self, plain: Self) -> Self {
        Self {
            tokens: 1.0 + self.tokens - plain.tokens,
            cost: 1.0 + self.cost - plain.cost,
        }
    }
}

impl AddAssign for StepEstimate {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.cost += other.cost;
    }
}
