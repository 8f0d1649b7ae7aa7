//! What rows pass through besides recurrences, attention and products, each row by itself.

use super::kinds::{DeltaRule, StateSpace};

/// A function of rows, each by itself.
pub enum RowMap {
    /// The inputs of a delta rule, of `[q | k | v]`, decays' logits, and step sizes' logits: queries and keys of unit length
    /// (queries over the root of their elements), values, `exp(factor * softplus(decay + offset))`, `sigmoid(step)`.
    DeltaInputs {
        /// The delta rule.
        rule: DeltaRule,
        /// Of each value head, negative.
        factors: Vec<f32>,
        /// Of each value head.
        offsets: Vec<f32>,
    },
    /// The inputs of a state space, of `[x | B | C]` and step sizes' logits: these values, `exp(factor * step)`, and `step =
    /// softplus(scale * logit + offset)` within limits.
    StateInputs {
        /// The state space.
        space: StateSpace,
        /// Of each head, negative.
        factors: Vec<f32>,
        /// Of each head.
        offsets: Vec<f32>,
        /// Factor on the logits.
        scale: f32,
        /// The smallest and the largest step.
        limits: (f32, f32),
    },
    /// Outputs, normalized and gated: of outputs and gates.
    GatedNorm(GatedNorm),
    /// Pieces of its parts, one after the other.
    Arrange(Vec<Piece>),
}

/// A piece of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Of which part.
    pub part: usize,
    /// Its first element there.
    pub first: usize,
    /// Its elements.
    pub count: usize,
}

/// Norms of parts of a row, and a gate: `silu(scale * gate)`.
pub struct GatedNorm {
    /// Elements of a row.
    pub width: usize,
    /// Elements that are normalized together.
    pub part: usize,
    /// Of the elements of a row, or, the same for each, of a part.
    pub weight: Vec<f32>,
    /// Added to the mean square.
    pub epsilon: f32,
    /// What comes first.
    pub order: GateOrder,
    /// Factor on the gate.
    pub scale: f32,
}

/// Whether outputs are normalized before the gate, after it, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateOrder {
    /// `norm(x) * silu(gate)`
    NormFirst,
    /// `norm(x * silu(gate))`
    GateFirst,
    /// `x * silu(gate)`
    NoNorm,
}

impl RowMap {
    /// Elements of a row that it makes.
    pub fn width(&self) -> usize {
        match self {
            Self::DeltaInputs { rule, .. } => rule.channels() + 2 * rule.value_heads,
            Self::StateInputs { space, .. } => space.channels() + 2 * space.heads,
            Self::GatedNorm(norm) => norm.width,
            Self::Arrange(pieces) => pieces.iter().map(|piece| piece.count).sum(),
        }
    }
}
