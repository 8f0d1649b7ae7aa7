//! The ways in which families' layers differ.

use crate::backend::Gating;

/// What transforms each token by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MlpSpec {
    /// `down(activation(gate(x)) * up(x))`
    Gated {
        /// Width of gate and up.
        width: usize,
    },
    /// The same with what of the gate exceeds its mean by so many of its standard deviations (Gemma 3n).
    SparseGated {
        /// Width of gate and up.
        width: usize,
        /// The standard deviations.
        deviations: f32,
    },
    /// `down(activation(up(x)))`
    Plain {
        /// Width of up.
        width: usize,
    },
    /// The weighted sum of a few gated MLPs of many, which a router chooses for each token.
    Experts(ExpertsSpec),
    /// The sum of a gated MLP and of experts, each with norms of its own (Gemma 4).
    GatedAndExperts {
        /// Width of the first.
        width: usize,
        /// The others.
        experts: ExpertsSpec,
    },
    /// The layer has only a first half (Nemotron-H).
    None,
}

impl MlpSpec {
    /// Width of the MLP that is no mixture of experts, if there is one.
    pub fn dense_width(&self) -> Option<usize> {
        match self {
            Self::Gated { width }
            | Self::SparseGated { width, .. }
            | Self::Plain { width }
            | Self::GatedAndExperts { width, .. } => Some(*width),
            Self::Experts(_) | Self::None => None,
        }
    }

    /// The mixture of experts, if there is one.
    pub fn experts(&self) -> Option<ExpertsSpec> {
        match self {
            Self::Experts(experts) | Self::GatedAndExperts { experts, .. } => Some(*experts),
            Self::Gated { .. } | Self::SparseGated { .. } | Self::Plain { .. } | Self::None => None,
        }
    }
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
    /// Whether they are gated.
    pub is_gated: bool,
    /// How they are chosen and weighted.
    pub router: RouterSpec,
    /// How their two halves are joined; `None`: by a product with the model's activation.
    pub gating: Option<Gating>,
    /// The one that every token passes through.
    pub shared: Option<SharedExpertSpec>,
}

/// An expert that every token passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedExpertSpec {
    /// Its width.
    pub width: usize,
    /// Whether it is weighted by the sigmoid of a product of its own.
    pub is_gated: bool,
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
    /// Which experts a token may choose; `None`: any.
    pub groups: Option<ExpertGroups>,
    /// Whether it has a norm of its own on the residual stream, and a factor of each expert on its weight (Gemma 4).
    pub is_normed: bool,
}

/// Groups of experts, of which a token's lie in a few: those whose best scores have the largest sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertGroups {
    /// How many there are.
    pub count: usize,
    /// In how many of them a token's experts lie.
    pub chosen: usize,
    /// How many of a group's scores count: two (DeepSeek-V3, 2412.19437), or the best alone (DeepSeek-V2, 2405.04434).
    pub counted: usize,
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

/// Norms on queries and keys, most of them before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QueryKeyNorm {
    /// There are none.
    None,
    /// On each head (Qwen3, Gemma 3).
    PerHead,
    /// On each head, after it is rotated (Hunyuan).
    PerRotatedHead,
    /// On each head, without weights: queries are multiplied by a factor after it (Muse Glimmer).
    Unweighted {
        /// The factor.
        query: f32,
    },
    /// On all query heads together, and on all key heads (OLMo 2).
    Whole,
}

/// What multiplies, through a sigmoid, what heads attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionGate {
    /// Nothing does.
    None,
    /// A product whose matrix lies in the query's, head by head (Qwen3-Next).
    BesideQuery,
    /// A product with a matrix of its own (Muse Glimmer).
    Own,
}

/// How a layer's two halves meet the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// The mixer first, then the MLP on its result.
    Sequential,
    /// Mixer and MLP both read the layer's input (GPT-NeoX).
    Parallel,
    /// The same, through one norm (Cohere).
    ParallelOneNorm,
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
