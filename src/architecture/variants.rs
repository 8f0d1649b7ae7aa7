//! The ways in which families' layers differ.

use crate::backend::Gating;

/// What transforms each token by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MlpSpec {
    /// `down(activation(gate(x)) * up(x))`
    Gated,
    /// `down(activation(up(x)))`
    Plain,
    /// The weighted sum of a few gated MLPs of many, which a router chooses for each token.
    Experts(ExpertsSpec),
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsSpec {
    /// How many there are.
    pub count: usize,
    /// How many of them each token passes through.
    pub chosen: usize,
    /// Width of each.
    pub width: usize,
    /// How they are chosen and weighted.
    pub router: RouterSpec,
    /// How their two halves are joined; `None`: by a product with the model's activation.
    pub gating: Option<Gating>,
    /// Width of the one that every token passes through, weighted by the sigmoid of a product of its own.
    pub shared: Option<usize>,
}

/// How a router's logits become experts and weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RouterSpec {
    /// What a logit counts.
    pub scores: Scores,
    /// Whether a bias of each expert is added to its score: for the choice, not for the weight.
    pub biased: bool,
    /// Whether the scores of the chosen experts are divided by their sum and this number; `None`: they are weights as they are.
    pub normalized: Option<f32>,
    /// Factor on the weights.
    pub scale: f32,
}

/// What a router's logits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// Their softmax over all experts.
    Softmax,
    /// The sigmoid of each.
    Sigmoid,
}

/// Where the norms of mixer and MLP stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// On what they read.
    Before,
    /// On what they read, and on what they return before it joins the residual stream (Gemma).
    BeforeAndAfter,
    /// On what they return (OLMo 2).
    After,
}

impl NormPlacement {
    /// Whether there is a norm on what mixer and MLP read.
    pub fn before(self) -> bool {
        self != Self::After
    }

    /// Whether there is a norm on what mixer and MLP return.
    pub fn after(self) -> bool {
        self != Self::Before
    }
}

/// Norms on queries and keys, before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// There are none.
    None,
    /// On each head (Qwen3, Gemma 3).
    PerHead,
    /// On all query heads together, and on all key heads (OLMo 2).
    Whole,
}

/// How a layer's two halves meet the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// The mixer first, then the MLP on its result.
    Sequential,
    /// Mixer and MLP both read the layer's input (GPT-NeoX).
    Parallel,
}

/// Which linear layers have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// Those for which the checkpoint holds one.
    AsStored,
    /// Query, key and value; the others as stored.
    Qkv,
    /// All of them.
    All,
}
