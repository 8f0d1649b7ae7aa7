//! Kinds and shapes of a decoder's operations.

/// How a layer normalizes: the kind and its epsilon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// Root mean square, no mean subtracted, no bias (Zhang & Sennrich, 2019).
    Rms(f32),
    /// Mean and variance, with bias (Ba et al., 2016).
    Layer(f32),
}

impl NormKind {
    /// What is added to the mean square, or to the variance.
    pub fn epsilon(self) -> f32 {
        match self {
            Self::Rms(epsilon) | Self::Layer(epsilon) => epsilon,
        }
    }
}

/// The nonlinearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x * sigmoid(x)
    Silu,
    /// x * Phi(x), exactly
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// max(x, 0)
    Relu,
    /// max(x, 0)^2
    ReluSquared,
    /// 1 / (1 + exp(-x))
    Sigmoid,
}

/// How a gated MLP joins its two halves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    /// `activation(gate) * up`
    Product(Activation),
    /// `(up + 1) * gate * sigmoid(alpha * gate)`, the gate clamped to at most the limit, and up to the limit on both sides
    /// (gpt-oss).
    Clamped {
        /// The limit.
        limit: f32,
        /// Factor on the gate in the sigmoid.
        alpha: f32,
    },
}

impl Gating {
    /// What an MLP without a gate has in its place.
    pub fn activation(self) -> Activation {
        match self {
            Self::Product(activation) => activation,
            Self::Clamped { .. } => Activation::Silu,
        }
    }
}

/// The shape of a layer's attention heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads` (grouped-query attention).
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// Factor on the scores before the softmax.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
}

impl AttentionShape {
    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}
