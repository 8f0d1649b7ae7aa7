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

/// What a pass of the target computes for other requests than the one in question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Rows.
    pub rows: usize,
    /// The tokens that they are expected to write.
    pub tokens: f64,
}

impl Load {
    /// A step without a draft.
    pub const PLAIN: Self = Self {
        rows: 1,
        tokens: 1.0,
    };

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            tokens: self.tokens + other.tokens,
        }
    }

    /// This, of which the other was a part.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            rows: self.rows - part.rows,
            tokens: self.tokens - part.tokens,
        }
    }

    /// What is expected of a pass that writes so many tokens more, over so many rows more, given what passes over 0, 1, 2, ...
    /// rows cost.
    pub fn with(self, tokens: f64, rows: usize, passes: &[f64]) -> Prospect {
        Prospect {
            tokens: self.tokens + tokens,
            cost: passes[self.rows + rows],
        }
    }

    /// That of a step without a draft.
    pub fn plain(self, passes: &[f64]) -> Prospect {
        self.with(1.0, 1, passes)
    }
}

impl Prospect {
    /// A step without a draft.
    pub const PLAIN: Self = Self {
        tokens: 1.0,
        cost: 1.0,
    };

    /// Tokens a plain step's time.
    pub fn rate(self) -> f64 {
        self.tokens / self.cost
    }

    /// This beyond another: the tokens and costs that it adds to a plain step, the other's.
    pub fn beside(self, plain: Self) -> Self {
        Self {
            tokens: 1.0 + self.tokens - plain.tokens,
            cost: 1.0 + self.cost - plain.cost,
        }
    }
}

impl AddAssign for Prospect {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.cost += other.cost;
    }
}
