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
    /// Spans of its parts, one after the other.
    Arrange(Vec<Span>),
    /// Each element times a factor of its own.
    Scale(Vec<f32>),
    /// Streams side by side, each with a weighted sum of all added: of streams, and weights `[streams][streams]`.
    Mix {
        /// How many there are.
        streams: usize,
        /// Elements of each.
        width: usize,
    },
    /// Streams side by side, each with a share of what the first lacks: of streams, what the first should be, and a number for
    /// each stream, which is its share less one.
    Correct {
        /// How many there are.
        streams: usize,
        /// Elements of each.
        width: usize,
    },
    /// Streams side by side, with the same added to all but the first.
    AddToOthers {
        /// How many there are.
        streams: usize,
        /// Elements of each.
        width: usize,
    },
    /// The second part with the mean square of the first.
    SameMagnitude,
    /// What of each element exceeds the row's mean by so many of its standard deviations.
    Excess(f32),
}

/// A span of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
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

impl Span {
    /// So many elements of a part, from one on.
    pub fn new(part: usize, first: usize, count: usize) -> Self {
        Self { part, first, count }
    }
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
    /// Elements of a row that it makes; `first` is the width of the first part.
    pub fn width(&self, first: usize) -> usize {
        match self {
            Self::DeltaInputs { rule, .. } => rule.channels() + 2 * rule.value_heads,
            Self::StateInputs { space, .. } => space.channels() + 2 * space.heads,
            Self::GatedNorm(norm) => norm.width,
            Self::Arrange(spans) => spans.iter().map(|span| span.count).sum(),
            Self::Scale(_)
            | Self::Mix { .. }
            | Self::Correct { .. }
            | Self::AddToOthers { .. }
            | Self::SameMagnitude
            | Self::Excess(_) => first,
        }
    }
}
